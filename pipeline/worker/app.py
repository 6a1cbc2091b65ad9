"""The Faust app: one agent and one table per group, and the one way in which a chunk is run."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, cast

import faust
from faust.tables.manager import TableManager
from faust.types import TP, StreamT

from pipeline.engine.options import Options
from pipeline.engine.plan import Group, Plan
from pipeline.engine.task import Task
from pipeline.log.memory import MemoryLog
from pipeline.log.record import Record
from pipeline.stores.port import Store
from pipeline.worker.hooks import ChunkScheduler, ChunkSchema, EagerTables, GroupTable, TaskTransactions, halt
from pipeline.worker.memory import MemoryTransport

LOG = logging.getLogger("orderflow.worker")

Steps: TypeAlias = Callable[[str, Task], None]
"""Called after each step of a chunk's path: decided, committed, stored. May raise, as a dying process would stop there."""


LOOK_EVERY_SECONDS = 1.0


class WorkerStopped(Exception):
    """Faust has stopped by itself; its reason is the cause."""


def no_steps(_step: str, _task: Task) -> None:
    """Nobody watches."""


class Worker:
    """All tasks of a plan, in one process, over the log in this process.

    `failed` is done when a chunk could not be finished: the worker is to be stopped, and another one started.
    """

    def __init__(
        self, plan: Plan, log: MemoryLog, store: Store, options: Options, *, incarnation: str, folder: Path, steps: Steps = no_steps
    ) -> None:
        self.plan = plan
        self._log = log
        self._steps = steps
        self._epochs: dict[str, int] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.progress = asyncio.Event()
        """Set after each chunk."""
        self.tasks = {
            (group.name, p): Task(plan, group, p, store, options, incarnation=incarnation)
            for group in plan.groups
            for p in range(group.partitions)
        }
        self.app = self._make_app(options, folder)

    def _make_app(self, options: Options, folder: Path) -> faust.App:
        app = faust.App(
            self.plan.app,
            broker="memory://",
            store="memory://",
            datadir=folder,
            processing_guarantee="exactly_once",
            topic_disable_leader=True,
            topic_allow_declare=False,
            table_standby_replicas=0,
            web_enabled=False,
            stream_wait_empty=False,
            stream_recovery_delay=0.0,
            ConsumerScheduler=ChunkScheduler,
            TableManager=EagerTables,
        )
        app.in_worker = True  # or `in_transaction` stays False, and tasks are never reset
        app.transport = MemoryTransport(app, self._log, self.tasks.values(), chunk_records=options.chunk_records)
        for group in self.plan.groups:
            app.tables.add(GroupTable(app, group, {p: self.tasks[group.name, p] for p in range(group.partitions)}))
            app.agent(app.topic(*group.inputs, schema=ChunkSchema()), name=group.name)(self._body(group))
        cast("TaskTransactions", app.consumer.transactions).reset = self._reset
        return app

    def _body(self, group: Group) -> Callable[[StreamT[Any]], Awaitable[None]]:
        async def run(stream: StreamT[Any]) -> None:
            async for event in stream.events():
                try:
                    self._run(*event.value)
                except Exception as error:  # noqa: BLE001  # whatever it is, the chunk is not finished and must not be acknowledged
                    LOG.error("%s: a chunk could not be finished: %s", group.name, type(error).__name__)  # noqa: TRY400  # who awaits `failed` gets it whole
                    if not self.failed.done():
                        self.failed.set_exception(error)
                    self.progress.set()
                    await halt()

        return run

    def _run(self, task: Task, records: Sequence[Record]) -> None:
        """The path of a chunk. A chunk that says too much for one transaction becomes several."""
        done = 0
        while done < len(records):
            work = task.work(records[done:])
            self._steps("decided", task)
            end = self._log.commit(task.transactional_id, self._epochs[task.transactional_id], work.outbox, task.changelog)
            self._steps("committed", task)
            task.done(work, end)
            self._steps("stored", task)
            done += work.taken
        self.progress.set()

    async def _reset(self, assigned: set[TP]) -> None:
        """Fence every earlier worker, then forget what is not stored."""
        partitions = {(tp.topic, tp.partition) for tp in assigned}
        for task in self.tasks.values():
            if task.inputs[0] in partitions:
                self._epochs[task.transactional_id] = self._log.begin(task.transactional_id)
                why = task.reset(self._log.end(task.changelog))
                if why is not None:
                    LOG.warning("%s: its state is rebuilt from the changelog, because %s", task.name, why)

    async def start(self) -> None:
        """Returns when all tables are recovered. Raises WorkerStopped where Faust gives up before that."""
        await self.app.start()
        await self.until(cast("TableManager", self.app.tables).recovery.completed)

    async def until(self, event: asyncio.Event) -> None:
        """Wait for `event`. Raises WorkerStopped where Faust gives up before that."""
        while not event.is_set():
            if self.app.should_stop:
                raise WorkerStopped from self.app.crash_reason
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_SECONDS):  # not wait_for, which on 3.11 may swallow a cancellation
                    await event.wait()

    async def stop(self) -> None:
        """What is being run is finished or forgotten."""
        await self.app.stop()
