"""What a worker must stand, one after the other: the numbers are those of the table in README.md beside this file."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced
from msgspec import structs

from pipeline.engine.task import Task
from pipeline.log.topics import EVENTS
from pipeline.settings import Settings
from pipeline.stores.port import Batch, after
from pipeline.stores.rocksdb import RocksDBStore
from pipeline.worker.app import WorkerStopped
from schemas.orders import Line, ReserveInventory
from schemas.topics import ORDER_COMMANDS, topic_of
from tests.agents.words import CREATED, PAID, RESERVED, SCHEDULED
from tests.engine.driver import HOUR_MS, line
from tests.kafka.brokers import Brokers
from tests.kafka.driver import JUMP_DAYS, SECONDS, TASKS, Stage, Watch, ready, run, same, until
from tests.kafka.histories import Expected, expected, phases

Names = Callable[[str], str]
SMALL = 8
"""Records per chunk."""
TRANSACTION_SECONDS = 2
YEARS_MS = 10 * 365 * 24 * HOUR_MS
FAR_DAYS = 36_500


async def through(stage: Stage, watch: Watch, folder: Path, some: Sequence[Sequence[bytes]]) -> None:
    """These phases, by one worker that may take its time."""
    async with stage.worker(folder, transaction_timeout_seconds=SECONDS) as working:
        for phase in some:
            await stage.write(phase)
            await watch.until(lambda: watch.done and working.idle, working)
        await watch.end(working)


@asynccontextmanager
async def writer(stage: Stage, task: str) -> AsyncIterator[AIOKafkaProducer]:
    """Somebody with the transactional id of a task."""
    producer = stage.kafka.writer(f"{stage.plan.app}-{task}")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def stopped(process: subprocess.Popen[bytes]) -> None:
    """Until it stands still."""

    async def still() -> bool:
        return os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None  # noqa: ASYNC222  # it does not wait

    await until(still, "it does not stop")


async def largest(brokers: Brokers, topic: str, size: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers.bootstrap)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=EVENTS | {"max.message.bytes": str(size)})])
    finally:
        await admin.close()


def test_1_an_oversized_output_moves_no_offset(brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """One batch that the broker does not take, and nothing of its chunk is there; where it is taken, the same chunk goes through."""
    topic = topic_of(ReserveInventory).name

    async def act(stage: Stage, watch: Watch) -> None:
        await largest(brokers, topic, 100)
        await stage.write(phases()[0])
        with pytest.raises(MessageSizeTooLargeError):
            async with stage.worker(tmp_path / "worker") as working:
                await watch.until(lambda: watch.done, working)
        await watch.look()
        assert watch.ids == {}
        assert not any("order.events" in task.head.offsets for task in watch.tasks.values())
        await largest(brokers, topic, 1 << 20)
        await through(stage, watch, tmp_path / "worker", [(), *phases()[1:]])
        same(watch, shop)

    run(brokers, fresh_names("app"), act)


def test_1_an_output_over_our_own_limit_is_a_letter(brokers: Brokers, fresh_names: Names, tmp_path: Path) -> None:
    """It never comes to the broker: the record is a dead letter, and the others go on."""
    many = tuple(Line(f"SKU{number}", 1) for number in range(50))
    lines = [line(structs.replace(CREATED, order_id=order, items=items), 0) for order, items in (("o-1", many), ("o-2", many[:1]))]

    async def act(stage: Stage, watch: Watch) -> None:
        await through(stage, watch, tmp_path / "worker", [lines])
        assert watch.outcomes == {"input.applied": 1, "input.dead.too_large": 1}
        assert watch.letters == {("too_large", lines[0]): 1}

    run(brokers, fresh_names("app"), act, largest_record_bytes=1_000)


def test_2_after_an_abort_the_next_writer_goes_on(brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """What a worker left open is aborted by the next one, which reads the same records again; the earlier one is fenced for good."""

    async def act(stage: Stage, watch: Watch) -> None:
        await stage.write(phases()[0])
        async with writer(stage, "orders-0") as earlier:
            await earlier.begin_transaction()
            await earlier.send_and_wait(ORDER_COMMANDS.name, b"half a chunk", partition=0)
            await earlier.send_offsets_to_transaction({KafkaPartition("order.events", 0): 5}, stage.plan.app)
            await through(stage, watch, tmp_path / "worker", [(), *phases()[1:]])
            with pytest.raises(ProducerFenced):
                await earlier.commit_transaction()
        same(watch, shop)

    run(brokers, fresh_names("app"), act)


def test_3_a_zombie_thaws_between_its_commit_and_its_store(brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """Taken over while it stood still, it does no harm when it goes on; and its folder serves the next worker."""

    async def act(stage: Stage, watch: Watch) -> None:
        first, second, third, *rest = phases()
        with stage.process(tmp_path / "zombie", "tests.kafka.stopping", STOP_AT="committed", STOP_AFTER=3) as zombie:
            await stage.write(first)
            await stopped(zombie)
            async with stage.worker(tmp_path / "heir") as heir:
                await watch.until(lambda: watch.done, heir)
                await stage.write(second)
                await watch.until(lambda: watch.done, heir)
                zombie.send_signal(signal.SIGCONT)
                await stage.write(third)
                await watch.until(lambda: watch.done and (zombie.poll() is not None or len(heir.worker.assigned) < TASKS), heir)
            zombie.kill()
        await through(stage, watch, tmp_path / "zombie", rest)
        same(watch, shop)

    run(brokers, fresh_names("app"), act, chunk_records=SMALL)


def test_4_the_answer_to_a_commit_is_lost(fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """The broker falls silent with a commit on its way, for longer than a transaction may take: committed or not, it counts once."""
    silent = asyncio.Event()
    (tmp_path / "broker").mkdir()

    async def act(stage: Stage, watch: Watch) -> None:
        passed = 0

        def steps(step: str, task: Task) -> None:
            nonlocal passed
            passed += step == "decided"
            if passed == 5 and step == "decided":
                asyncio.get_running_loop().call_soon(silence, task.transactional_id)

        def silence(transactional_id: str) -> None:
            link = working.worker._link  # noqa: SLF001  # the moment is known nowhere else
            if link._writers[transactional_id]._producer._txn_manager.needs_transaction_commit() is None:  # type: ignore[attr-defined]  # noqa: SLF001  # as above
                asyncio.get_running_loop().call_soon(silence, transactional_id)
            else:
                broker.pause(0)
                silent.set()

        async with stage.worker(tmp_path / "worker", steps=steps) as working:
            await stage.write(phases()[0])
            await asyncio.wait_for(silent.wait(), SECONDS)
            await asyncio.sleep(TRANSACTION_SECONDS + 1)
            broker.resume(0)
            await watch.until(lambda: watch.done or working.serving.done())
        await through(stage, watch, tmp_path / "worker", [(), *phases()[1:]])
        same(watch, shop)

    with Brokers(folder=tmp_path / "broker", server={"transaction.abort.timed.out.transaction.cleanup.interval.ms": 200}) as broker:
        run(broker, fresh_names("app"), act, chunk_records=SMALL, transaction_timeout_seconds=TRANSACTION_SECONDS)
    assert silent.is_set()


def test_5_nobody_decides_on_rows_that_may_abort(brokers: Brokers, fresh_names: Names, tmp_path: Path) -> None:
    """A task decides its next chunk when the last one is committed and stored, and not before."""
    passed: dict[str, list[str]] = {}

    def steps(step: str, task: Task) -> None:
        passed.setdefault(task.name, []).append(step)

    async def act(stage: Stage, watch: Watch) -> None:
        await stage.write(phases()[0])
        async with stage.worker(tmp_path / "worker", steps=steps) as working:
            await watch.end(working)

    run(brokers, fresh_names("app"), act, chunk_records=SMALL)
    assert max(map(len, passed.values())) > 3
    for each in passed.values():
        assert each == ["decided", "committed", "stored"] * (len(each) // 3)


def test_6_workers_that_disagree_on_the_inputs_do_not_work_together(brokers: Brokers, fresh_names: Names, tmp_path: Path) -> None:
    """A rolling upgrade that adds an input is refused: the newcomer ends and says why; the other one goes on alone."""

    async def act(stage: Stage, watch: Watch) -> None:
        async with stage.worker(tmp_path / "old", services="recorded") as old:
            with pytest.raises(WorkerStopped, match="all workers must run the same version"):
                async with stage.worker(tmp_path / "new") as new:
                    await asyncio.wait_for(asyncio.shield(new.serving), SECONDS)
            await watch.until(lambda: len(old.worker.assigned) == TASKS, old)

    run(brokers, fresh_names("app"), act, services="standin")


def test_7_a_changelog_may_end_in_what_was_aborted(brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """Markers and aborted records have offsets too: a recovery that waits for a record there would never end."""

    async def act(stage: Stage, watch: Watch) -> None:
        first, *rest = phases()
        await through(stage, watch, tmp_path / "worker", [first])
        for partition in range(6):
            async with writer(stage, f"orders-{partition}") as other:
                await other.begin_transaction()
                await other.send_and_wait(f"{stage.plan.app}-orders-changelog", b"aborted", b"rorders", partition=partition)
                await other.abort_transaction()
        await through(stage, watch, tmp_path / "empty", rest)
        same(watch, shop)

    run(brokers, fresh_names("app"), act)


def test_8_a_state_older_than_deletions_are_remembered_is_wiped(
    brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have rows whose deletion the changelog has forgotten."""

    async def act(stage: Stage, watch: Watch) -> None:
        first, *rest = phases()
        await through(stage, watch, tmp_path / "worker", [first])
        _age(tmp_path / "worker" / "state")
        await through(stage, watch, tmp_path / "worker", rest)
        same(watch, shop)

    run(brokers, fresh_names("app"), act)
    assert "so old" in caplog.text
    state = RocksDBStore(tmp_path / "worker" / "state", wal=False)
    try:
        assert state.get(GHOST) is None
    finally:
        state.close()


