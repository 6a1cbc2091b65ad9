"""The whole pipeline in this process, without a broker: what `demo`, `replay` and tests run.

Time belongs to the input here. Everything fed is given a place in time; slice by slice, each stage of the plan reads what comes before
the end of the slice, and what it says is in the log before the next stage reads. Where services answer (the stand-ins), a slice is no
longer than their answering time, so that no answer can fall into the slice that caused it. So the order in which any agent hears anything
follows from the input alone: the same whatever the chunk size, the speed or the crashes on the way. (This is conservative parallel
discrete-event simulation, with the answering time as its lookahead: Chandy and Misra, 1979.)
"""

import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

from agents.agent import AnyAgent, check
from pipeline.engine.letters import rekeyed
from pipeline.engine.options import Options
from pipeline.engine.plan import Plan, make_plan
from pipeline.engine.task import TICK, Task
from pipeline.log.memory import MemoryLog
from pipeline.log.partitioner import partition_of
from pipeline.log.record import FED, Order, Record
from pipeline.stores.port import Batch, Store
from pipeline.stores.rocksdb import RocksDBStore
from pipeline.worker.app import Steps, Worker, no_steps
from pipeline.worker.memory import MemoryLink

LOG = logging.getLogger("orderflow.embedded")
APP = "orderflow"
LAST = 1 << 62
CHECKPOINT_EVERY = 64
"""Slices between two snapshots of a durable log."""


class Crash(Exception):
    """Raised by a step to stand for the death of the process there; the pipeline starts a new worker and goes on."""


