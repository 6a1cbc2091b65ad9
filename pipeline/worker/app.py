"""The Faust app: one agent and one table per group, and the one way in which a chunk is run."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias, cast

import faust
from faust.tables.manager import TableManager
from faust.types import TP, StreamT

from pipeline.engine.head import IDLE
from pipeline.engine.options import Options
from pipeline.engine.plan import Plan
from pipeline.engine.task import TICK, ForeignState, Task
from pipeline.log.record import FED, UNPLACED, Order, Record, TopicPartition
from pipeline.stores.port import Store
from pipeline.worker.hooks import ChunkConsumer, ChunkScheduler, ChunkSchema, EagerTables, GroupTable, TaskTransactions
from pipeline.worker.link import Link, Part, Span
from schemas.message import Instant

LOG = logging.getLogger("orderflow.worker")

Steps: TypeAlias = Callable[[str, Task], None]
"""Called after each step of a chunk's path: decided, committed, stored. May raise, as a dying process would stop there."""


LOOK_EVERY_SECONDS = 1.0
IDLE_SECONDS = 0.5
RECOVERY_SECONDS = 3_600.0
"""What Faust waits for a recovery, at most."""


class SplitTask(Exception):
    """Some inputs of a task were assigned to this worker and some to another: the group's members do not agree on what there is."""


class WorkerStopped(Exception):
    """Faust has stopped by itself; its reason is the cause."""


def no_steps(_step: str, _task: Task) -> None:
    """Nobody watches."""


