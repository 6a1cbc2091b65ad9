"""Faust's transport over the log in this process."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, ClassVar, cast

import faust
from aiokafka.cluster import ClusterMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.transport import base
from faust.types import TP
from yarl import URL

from pipeline.engine.task import Task
from pipeline.log.memory import MemoryLog
from pipeline.log.record import Outbox, Record, TopicPartition
from pipeline.worker.app import Worker
from pipeline.worker.hooks import ChunkConsumer, SilentProducer, TaskChunk, TaskTransactions
from pipeline.worker.link import Part, Span

RECOVERY_RECORDS = 5_000
"""Changelog records read at a time."""
FOLLOW_SECONDS = 0.02
"""Between two looks for what is new in a changelog."""


class _Cluster:
    """What Faust's assignor asks of a cluster."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        count = self._log.partitions(topic)
        return None if count is None else set(range(count))


class MemoryGroup:
    """The workers over one log, and who has which partitions: as a broker's coordinator, the first member's assignor deciding."""

    def __init__(self) -> None:
        self._members: dict[str, MemoryConsumer] = {}
        self._joined = 0
        self._generation = 0
        self._turn = asyncio.Lock()

    async def join(self, consumer: "MemoryConsumer") -> None:
        if consumer not in self._members.values():
            self._joined += 1
            self._members[f"member-{self._joined}"] = consumer
        await self._rebalance()

    async def leave(self, consumer: "MemoryConsumer") -> None:
        if names := [name for name, member in self._members.items() if member is consumer]:
            del self._members[names[0]]
            await self._rebalance()

    async def _rebalance(self) -> None:
        """All members give up what they have, then each gets its own."""
        async with self._turn:
            members = dict(self._members)
            if not members:
                return
            self._generation += 1
            await asyncio.gather(*(member.give_up() for member in members.values()))
            plan = next(iter(members.values())).assign(members)
            await asyncio.gather(*(member.take(plan[name], self._generation) for name, member in members.items()))


class MemoryConsumer(ChunkConsumer):
    """A member of the group."""

    transport: "MemoryTransport"

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # as in Faust
        super().__init__(*args, **kwargs)
        self._log = self.transport.log
        self.subscription: set[str] = set()
        self._assignment: set[TP] = set()
        self._positions: dict[TP, int] = {}
        self._joining: asyncio.Task[None] | None = None
        self._log.on_news(self.news.set)

    # --- membership

    async def subscribe(self, topics: Iterable[str]) -> None:
        wanted = set(topics)
        if wanted != self.subscription:
            self.subscription = wanted
            # a task of its own: assignment waits until this call has returned (conductor.py, `wait_for_subscriptions`)
            self._joining = asyncio.create_task(self.transport.group.join(self))

    async def give_up(self) -> None:
        """The group is about to change."""
        self.app.on_rebalance_start()
        await self.on_partitions_revoked(set(self._assignment))

    def assign(self, members: Mapping[str, "MemoryConsumer"]) -> Mapping[str, Any]:
        """What each member is to have."""
        metadata = {name: member.assignor.metadata(member.subscription) for name, member in members.items()}
        return self.assignor.assign(cast("ClusterMetadata", _Cluster(self._log)), metadata)

    async def take(self, plan: Any, generation: int) -> None:  # noqa: ANN401  # as in Faust
        """This is our part of it."""
        self.assignor.on_assignment(plan)
        self._assignment = {TP(topic, p) for topic, partitions in plan.assignment for p in partitions}
        self.app.consumer_generation_id = generation
        await self.on_partitions_assigned(set(self._assignment), generation)

    @property
    def assignor(self) -> PartitionAssignor:
        return cast("PartitionAssignor", self.app.assignor)

    async def on_stop(self) -> None:
        await super().on_stop()
        await self.transport.group.leave(self)

    def assignment(self) -> set[TP]:
        return set(self._assignment)

    # --- offsets

    async def place(self) -> None:
        self._positions.update({tp: self._log.committed(TopicPartition(*tp)) for tp in self._assignment if not self._is_changelog_tp(tp)})

    # --- fetching

    def cut(self, active: set[TP]) -> list[TaskChunk]:
        found: list[TaskChunk] = []
        for task in self.transport.tasks:
            if task not in self.in_flight and (records := self._merge(task, active)):
                found.append(TaskChunk(task, records))
                for record in records:
                    self._positions[TP(record.topic, record.partition)] = record.offset + 1
        return found

    def _merge(self, task: Task, active: set[TP]) -> list[Record]:
        """The next records of a task, in the order of time. All inputs are released up to the same moment, so none is waited for."""
        most = self.transport.chunk_records
        merged: list[Record] = []
        for tp in task.inputs:
            if (key := TP(*tp)) in active:
                merged += self._log.fetch(tp, self._positions.get(key, 0), most)
        merged.sort(key=lambda record: record.order)
        return merged[:most]

    # --- what Faust asks of a consumer besides

    def topic_partitions(self, topic: str) -> int | None:
        return self._log.partitions(topic)


class MemoryTransport(base.Transport):
    """One app over one log."""

    Consumer: ClassVar[type[MemoryConsumer]] = MemoryConsumer
    Producer: ClassVar[type[SilentProducer]] = SilentProducer
    TransactionManager: ClassVar[type[TaskTransactions]] = TaskTransactions
    driver_version = "in-process"
    default_port = 0

    def __init__(self, app: faust.App, log: MemoryLog, group: MemoryGroup, tasks: Iterable[Task], *, chunk_records: int) -> None:
        super().__init__([URL("memory://")], app)
        self.log = log
        self.group = group
        self.tasks = tuple(tasks)
        self.chunk_records = chunk_records


class MemoryLink:
    """A worker's way to the log in this process; alone, or one of a group."""

    url = "memory://"

    def __init__(self, log: MemoryLog, group: MemoryGroup | None = None) -> None:
        self._log = log
        self._group = group or MemoryGroup()
        self._epochs: dict[str, int] = {}

    def transport(self, app: faust.App, worker: Worker) -> MemoryTransport:
        return MemoryTransport(app, self._log, self._group, worker.tasks.values(), chunk_records=worker.options.chunk_records)

    async def begin(self, transactional_id: str) -> None:
        self._epochs[transactional_id] = self._log.begin(transactional_id)

    async def ends(self, changelogs: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self._log.end(tp) for tp in changelogs}

    async def commit(self, transactional_id: str, outbox: Outbox, changelog: TopicPartition) -> int:
        return self._log.commit(transactional_id, self._epochs[transactional_id], outbox, changelog)

    async def changelogs(self, wanted: Mapping[TopicPartition, Span]) -> AsyncGenerator[Part]:
        positions = {tp: span.start for tp, span in wanted.items()}
        while positions:
            found = False
            for tp, position in list(positions.items()):
                if records := self._log.fetch(tp, position, RECOVERY_RECORDS):
                    positions[tp] = records[-1].offset + 1 if len(records) == RECOVERY_RECORDS else self._log.end(tp)
                    found = True
                    yield Part(tp, records, positions[tp])
                elif wanted[tp].end is not None:
                    del positions[tp]
            await asyncio.sleep(0 if found else FOLLOW_SECONDS)

    async def purge(self, read: Mapping[TopicPartition, int]) -> None:
        """The log drops by itself what is committed."""

    async def close(self) -> None:
        """Nothing is held."""