GHOST = b"orders/0/rorders\0o-ghost"


def _age(folder: Path) -> None:
    """As if it had been left in 1970, with a row that was deleted since."""
    state = RocksDBStore(folder, wal=False)
    try:
        row = next(value for key, value in state.scan(b"orders/0/r", after(b"orders/0/r")))
        stamps = [key for key, _ in state.scan(b"", b"\xff") if key.count(b"/") == 2 and key.endswith(b"/w")]
        assert stamps
        state.write(Batch(puts=[(GHOST, row), *((stamp, b"1") for stamp in stamps)]))
    finally:
        state.close()


def test_9_times_far_off_are_re_keyed_all_the_same(brokers: Brokers, fresh_names: Names, tmp_path: Path) -> None:
    """A payment two hours ahead of its order, and one ten years old: no broker refuses or deletes them on the way."""
    orders = [structs.replace(message, order_id=order) for order in ("o-1", "o-2") for message in (CREATED, RESERVED)]
    told = [[line(message, number) for number, message in enumerate(orders)]]
    told += [[line(structs.replace(PAID, order_id=order), at_ms)] for order, at_ms in (("o-2", -YEARS_MS), ("o-1", 2 * HOUR_MS))]

    async def act(stage: Stage, watch: Watch) -> None:
        await through(stage, watch, tmp_path / "worker", told)
        assert watch.outcomes == undisturbed.outcomes == {"input.applied": 6}
        assert {key: row.status for key, row in watch.rows().items()} == {key: row.status for key, row in undisturbed.rows.items()}

    undisturbed = expected([each for some in told for each in some], Settings(clock_jump_days=FAR_DAYS))
    run(brokers, fresh_names("app"), act, clock_jump_days=FAR_DAYS)


