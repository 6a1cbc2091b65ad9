"""The Faust app: one agent and one table per group, and the one way in which a chunk is run."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias, cast

import faust
from faust.types import TP, StreamT

from pipeline.clock import stopwatch, wall_ms
from pipeline.engine.options import Options
from pipeline.engine.plan import Plan
from pipeline.engine.task import TICK, ForeignState, Task
from pipeline.log.record import FED, UNPLACED, Order, Record, TopicPartition
from pipeline.problem import Problem
from pipeline.stores.port import Store
from pipeline.worker.hooks import ChunkConsumer, ChunkSchema, EagerTables, GroupTable, TaskChunk, TaskTransactions
from pipeline.worker.link import Link, Part, Span
from pipeline.worker.observer import Observer, Unobserved

LOG = logging.getLogger("orderflow.worker")

Steps: TypeAlias = Callable[[str, Task], None]
"""Called after each step of a chunk's path: decided, committed, stored. May raise, as a dying process would stop there."""


LOOK_EVERY_SECONDS = 1.0
IDLE_SECONDS = 0.5
LOOKS_BEHIND = 3
"""So often a task is seen behind a marker before that is committed: whoever has just woken up is told first that he was given up."""
PURGE_EVERY_SECONDS = 60.0
STAMP_EVERY_MS = 60_000
"""So often it is written down that a state is up to date."""
RECOVERY_TOLD_SECONDS = 2.0


class SplitTask(Exception):
    """Some inputs of a task were assigned to this worker and some to another: the group's members do not agree on what there is."""


class WorkerStopped(Exception):
    """Faust has stopped by itself, its reason is the cause; or something was cancelled that goes on as long as the worker."""


def no_steps(_step: str, _task: Task) -> None:
    """Nobody watches."""