class Embedded:
    """One log, one state store, one worker at a time. Use as an async context manager.

    `folder` keeps both between runs; without it they live in a temporary folder and are gone afterwards.
    """

    def __init__(
        self, agents: Sequence[AnyAgent], options: Options, *, folder: Path | None = None, steps: Steps = no_steps, app: str = APP
    ) -> None:
        check(agents)
        self.plan: Plan = make_plan(agents, app=app)
        self.options = options
        self.restarts = 0
        self.slices = 0
        self.emitted: list[Callable[[Record], None]] = []
        """Called with each record said, ticks and those of inboxes too, in the order of time, as soon as nothing earlier can follow.
        After a process was killed, what it said last may come again."""
        self._temporary = None if folder is not None else tempfile.mkdtemp(prefix="orderflow-")
        self.folder = Path(self._temporary or folder or "")
        self._steps = steps
        self._now = Order(-1, FED, 0)
        self._fed = 0
        self._log_store = RocksDBStore(self.folder / "log", wal=True)
        self.log = MemoryLog(self._log_store, durable=folder is not None)
        self._create_topics()
        self._incarnation = self._incarnation_of(self._log_store)
        self._state = RocksDBStore(self.folder / "state", wal=False)
        self.worker: Worker | None = None

    def _create_topics(self) -> None:
        for topic, partitions in self.plan.topics.items():
            self.log.create(topic, partitions, read=topic in self.plan.home)
        for group in self.plan.groups:
            self.log.create(group.changelog, group.partitions, changelog=True)
        self.log.checkpoint()

    @staticmethod
    def _incarnation_of(store: Store) -> str:
        known = store.get(b"i")
        if known is None:
            known = os.urandom(8).hex().encode()
            store.write(Batch(puts=[(b"i", known)]))
        return known.decode()

    # --- life

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self.worker is not None:
            await self.worker.stop()
        self.log.checkpoint()
        self._state.close()
        self._log_store.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    async def _start(self) -> None:
        self.worker = Worker(
            self.plan,
            MemoryLink(self.log),
            self._state,
            self.options,
            folder=self.folder / "faust",
            incarnation=self._incarnation,
            steps=self._steps,
        )
        await self.worker.start()
        self._now = max(self._now, Order(max(task.head.time for task in self.worker.tasks.values()), FED, 0))

    async def restart(self) -> None:
        """Stop the worker as it is and start another one over the same log and state."""
        if self.worker is not None:
            await self.worker.stop()
        self.restarts += 1
        await self._start()

    # --- input

    @property
    def stream_time(self) -> int:
        """The greatest event time fed so far, ms; -1 before the first."""
        return self._now.at

    def place(self, at: int | None) -> Order:
        """The place in time of the next line, whose event is at `at` (None: unknown). An unbelievable clock moves nothing."""
        self._fed += 1
        now = self._now.at
        if at is not None and (now < 0 or at <= now + self.options.jump_ms):
            now = max(now, at)
        self._now = Order(now, FED, self._fed)
        return self._now

    def record(  # noqa: PLR0917  # the members of a line, in their order
        self,
        topic: str | None,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes], ...],
        timestamp: int | None,
        at: int | None,
        read: object = None,
    ) -> Record:
        """A record to feed: in its own topic where an agent reads that, else where unread lines are counted."""
        order = self.place(at)
        home = topic if topic is not None and topic in self.plan.home else self.plan.unread
        partition = partition_of(key, self.plan.topics[home]) if key is not None else order.number % self.plan.topics[home]
        stamp = timestamp if timestamp is not None else at if at is not None else max(order.at, 0)
        if topic is not None and home != topic:  # a dead letter says where the line belongs, not where it was counted
            return rekeyed(Record(topic, 0, key, value, headers, stamp, order, order.number - 1, read), home, partition, key)
        return Record(home, partition, key, value, headers, stamp, order, read=read)

    async def feed(self, records: Sequence[Record]) -> None:
        """Append these records and run until all that they cause before the last one's time has happened."""
        self.log.feed(records)
        await self._run(Order(self._now.at, FED, self._now.number + 1))

    async def advance(self, to: int) -> None:
        """Let event time pass up to `to`, ms: deadlines and answers until then happen."""
        self._now = max(self._now, Order(to, FED, self._now.number))
        await self._run(Order(to, FED, self._now.number + 1))

    async def finish(self) -> None:
        """Let happen what a process that was killed had fed, and no more: what is fed next may come before the answers to it."""
        await self._drained(list(self.plan.home))
        last = self.log.last_fed()
        await self._run(Order(last.at, FED, last.number + 1))

    async def settle(self) -> None:
        """Let what was said be heard and answered, until nobody has anything to say; deadlines only as far as that takes time."""
        while (held := self.log.next_held(self.plan.topics)) is not None:
            await self._run(Order(max(held.at, self._now.at), LAST, 0))
            self._now = max(self._now, Order(held.at, FED, self._now.number))

    # --- slices

    async def _run(self, until: Order) -> None:
        """Everything that comes before `until`."""
        while True:
            first = self._first()
            if first is None or not first < until:
                break
            lookahead = self.plan.answering_ms
            await self._slice(min(until, Order(first.at + lookahead, FED, 0)) if lookahead else until)
        self.log.untold.sort(key=attrgetter("order"))
        for record in self.log.untold:
            for heard in self.emitted:
                heard(record)
        self.log.untold.clear()

    def _first(self) -> Order | None:
        """The place in time of whatever happens next."""
        held = self.log.next_held(self.plan.topics)
        ticks = [Order(at, FED, 0) for task in self._tasks() if (at := task.next_deadline()) is not None]
        return min([*ticks, *([] if held is None else [held])], default=None)

    def _tasks(self) -> Iterator[Task]:
        return iter(self.worker.tasks.values()) if self.worker is not None else iter(())

    async def _slice(self, before: Order) -> None:
        self.slices += 1
        self._tick(before)
        again = True
        while again:
            again = False
            for stage in self.plan.stages:
                topics = [topic for group in stage for topic in group.inputs]
                while self.log.release(topics, before) or self.log.lag(topics):
                    again = True
                    await self._drained(topics)
        self.log.release([topic for topic in self.plan.topics if topic not in self.plan.home], before)
        if self.slices % CHECKPOINT_EVERY == 0:
            self.log.checkpoint()

    def _tick(self, before: Order) -> None:
        """Tell the tasks that have a deadline in this slice how late it will be at its end; the others need not know."""
        end = Order(before.at, FED, before.number - 1) if before.number else Order(before.at - 1, LAST, 0)
        ticks = [
            Record(task.group.inbox, task.partition, None, None, ((TICK, b""),), max(end.at, 0), end)
            for task in self._tasks()
            if (at := task.next_deadline()) is not None and at <= end.at
        ]
        if ticks:
            self.log.feed(ticks)

    async def _drained(self, topics: Sequence[str]) -> None:
        while True:
            worker = self.worker
            if worker is None:
                raise RuntimeError("not started")
            if worker.failed.done():  # asked first: it may have died with nothing left to read, and its last chunk not stored
                error = worker.failed.exception()
                if not isinstance(error, Crash):
                    raise error if error is not None else RuntimeError("the worker stopped")
                LOG.info("the worker died; starting another one")
                await self.restart()
                continue
            if not self.log.lag(topics):
                return
            await worker.until(worker.progress)
            worker.progress.clear()

    # --- results

    def counts(self) -> Counter[str]:
        """What became of all records so far, as `input.applied`, `input.dead.invalid`, `internal.ignored`, `emitted.OrderCancelled`."""
        total: Counter[str] = Counter()
        for task in self._tasks():
            total.update(task.head.counts)
        return total

    def sums(self) -> Counter[str]:
        """What is kept over all rows, as `rows.orders`, `orders.stuck`, `activity.unrated.RULE`."""
        total: Counter[str] = Counter()
        for task in self._tasks():
            total.update(task.head.sums)
        return total

    def rows(self, table: str) -> Iterator[tuple[str, Any]]:
        """Every committed row of a table, by key within partition."""
        for task in self._tasks():
            for number, agent in enumerate(task.group.agents):
                if agent.table.name == table:
                    for key, row, _parked in task.rows.all(number):
                        yield key, row

    def row(self, table: str, key: str) -> Any:  # noqa: ANN401  # of the table's row type
        """One committed row; the table's initial row for a key never seen."""
        for task in self._tasks():
            for number, agent in enumerate(task.group.agents):
                if agent.table.name == table and task.partition == partition_of(
                    key.encode("utf-8", "surrogatepass"), task.group.partitions
                ):
                    return task.rows.get((number, key)).row
        raise KeyError(table)