@pytest.mark.parametrize("chunk_records", [1, 7])
def test_10_the_cut_does_not_matter(chunk_records: int, brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """What is decided in one transaction changes the speed and nothing else."""

    async def act(stage: Stage, watch: Watch) -> None:
        await through(stage, watch, tmp_path / "worker", phases())
        same(watch, shop)

    run(brokers, fresh_names("app"), act, chunk_records=chunk_records)


@pytest.mark.parametrize("folder", ["worker", "empty"])
def test_11_killed_while_a_key_waits_with_followers(folder: str, brokers: Brokers, fresh_names: Names, tmp_path: Path) -> None:
    """What waits is in the changelog with its row: whoever comes next takes it up when its time has come, in its order."""
    early, late = [[line(PAID, 0)], [line(SCHEDULED, 1)]], [line(CREATED, 2), line(RESERVED, 3)]

    async def act(stage: Stage, watch: Watch) -> None:
        with stage.process(tmp_path / "worker") as process:
            for some in early:
                await stage.write(some)
                await watch.until(lambda: watch.done)
            assert watch.outcomes == {"input.parked": 2}
            process.kill()
        await through(stage, watch, tmp_path / folder, [late])
        assert watch.outcomes == undisturbed.outcomes == {"input.applied": 4}
        assert watch.ids == undisturbed.ids
        assert watch.rows() == undisturbed.rows

    undisturbed = expected([*(each for some in early for each in some), *late], Settings(clock_jump_days=JUMP_DAYS))
    run(brokers, fresh_names("app"), act)


def test_12_a_member_that_missed_a_generation(brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """What it has kept of its tasks is forgotten: others have worked on them meanwhile."""

    async def act(stage: Stage, watch: Watch) -> None:
        first, second, *rest = phases()
        async with stage.worker(tmp_path / "one") as one:
            with stage.process(tmp_path / "two") as two:
                await ready(tmp_path / "two")
                assert len(one.worker.assigned) < TASKS
                await stage.write(first)
                await watch.until(lambda: watch.done, one)
                two.send_signal(signal.SIGSTOP)
                await watch.until(lambda: len(one.worker.assigned) == TASKS, one)
                await stage.write(second)
                await watch.until(lambda: watch.done, one)
                two.send_signal(signal.SIGCONT)
                await watch.until(lambda: len(one.worker.assigned) < TASKS or two.poll() is not None, one)
                await watch.play(rest, one)
                two.terminate()
                assert two.wait(SECONDS) in {0, 1}, "back in the group, or fenced: it may have had a chunk in hand when it woke up"
                await watch.until(lambda: len(one.worker.assigned) == TASKS and one.idle, one)
        same(watch, shop)

    run(brokers, fresh_names("app"), act, chunk_records=SMALL)
