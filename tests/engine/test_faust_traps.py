"""What Faust 0.15.3 does wrong and we rely on being mended, each as a test on the log in this process."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree

import pytest

from pipeline.embedded import Crash
from pipeline.engine.task import Task
from pipeline.log.memory import Fenced
from pipeline.log.record import Outbox, Record, TopicPartition
from tests.agents.words import CREATED, PAID, RESERVED, SCHEDULED
from tests.engine.agents import CLUMSY, DIARIST
from tests.engine.driver import OPTIONS, SECOND_MS, Ending, Run, fed, line, play
from tests.engine.histories import shop
from tests.engine.test_deadlines import RINGS_MS, created, in_two, rung

LIFE = [line(CREATED, 0), line(RESERVED, SECOND_MS), line(PAID, 2 * SECOND_MS), line(SCHEDULED, 3 * SECOND_MS)]


def committed(run: Run) -> dict[TopicPartition, int]:
    log, plan = run.pipeline.log, run.pipeline.plan
    inputs = [TopicPartition(topic, p) for group in plan.groups for topic in group.inputs for p in range(group.partitions)]
    return {tp: log.committed(tp) for tp in inputs if log.committed(tp)}


# --- Commits. --------------------------------------------------------------------------------------------------------


def test_offsets_are_committed_through_holes() -> None:
    """Markers between the records neither stop a commit nor carry it past a record (stock: one marker per interval)."""

    async def scenario() -> None:
        async with Run() as run:
            for raw in shop(20, 1):
                await run.feed([raw])
            log = run.pipeline.log
            assert log.lag(run.pipeline.plan.home) == 0
            for tp, offset in committed(run).items():
                assert log.end(tp) > offset or log.next_held([tp.topic]), "the last marker is never read"
                assert log.end(tp) - offset <= 1

    asyncio.run(scenario())


def test_what_is_released_at_once_is_committed_in_order() -> None:
    """Chunks of a task are run one after the other: no offset is committed before all that lies below it (stock: as they are acked)."""
    seen: list[dict[str, int]] = []

    def watch(step: str, task: Task) -> None:
        if step == "stored" and task.name == "intake-3-0":
            seen.append(dict(task.head.offsets))

    options = type(OPTIONS)(chunk_records=3)
    play(shop(60, 2), options=options, steps=watch)
    offsets = [each.get("payment.events", 0) for each in seen]
    assert len(offsets) > 3
    assert offsets == sorted(offsets)


def test_the_newest_chunk_is_all_that_is_stored_and_committed() -> None:
    """The log's committed offsets and those in the store's heads are the same at rest: neither runs ahead."""

    async def scenario() -> None:
        async with Run() as run:
            await run.feed(shop(20, 1), batch=10)
            worker = run.pipeline.worker
            assert worker is not None
            stored = {
                TopicPartition(topic, task.partition): offset
                for task in worker.tasks.values()
                for topic, offset in task.head.offsets.items()
            }
            assert stored == committed(run)

    asyncio.run(scenario())


def test_the_log_comes_first_and_the_store_second() -> None:
    """A store that ran ahead would keep what was never committed: it is written when its head is in the changelog, and not before."""
    lead: dict[str, set[bool]] = {"decided": set(), "committed": set(), "stored": set()}

    async def scenario() -> None:
        def watch(step: str, task: Task) -> None:
            last = run.pipeline.log.end(task.changelog) - 2  # before the end there is a marker, and before that the newest head
            lead[step].add(task.head.changelog_end < last)

        run = Run(steps=watch)
        async with run:
            await run.feed(shop(20, 1), batch=10)

    asyncio.run(scenario())
    assert lead == {"decided": {False}, "committed": {True}, "stored": {False}}


# --- Failures. -------------------------------------------------------------------------------------------------------


class FailsOnce:
    """An error that nobody foresaw, once, at one chunk of the orders."""

    def __init__(self, step: str, error: type[Exception]) -> None:
        self.step, self.error, self.failed = step, error, False

    def __call__(self, step: str, task: Task) -> None:
        if step == self.step and task.group.name == "orders" and not self.failed:
            self.failed = True
            raise self.error


@pytest.mark.parametrize("step", ["decided", "committed", "stored"])
def test_a_chunk_that_failed_is_read_again(step: str) -> None:
    """An exception acknowledges nothing: the next worker begins with the same records (stock: the event counts as done)."""
    failing = FailsOnce(step, Crash)
    ending = play(LIFE, steps=failing)
    assert failing.failed
    assert ending.bytes == play(LIFE).bytes


def test_an_error_that_nobody_foresaw_ends_the_process(tmp_path: Path) -> None:
    """It is raised to whoever runs the pipeline; nothing of the chunk is visible, and a later process reads it again."""

    async def scenario() -> Ending:
        async with Run(folder=tmp_path, steps=FailsOnce("decided", ZeroDivisionError)) as run:
            with pytest.raises(ZeroDivisionError):
                await run.pipeline.feed(fed(run.pipeline, LIFE))
        async with Run(folder=tmp_path, before=len(LIFE)) as run:
            await run.pipeline.finish()
            return await run.end()

    assert asyncio.run(scenario()).bytes == play(LIFE).bytes


def test_a_burst_of_poison_stops_nothing() -> None:
    """Ten thousand records that cannot be read are ten thousand letters, in their order; the good ones among them are applied."""
    poison = [b'{"event_id":"%d"' % i for i in range(10_000)]
    ending = play([*poison[:5_000], *LIFE, *poison[5_000:]])
    assert ending.outcomes() == {"dead.malformed": 10_000, "applied": 4}
    assert [letter.value for letter in ending.letters] == poison
    assert ending.rows["orders"]["o-1"].status == "SHIPPED"


def test_a_burst_of_faults_stops_nothing() -> None:
    """An agent that fails on each record costs those records, in place of the app."""
    bugs = [line(CREATED, 0)] + [line(PAID, i, f"{i}") for i in range(10)]
    assert play(bugs, [CLUMSY, DIARIST]).outcomes() == {"applied": 11}


class DiesAt:
    def __init__(self, step: str, number: int) -> None:
        self.step, self.left = step, number

    def __call__(self, step: str, _task: Task) -> None:
        self.left -= step == self.step
        if self.left == 0:
            self.left = -1
            raise Crash


# --- Recovery. -------------------------------------------------------------------------------------------------------


def test_recovery_ends_though_the_changelog_ends_in_a_marker(tmp_path: Path) -> None:
    """The end that it waits for is the last record, not the offset before the end (stock: for ever, or a ConsistencyError)."""
    first = play(LIFE, folder=tmp_path)
    rmtree(tmp_path / "state")

    async def again() -> Ending:
        async with asyncio.timeout(20), Run(folder=tmp_path, before=first.fed) as run:
            return await run.end()

    assert asyncio.run(again()).rows == first.rows


def test_what_came_during_recovery_is_not_lost() -> None:
    """At the end of a recovery Faust empties its queues once more: a chunk that was fetched early would be gone, the next one committed."""
    lines = shop(60, 9)
    for number in range(1, 40, 4):
        ending = play(lines, steps=DiesAt("committed", number), batch=60)
        assert sum(ending.outcomes().values()) == len(lines)


def test_recovery_takes_only_what_is_missing(tmp_path: Path) -> None:
    """A kept state begins at its own head; the changelog before it is not read again (stock: the offset is never stored)."""
    play(shop(20, 1), folder=tmp_path, batch=20)
    read: list[Sequence[Record]] = []

    async def again() -> None:
        run = Run(folder=tmp_path, before=len(shop(20, 1)))
        fetch = run.pipeline.log.fetch

        def watched(tp: TopicPartition, offset: int, most: int) -> list[Record]:
            found = fetch(tp, offset, most)
            if tp.topic.endswith("-changelog"):
                read.append(found)
            return found

        run.pipeline.log.fetch = watched  # type: ignore[method-assign]  # to see what is read
        async with run:
            await run.end()

    asyncio.run(again())
    assert sum(map(len, read)) == 0


def test_a_deadline_survives_a_restart_without_state(tmp_path: Path) -> None:
    """It comes back with its row (stock: timers live in the process, windows close by the wall clock)."""
    before, after = in_two([created("o-1", 0)], [created("o-2", RINGS_MS)], tmp_path, ["state", "faust"])
    assert (rung(before), rung(after)) == ([], ["o-1"])


def test_state_of_another_log_is_made_again(tmp_path: Path) -> None:
    """A store that is ahead of its changelog, or belongs to another one, is worthless: wiped, loudly, and recovered."""
    ending = play(LIFE, folder=tmp_path / "one")
    play(shop(10, 1), folder=tmp_path / "other")
    rmtree(tmp_path / "one" / "state")
    (tmp_path / "other" / "state").rename(tmp_path / "one" / "state")
    again = play([], folder=tmp_path / "one", before=ending.fed)
    assert again.rows == ending.rows


# --- Zombies. --------------------------------------------------------------------------------------------------------


def test_a_zombie_worker_is_fenced() -> None:
    """A worker that was replaced commits nothing any more, however late it wakes up; its heir is not disturbed."""

    async def scenario() -> Ending:
        async with Run() as run:
            await run.feed(LIFE[:2])
            zombie, log = run.pipeline.worker, run.pipeline.log
            assert zombie is not None
            epochs = {task.transactional_id: log.begin(task.transactional_id) for task in zombie.tasks.values()}
            await run.pipeline.restart()
            for task in zombie.tasks.values():
                with pytest.raises(Fenced):
                    log.commit(task.transactional_id, epochs[task.transactional_id], Outbox([], [(b"h", b"dead")], {}), task.changelog)
            await run.feed(LIFE[2:])
            return await run.end()

    assert asyncio.run(scenario()).bytes == play(LIFE).bytes


def test_a_worker_that_finds_itself_fenced_stops() -> None:
    """Another one has begun: it dies rather than going on beside it, and nothing of its chunk is visible."""

    async def scenario() -> None:
        async with Run() as run:
            worker = run.pipeline.worker
            assert worker is not None
            for task in worker.tasks.values():
                run.pipeline.log.begin(task.transactional_id)
            with pytest.raises(Fenced):
                await run.pipeline.feed(fed(run.pipeline, LIFE))
            assert run.ending.said == []
            assert {task.head.chunk for task in worker.tasks.values()} == {0}

    asyncio.run(scenario())
