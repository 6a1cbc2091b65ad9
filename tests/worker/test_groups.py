"""Several workers over the log in this process: who has what, and who takes over."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import msgspec
import pytest

from pipeline.embedded import LAST
from pipeline.engine.options import Options
from pipeline.engine.plan import make_plan
from pipeline.engine.task import Task
from pipeline.log.memory import Fenced, MemoryLog
from pipeline.log.partitioner import partition_of
from pipeline.log.record import FED, Order, Record
from pipeline.problem import Problem
from pipeline.replay.feed import draft
from pipeline.stores.memory import MemoryStore
from pipeline.worker.app import Worker, WorkerStopped
from pipeline.worker.hooks import TaskChunk
from pipeline.worker.memory import MemoryConsumer, MemoryGroup, MemoryLink
from schemas.topics import TOPICS
from tests.engine.driver import SAGA, Run, fed
from tests.replay.making import happy

LINES = [line for n in range(12) for line in happy(f"o-{n}", minute=n)]
PATIENCE_SECONDS = 30
PUBLIC = {topic.name for topic in TOPICS}
BEFORE_ALL = Order(LAST, FED, 0)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not what():  # noqa: ASYNC110  # nobody says when
            await asyncio.sleep(0.001)


def rows_of(task: Task) -> dict[tuple[str, str], bytes]:
    return {
        (agent.table.name, key): msgspec.msgpack.encode(row)
        for number, agent in enumerate(task.group.agents)
        for key, row, _parked in task.rows.all(number)
    }


class Fleet:
    """Workers with a store each over one log; records are fed one at a time, and what they cause has happened before the next one."""

    def __init__(self, folder: Path, standbys: int) -> None:
        self.folder, self.standbys = folder, standbys
        self.plan = make_plan(SAGA, app="fleet")
        self.log = MemoryLog(MemoryStore())
        self.group = MemoryGroup()
        self.workers: list[Worker] = []
        self.said: list[str] = []
        self._number = 0
        for topic, partitions in self.plan.topics.items():
            self.log.create(topic, partitions, read=topic in self.plan.home)
        for group in self.plan.groups:
            self.log.create(group.changelog, group.partitions, changelog=True)

    async def join(self) -> Worker:
        link = MemoryLink(self.log, self.group)
        worker = Worker(
            self.plan,
            link,
            MemoryStore(),
            Options(),
            folder=self.folder / str(len(self.workers)),
            incarnation="here",
            standbys=self.standbys,
        )
        self.workers.append(worker)
        await worker.start()
        await self.settled()
        return worker

    async def leave(self, worker: Worker) -> None:
        self.workers.remove(worker)
        await worker.stop()
        await self.settled()

    async def feed(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            told = draft(line)
            self._number += 1
            assert told.topic in self.plan.home
            assert told.key is not None
            assert told.at is not None
            partition = partition_of(told.key, self.plan.topics[told.topic])
            place = Order(told.at, FED, self._number)
            self.log.feed([Record(told.topic, partition, told.key, told.value, told.headers, told.at, place)])
            await self.quiet()
        self.said += [f"{record.topic} {record.value!r}" for record in self.log.untold if record.topic in PUBLIC]
        self.log.untold.clear()

    async def quiet(self) -> None:
        """Until nothing is held, and nothing unread."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.log.release(self.plan.topics, BEFORE_ALL) or self.log.lag(self.plan.home):
                for worker in self.workers:
                    if worker.failed.done():
                        worker.failed.result()
                await asyncio.sleep(0.001)

    async def settled(self) -> None:
        """Until every task is assigned to one of them, and everyone has recovered."""
        tasks = sum(group.partitions for group in self.plan.groups)
        await until(
            lambda: sum(len(worker.assigned) for worker in self.workers) == tasks and not any(worker.draining for worker in self.workers)
        )

    def running(self) -> dict[str, Task]:
        return {task.name: task for worker in self.workers for task in worker.assigned}

    def rows(self) -> dict[tuple[str, str], bytes]:
        return {place: row for task in self.running().values() for place, row in rows_of(task).items()}


@asynccontextmanager
async def fleet(folder: Path, workers: int, standbys: int = 0) -> AsyncIterator[Fleet]:
    made = Fleet(folder, standbys)
    try:
        for _ in range(workers):
            await made.join()
        yield made
    finally:
        for worker in made.workers:
            await worker.stop()


async def alone() -> tuple[dict[tuple[str, str], bytes], Counter[str]]:
    async with Run() as run:
        for line in LINES:
            await run.pipeline.feed(fed(run.pipeline, [line]))
        await run.pipeline.settle()
        run.ending.see(run.pipeline)
        rows = {(table, key): msgspec.msgpack.encode(row) for table, found in run.ending.rows.items() for key, row in found.items()}
        return rows, Counter(f"{record.topic} {record.value!r}" for record in [*run.ending.said, *run.ending.letters])