async def ended(task: asyncio.Task[None] | None) -> None:
    """Cancel it, and wait until it has ended: what it awaits may swallow a cancellation."""
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=LOOK_EVERY_SECONDS)


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
        standbys: int = 0,
    ) -> None:
        self.plan = plan
        self.options = options
        self._link = link
        self._steps = steps
        self.observer: Observer = Unobserved()
        self._stamped = 0
        self._level: set[Task] = set()
        self.draining = True
        """No chunk is begun: tasks are being given up, or are not up to date yet. What Faust still had in hand will be read again."""
        self._running: set[asyncio.Task[None]] = set()
        self._ends: dict[TopicPartition, int] = {}
        self.assignments = 0
        """How often tasks were given to this worker."""
        self._beginning: asyncio.Task[None] | None = None
        self._housekeeping: list[asyncio.Task[None]] = []
        self._following: asyncio.Task[None] | None = None
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
        self.standbys: tuple[Task, ...] = ()
        """Those that it could take over at once."""
        self.app = self._make_app(folder, standbys)

    def _make_app(self, folder: Path, standbys: int) -> faust.App:
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
            TableManager=EagerTables,
            table_standby_replicas=standbys,
        )
        app.in_worker = True  # or `in_transaction` stays False, and tasks are never reset
        app.transport = self._link.transport(app, self)
        for group in self.plan.groups:
            app.tables.add(GroupTable(app, group))
            app.agent(app.topic(*group.inputs, schema=ChunkSchema()), name=group.name)(self._body)
        self.consumer = cast("ChunkConsumer", app.consumer)
        transactions = cast("TaskTransactions", app.consumer.transactions)
        transactions.drain, transactions.reset = self.drain, self._reset
        cast("EagerTables", app.tables).recovery.begin = self._begin
        return app

    # --- chunks

    async def _body(self, stream: StreamT[Any]) -> None:
        """The body of every Faust agent: chunks of different tasks overlap, as one is decided while another is committed."""
        async for event in stream.events():
            self._start(event.value)

    def _start(self, chunk: TaskChunk) -> None:
        if self.draining:
            return
        running = asyncio.create_task(self._run(chunk))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _run(self, chunk: TaskChunk) -> None:
        """The path of a chunk. A chunk that says too much for one transaction becomes several."""
        task, records = chunk.task, chunk.records
        try:
            while True:
                began = stopwatch()
                today = wall_ms() if self.options.gated else -1
                work = task.work(records, horizon=chunk.horizon, left=chunk.left, idle=chunk.positions, today=today)
                seconds = stopwatch() - began
                self._steps("decided", task)
                end = await self._link.commit(task.transactional_id, work.outbox, task.changelog)
                self._steps("committed", task)
                self.observer.committed(task, records, work, seconds)
                task.done(work, end)
                self._steps("stored", task)
                records = records[work.taken :]
                if not records:
                    break
        except Exception as error:  # noqa: BLE001  # whatever it is, the chunk is not finished: the task gets no other one
            LOG.error("%s: a chunk could not be finished: %s", task.name, type(error).__name__)  # noqa: TRY400  # `failed` has it whole
            self.observer.failed(task)
            self.fail(error)
        else:
            self.consumer.free(task)
        self.progress.set()

    async def _overtaken(self) -> bool:
        """Somebody has written to a changelog of ours since we began: the group has gone on without us, and will tell us."""
        ends = await self._link.ends([task.changelog for task in self.assigned])
        return any(end > self._ends[tp] for tp, end in ends.items())

    def remaining(self, task: Task) -> int:
        """Records of its changelog, markers included, that are to be read before it can go on."""
        return 0 if task in self._level else max(0, self._ends.get(task.changelog, 0) - 1 - task.head.changelog_end)

    def fail(self, error: Exception) -> None:
        """This worker cannot go on."""
        if not self.failed.done():
            self.failed.set_exception(error)
        self.progress.set()

    async def drain(self) -> None:
        """What is being run is finished, or has failed; nothing is begun any more."""
        self.draining = True
        await ended(self._beginning)
        if self._running:
            await asyncio.wait(self._running)

    # --- time

    async def _keep_time(self) -> None:
        """Where nothing comes, time passes all the same: deadlines are passed, and those downstream are told not to wait. Never returns.

        The wall clock only measures how long it has been since the last event anywhere in this worker; nothing is idle that has lag.
        """
        latest, since = -1, monotonic()
        behind: Counter[Task] = Counter()
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            self._stamp()
            now = max((task.head.time for task in self.assigned), default=-1)
            if now != latest:
                latest, since = now, monotonic()
            estimate = latest + round((monotonic() - since) * 1_000)
            for task in self.assigned:
                if not self.draining and self.consumer.idle(task):
                    due = task.next_deadline()
                    late = due is not None and latest >= 0 and task.head.time < due <= estimate and self.consumer.passed(task, estimate)
                    positions = self.consumer.positions(task)
                    behind[task] = behind[task] + 1 if task.behind(positions) else 0
                    if late or not task.idles or behind[task] >= LOOKS_BEHIND:
                        tick = Record(task.group.inbox, task.partition, None, None, ((TICK, b""),), estimate, Order(UNPLACED, FED, 0))
                        self.consumer.in_flight.add(task)
                        self._start(TaskChunk(task, [tick] if late else [], positions=positions))

    async def _keep_purging(self) -> None:
        """What was re-keyed, and is stored, is read by nobody again: inboxes are never longer than a minute. Never returns."""
        while True:
            await asyncio.sleep(PURGE_EVERY_SECONDS)
            read = {task.inbox: task.head.offsets.get(task.group.inbox, 0) for task in self.assigned}
            await self._link.purge({tp: offset for tp, offset in read.items() if offset})

    # --- assignment

    async def _reset(self, assigned: set[TP]) -> None:
        """Fence every earlier worker, then forget what is not stored."""
        await self.drain()
        await ended(self._following)
        self.assignments += 1
        self._level.clear()
        partitions = {TopicPartition(tp.topic, tp.partition) for tp in assigned}
        self.assigned = tuple(task for task in self.tasks.values() if task.inputs[0] in partitions)
        own = {tp for task in self.assigned for tp in (*task.inputs, task.changelog)}
        if split := (own - partitions) | {tp for tp in partitions - own if tp.topic in self.plan.home}:
            topic, partition = min(split)
            raise SplitTask(f"{topic}/{partition} was assigned apart from the rest of its task: all workers must run the same version")
        await asyncio.gather(*(self._link.begin(task.transactional_id) for task in self.assigned))
        self._ends = await self._reset_to_changelogs(self.assigned)
        self.consumer.in_flight.clear()
        followed = {TopicPartition(*tp) for tp in self.app.assignor.assigned_standbys()}
        self.standbys = tuple(task for task in self.tasks.values() if task.changelog in followed and task not in self.assigned)
        if self.standbys:
            self._following = asyncio.create_task(self._follow(self.standbys))

    def _begin(self) -> None:
        self._beginning = asyncio.create_task(self._go_on())

    async def _go_on(self) -> None:
        """Bring the assigned tasks up to date, place their inputs, and let chunks flow. Cancelled when the group changes again."""
        try:
            await self._recover()
            try:
                await self.consumer.place()
            except Problem:
                if await self._overtaken():
                    return
                raise
            if self._beginning is not None and self._beginning.cancelling():
                return  # what was awaited has swallowed it
            self.draining = False
            self.consumer.go_on()
        except Exception as error:  # noqa: BLE001  # whatever it is, these tasks cannot be run here
            self.fail(error)

    async def _recover(self) -> None:
        """Read what is missing of the changelogs."""
        told = stopwatch()
        tasks = {task.changelog: task for task in self.assigned}
        while True:
            spans = {tp: Span(task.head.changelog_end + 1, self._ends[tp]) for tp, task in tasks.items()}
            wanted = {tp: span for tp, span in spans.items() if span.start < self._ends[tp]}
            try:
                async with aclosing(self._link.changelogs(wanted)) as parts:
                    async for part in parts:
                        self._apply(tasks[part.tp], part)
                        told = self._tell_recovery(told)
            except ForeignState as error:
                LOG.warning("a state is rebuilt from its changelog, because it belongs to another one: %s", error)
                continue
            self._level.update(tasks.values())
            self._stamped = 0
            return

    def _tell_recovery(self, told: float) -> float:
        """How much is left, now and then. Returns when that was said last."""
        now = stopwatch()
        if now < told + RECOVERY_TOLD_SECONDS:
            return told
        LOG.warning("recovering: %d changelog records left", sum(map(self.remaining, self.assigned)))
        return now

    async def _follow(self, standbys: Sequence[Task]) -> None:
        """Keep the states of tasks that run elsewhere as they are there, until the next assignment."""
        try:
            ends = await self._reset_to_changelogs(standbys)
            tasks = {task.changelog: task for task in standbys}
            self._level.update(task for tp, task in tasks.items() if ends[tp] <= task.head.changelog_end + 2)  # a marker may follow
            while True:
                spans = {tp: Span(task.head.changelog_end + 1, None) for tp, task in tasks.items()}
                try:
                    async with aclosing(self._link.changelogs(spans)) as parts:
                        async for part in parts:
                            self._apply(tasks[part.tp], part)
                            if part.position >= ends[part.tp]:
                                self._level.add(tasks[part.tp])
                except ForeignState as error:
                    LOG.warning("a standby is rebuilt from its changelog, because it belongs to another one: %s", error)
        except Exception as error:  # noqa: BLE001  # whatever it is, this worker could not take over
            self.fail(error)

    async def _reset_to_changelogs(self, tasks: Sequence[Task]) -> dict[TopicPartition, int]:
        """Wipe what does not fit. Returns the ends of their changelogs."""
        ends = await self._link.ends([task.changelog for task in tasks])
        now = wall_ms() if self.options.gated else 0
        for task in tasks:
            if why := task.reset(ends[task.changelog], now=now):
                LOG.warning("%s: its state is rebuilt from the changelog, because %s", task.name, why)
        return ends

    def _stamp(self) -> None:
        """Write down, now and then, which states are up to date."""
        now = wall_ms()
        if now >= self._stamped + STAMP_EVERY_MS:
            self._stamped = now
            for task in self._level:
                task.stamp(now)

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
        kept = [self.consumer.hand_on(), *([self._keep_time(), self._keep_purging()] if self.options.gated else [])]
        self._housekeeping = [asyncio.create_task(each) for each in kept]
        for task in self._housekeeping:
            task.add_done_callback(self._over)
        await self.until(cast("EagerTables", self.app.tables).recovery.completed)

    def _over(self, task: asyncio.Task[None]) -> None:
        """What never ends has ended."""
        error = None if task.cancelled() else task.exception()
        self.fail(error if isinstance(error, Exception) else WorkerStopped(f"{task.get_coro()} was cancelled"))

    async def until(self, event: asyncio.Event) -> None:
        """Wait for `event`. Raises WorkerStopped where Faust gives up before that."""
        while not event.is_set():
            if self.failed.done():
                self.failed.result()
            if self.app.should_stop:
                raise WorkerStopped(self.app.crash_reason or "") from self.app.crash_reason
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_SECONDS):  # not wait_for, which on 3.11 may swallow a cancellation
                    await event.wait()

    async def stop(self) -> None:
        """What is being run is finished or forgotten."""
        for task in self._housekeeping:
            task.remove_done_callback(self._over)
            task.cancel()
        try:
            await self.drain()
            await ended(self._following)
            await self.app.stop()
        finally:
            await self._link.close()