class Worker:
    """The tasks of a plan that are assigned to this process; over the log in this process, all of them.

    `failed` is done when a chunk could not be finished: the worker is to be stopped, and another one started.
    """

    def __init__(  # the parts it is made of
        self,
        plan: Plan,
        link: Link,
        store: Store,
        options: Options,
        *,
        folder: Path,
        incarnation: str = "",
        steps: Steps = no_steps,
        faust_settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.plan = plan
        self.options = options
        self._link = link
        self._steps = steps
        self._running: set[asyncio.Task[None]] = set()
        self._ends: dict[TopicPartition, int] = {}
        self._assignments = 0
        self._time: asyncio.Task[None] | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.progress = asyncio.Event()
        """Set after each chunk."""
        self.tasks = {
            (group.name, p): Task(plan, group, p, store, options, incarnation=incarnation)
            for group in plan.groups
            for p in range(group.partitions)
        }
        self.assigned: tuple[Task, ...] = ()
        """The tasks that this worker runs now."""
        self.app = self._make_app(folder, faust_settings or {})

    def _make_app(self, folder: Path, settings: Mapping[str, Any]) -> faust.App:
        app = faust.App(
            self.plan.app,
            broker=self._link.url,
            store="memory://",
            datadir=folder,
            processing_guarantee="exactly_once",
            topic_disable_leader=True,
            topic_allow_declare=False,
            web_enabled=False,
            stream_wait_empty=False,
            stream_recovery_delay=0.0,
            broker_request_timeout=RECOVERY_SECONDS,
            ConsumerScheduler=ChunkScheduler,
            TableManager=EagerTables,
            **({"table_standby_replicas": 0} | dict(settings)),
        )
        app.in_worker = True  # or `in_transaction` stays False, and tasks are never reset
        app.transport = self._link.transport(app, self)
        for group in self.plan.groups:
            app.tables.add(GroupTable(app, group))
            app.agent(app.topic(*group.inputs, schema=ChunkSchema()), name=group.name)(self._body)
        self.consumer = cast("ChunkConsumer", app.consumer)
        self.consumer.recover = self._recover
        transactions = cast("TaskTransactions", app.consumer.transactions)
        transactions.drain, transactions.reset = self._drain, self._reset
        return app

    # --- chunks

    async def _body(self, stream: StreamT[Any]) -> None:
        """The body of every Faust agent: chunks of different tasks overlap, as one is decided while another is committed."""
        async for event in stream.events():
            self._start(*event.value)

    def _start(self, task: Task, records: Sequence[Record], horizon: Instant = IDLE, *, idle: bool = False) -> None:
        running = asyncio.create_task(self._run(task, records, horizon, idle=idle))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _run(self, task: Task, records: Sequence[Record], horizon: Instant, *, idle: bool) -> None:
        """The path of a chunk. A chunk that says too much for one transaction becomes several."""
        try:
            left = records
            while True:
                work = task.work(left, horizon=horizon, idle=idle)
                self._steps("decided", task)
                end = await self._link.commit(task.transactional_id, work.outbox, task.changelog)
                self._steps("committed", task)
                task.done(work, end)
                self._steps("stored", task)
                left = left[work.taken :]
                if not left:
                    break
        except Exception as error:  # noqa: BLE001  # whatever it is, the chunk is not finished: the task gets no other one
            LOG.error("%s: a chunk could not be finished: %s", task.name, type(error).__name__)  # noqa: TRY400  # `failed` has it whole
            self.fail(error)
        else:
            self.consumer.free(task)
        self.progress.set()

    def fail(self, error: Exception) -> None:
        """This worker cannot go on."""
        if not self.failed.done():
            self.failed.set_exception(error)
        self.progress.set()

    async def _drain(self) -> None:
        """What is being run is finished, or has failed."""
        if self._running:
            await asyncio.wait(self._running)

    # --- time

    async def _keep_time(self) -> None:
        """Where nothing comes, time passes all the same: deadlines are passed, and those downstream are told not to wait. Never returns.

        The wall clock only measures how long it has been since the last event anywhere in this worker; nothing is idle that has lag.
        """
        latest, since = -1, monotonic()
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            now = max((task.head.time for task in self.assigned), default=-1)
            if now != latest:
                latest, since = now, monotonic()
            estimate = latest + round((monotonic() - since) * 1_000)
            for task in self.assigned:
                if self.consumer.flow_active and self.consumer.idle(task):
                    due = task.next_deadline()
                    late = due is not None and latest >= 0 and task.head.time < due <= estimate
                    if late or not task.idles:
                        tick = Record(task.group.inbox, task.partition, None, None, ((TICK, b""),), estimate, Order(UNPLACED, FED, 0))
                        self.consumer.in_flight.add(task)
                        self._start(task, [tick] if late else [], idle=True)

    # --- assignment

    async def _reset(self, assigned: set[TP]) -> None:
        """Fence every earlier worker, then forget what is not stored."""
        await self._drain()
        self._assignments += 1
        partitions = {TopicPartition(tp.topic, tp.partition) for tp in assigned}
        self.assigned = tuple(task for task in self.tasks.values() if task.inputs[0] in partitions)
        for task in self.assigned:
            if missing := [tp for tp in (*task.inputs, task.changelog) if tp not in partitions]:
                raise SplitTask(f"{task.name} was assigned without {missing[0].topic}: all workers must run the same version")
        ends = await asyncio.gather(*(self._link.begin(task.transactional_id, task.changelog) for task in self.assigned))
        for task, end in zip(self.assigned, ends, strict=True):
            self._ends[task.changelog] = end
            if why := task.reset(end):
                LOG.warning("%s: its state is rebuilt from the changelog, because %s", task.name, why)
        self.consumer.in_flight.clear()

    async def _recover(self, changelogs: set[TP]) -> None:
        """Read what is missing of these changelogs. Another assignment ends it."""
        assignment = self._assignments
        tasks = {task.changelog: task for task in self.assigned if TP(*task.changelog) in changelogs}
        while True:
            spans = {tp: Span(task.head.changelog_end + 1, self._ends[tp]) for tp, task in tasks.items()}
            wanted = {tp: span for tp, span in spans.items() if span.start < self._ends[tp]}
            try:
                async for part in self._link.changelogs(wanted):
                    if self._assignments != assignment:
                        return
                    self._apply(tasks[part.tp], part)
            except ForeignState as error:
                LOG.warning("a state is rebuilt from its changelog, because it belongs to another one: %s", error)
                continue
            return

    @staticmethod
    def _apply(task: Task, part: Part) -> None:
        try:
            task.recover(part.records)
        except ForeignState:
            task.wipe()
            raise

    # --- life

    async def start(self) -> None:
        """Returns when all tables are recovered. Raises WorkerStopped where Faust gives up before that."""
        await self.app.start()
        if self.options.gated:
            self._time = asyncio.create_task(self._keep_time())
        await self.until(cast("TableManager", self.app.tables).recovery.completed)

    async def until(self, event: asyncio.Event) -> None:
        """Wait for `event`. Raises WorkerStopped where Faust gives up before that."""
        while not event.is_set():
            if self.failed.done():
                self.failed.result()
            if self.app.should_stop:
                raise WorkerStopped from self.app.crash_reason
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_SECONDS):  # not wait_for, which on 3.11 may swallow a cancellation
                    await event.wait()

    async def stop(self) -> None:
        """What is being run is finished or forgotten."""
        if self._time is not None:
            self._time.cancel()
        await self.app.stop()
        await self._drain()
        await self._link.close()