@pytest.mark.parametrize("standbys", [0, 1])
def test_members_come_and_go_and_nothing_is_seen_of_it(tmp_path: Path, standbys: int) -> None:
    """A third joins, two leave: rows and everything said are those of one worker that was never disturbed."""

    async def disturbed() -> tuple[dict[tuple[str, str], bytes], Counter[str]]:
        async with fleet(tmp_path, 2, standbys) as made:
            await made.feed(LINES[:20])
            await made.join()
            await made.feed(LINES[20:40])
            await made.leave(made.workers[0])
            await made.feed(LINES[40:50])
            await made.leave(made.workers[0])
            await made.feed(LINES[50:])
            return made.rows(), Counter(made.said)

    assert asyncio.run(disturbed()) == asyncio.run(alone())


def test_every_task_is_run_by_one_member_and_followed_by_another(tmp_path: Path) -> None:
    """With a standby each; and it has the state before it needs it."""

    async def run() -> None:
        async with fleet(tmp_path, 3, 1) as made:
            await made.feed(LINES)
            for worker in made.workers:
                assert worker.assigned
                assert not {task.name for task in worker.assigned} & {task.name for task in worker.standbys}
            running = made.running()
            followed = {task.name: task for worker in made.workers for task in worker.standbys}
            assert followed.keys() == running.keys()
            await until(lambda: all(followed[name].head.chunk == task.head.chunk for name, task in running.items()))
            assert {name: rows_of(task) for name, task in followed.items()} == {name: rows_of(task) for name, task in running.items()}

    asyncio.run(run())


def test_a_member_that_was_given_up_can_commit_nothing(tmp_path: Path) -> None:
    """It is fenced by whoever has its tasks now: a zombie's chunk leaves nothing behind."""

    async def run() -> None:
        async with fleet(tmp_path, 1) as made:
            await made.feed(LINES[:10])
            zombie = made.workers.pop()
            task = max(zombie.assigned, key=lambda task: task.head.chunk)
            await made.group.leave(cast("MemoryConsumer", zombie.consumer))
            await made.join()
            end = made.log.end(task.changelog)
            await zombie._run(TaskChunk(task, [], 0))  # noqa: SLF001  # what a process does that slept meanwhile
            with pytest.raises(Fenced):
                zombie.failed.result()
            assert made.log.end(task.changelog) == end
            await zombie.stop()

    asyncio.run(run())


def test_an_assignment_that_is_over_lets_nothing_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What brings it up to date has ended when the next one is made, also where something on its way swallows the cancellation."""

    async def run() -> None:
        async with fleet(tmp_path, 1) as made:
            (worker,) = made.workers
            place, gone_on = worker.consumer.place, asyncio.Event()

            async def stubborn() -> None:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(PATIENCE_SECONDS)
                await place()

            with monkeypatch.context() as patch:
                patch.setattr(worker.consumer, "place", stubborn)
                patch.setattr(worker.consumer, "go_on", gone_on.set)
                worker.draining = True
                worker._begin()  # noqa: SLF001  # as after an assignment
                await asyncio.sleep(0.01)
                beginning = worker._beginning  # noqa: SLF001  # nobody else needs to know
                await worker.drain()
                assert beginning is not None
                assert beginning.done()
                assert worker.draining
                assert not gone_on.is_set()
            await made.join()
            await made.feed(LINES)

    asyncio.run(run())


def test_whoever_was_overtaken_waits_to_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the group has committed does not fit the state: that is an error, but for a member that others have gone on without."""

    async def run(*, overtaken: bool) -> Worker:
        async with fleet(tmp_path, 1) as made:
            (worker,) = made.workers
            await made.feed(LINES[:10])

            async def refused() -> None:
                raise Problem("The group has committed something else.", "None.")

            with monkeypatch.context() as patch:
                patch.setattr(worker.consumer, "place", refused)
                worker.draining = True
                if not overtaken:
                    worker._ends = await worker._link.ends([task.changelog for task in worker.assigned])  # noqa: SLF001  # nobody has
                worker._begin()  # noqa: SLF001  # as after an assignment
                await asyncio.sleep(0.05)
            return worker

    assert not asyncio.run(run(overtaken=True)).failed.done()
    worker = asyncio.run(run(overtaken=False))
    with pytest.raises(Problem, match="something else"):
        worker.failed.result()


def test_a_worker_that_hands_on_nothing_more_ends(tmp_path: Path) -> None:
    """Whatever ends the handing on, it is not waited for in silence."""

    async def run() -> None:
        async with fleet(tmp_path, 1) as made:
            (worker,) = made.workers
            worker._housekeeping[0].cancel()  # noqa: SLF001  # as it may happen to any task
            with pytest.raises(WorkerStopped, match="hand_on"):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await worker.until(asyncio.Event())

    asyncio.run(run())
