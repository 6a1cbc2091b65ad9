"""Faust's transport over Kafka: membership of the group, and the inputs of each task as chunks in the order of time.

Written against aiokafka 0.14.0. The consumer runs in the worker's own loop: a thread of its own (stock) costs a hop per call, and the
global interpreter lock lets it run beside the engine anyway only while that waits.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import suppress
from heapq import heapify, heappop, heapreplace
from typing import Any, ClassVar, cast

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaError
from faust.transport import base
from faust.types import TP
from yarl import URL

from pipeline.engine.head import IDLE
from pipeline.engine.task import TICK, Task, told
from pipeline.log.kafka import BATCH_BYTES, Kafka, Writer, batches_of, record_of, send
from pipeline.log.record import Outbox, TopicPartition
from pipeline.log.topics import Topics
from pipeline.problem import Problem
from pipeline.worker.app import Worker
from pipeline.worker.hooks import ChunkConsumer, SilentProducer, TaskChunk, TaskTransactions
from pipeline.worker.inbox import Inbox, Raw
from pipeline.worker.link import Part, Span
from pipeline.worker.silence import Silence
from schemas.message import Instant

LOG = logging.getLogger("orderflow.kafka")

POLL_MS = 200
FETCH_WAIT_MS = 50
HEARTBEAT_MS = 1_000
BUFFERED_CHUNKS = 2
"""Of raw records per topic, which is not read on beyond."""
INBOX_CHUNKS = 8
"""Of an inbox, from the first record that was not heard: its writers may be as far apart."""
SLACK_MS = 1_000
"""What comes as it happens need not be asked about one by one."""
FOREVER_MS = 1 << 30
"""Between two polls: whoever has nothing to do stays a member."""


class _Rebalances(ConsumerRebalanceListener):
    """What Faust does when partitions come and go (transport/drivers/aiokafka.py, its listener)."""

    def __init__(self, consumer: "KafkaConsumer") -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[KafkaPartition]) -> None:
        consumer = self._consumer
        consumer.app.on_rebalance_start()
        await consumer.transport.worker.drain()
        await consumer.stop_reading()
        await consumer.on_partitions_revoked({TP(*tp) for tp in revoked})

    async def on_partitions_assigned(self, assigned: Iterable[KafkaPartition]) -> None:
        consumer = self._consumer
        kafka = consumer.kafka
        kafka.pause(*assigned)
        generation = consumer.app.consumer_generation_id = cast("GroupCoordinator", kafka._coordinator).generation  # noqa: SLF001  # as Faust does
        await consumer.on_partitions_assigned({TP(*tp) for tp in assigned}, generation)


class KafkaConsumer(ChunkConsumer):
    """A member of the group."""

    transport: "KafkaTransport"

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # as in Faust
        super().__init__(*args, **kwargs)
        self._link = self.transport.link
        self._worker = self.transport.worker
        self._buffers: dict[TopicPartition, deque[Raw]] = {}
        """Of topics."""
        self._inboxes: dict[TopicPartition, Inbox] = {}
        self._lagging: set[TopicPartition] = set()
        """Inputs whose next record may already be on the broker: nobody may overtake it."""
        self._told: dict[TopicPartition, dict[str, Instant]] = {}
        """By inbox: how late it is upstream, by what is in its buffer and not yet decided."""
        self._room = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        inputs = {task.name: task.inputs for task in self._worker.tasks.values()}
        self._silence = Silence(self._link.consumed, self._link.end, inputs, self.news.set)

    @property
    def kafka(self) -> AIOKafkaConsumer:
        return self._link.consumer

    # --- membership

    async def subscribe(self, topics: Iterable[str]) -> None:
        await self._link.join(self.app.assignor)
        self.kafka.subscribe(sorted(topics), listener=_Rebalances(self))

    def assignment(self) -> set[TP]:
        return {TP(*tp) for tp in self.kafka.assignment()} if self._link.joined else set()

    async def on_stop(self) -> None:
        await super().on_stop()
        await self.stop_reading()

    # --- offsets

    async def place(self) -> None:
        """Raises Problem where a state does not end at what the group has committed."""
        inputs = [tp for task in self._worker.assigned for tp in task.inputs]
        committed = await asyncio.gather(*(self.kafka.committed(KafkaPartition(*tp)) for tp in inputs))
        begins = await self.kafka.beginning_offsets([KafkaPartition(*tp) for tp in inputs])
        known = dict(zip(inputs, committed, strict=True))
        for task in self._worker.assigned:
            for tp in task.inputs:
                self.kafka.seek(KafkaPartition(*tp), self._link.position(task, tp, known[tp], begins[KafkaPartition(*tp)]))
        inboxes = {task.inbox: task.head.ahead for task in self._worker.assigned}
        self._inboxes = {tp: Inbox(self._worker.plan.home, ahead) for tp, ahead in inboxes.items()}
        self._buffers = {tp: deque() for tp in inputs if tp not in inboxes}
        self._told = {}
        self._silence.forget()
        self._lagging = set(inputs)
        self.kafka.resume(*(KafkaPartition(*tp) for tp in inputs))
        if self._reading is not None:
            self._reading.cancel()  # what it is about to get comes from these places, and belongs into these buffers
        self._reading = asyncio.create_task(self._read())

    # --- fetching

    async def stop_reading(self) -> None:
        """What was read and not yet decided will be read again, here or elsewhere."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
            self._reading = None
        self._silence.forget()
        self._buffers, self._inboxes = {}, {}

    async def _read(self) -> None:
        """Fill the buffers while there is room."""
        try:
            while True:
                self._room.clear()
                if wanted := self._wanted():
                    await self._poll(wanted)
                else:
                    await self._room.wait()
        except Exception as error:  # noqa: BLE001  # whatever it is, this worker reads nothing more
            self._worker.fail(error)

    def _wanted(self) -> list[TopicPartition]:
        most = self._worker.options.chunk_records
        inboxes = [tp for tp, inbox in self._inboxes.items() if inbox.span < INBOX_CHUNKS * most]
        return inboxes + [tp for tp, buffer in self._buffers.items() if len(buffer) < BUFFERED_CHUNKS * most]

    async def _poll(self, wanted: Collection[TopicPartition]) -> None:
        kafka, buffers, inboxes = self.kafka, self._buffers, self._inboxes
        found = await kafka.getmany(*(KafkaPartition(*tp) for tp in wanted), timeout_ms=POLL_MS)
        for partition, records in found.items():
            tp = TopicPartition(*partition)
            if (inbox := inboxes.get(tp)) is None:
                buffers[tp].extend(records)
                continue
            for record in inbox.add(records):
                if record.value is None and record.headers and record.headers[0][0] == TICK:
                    name, late = told(record.headers[0][1], record.timestamp)
                    self._told.setdefault(tp, {})[name] = late
        caught_up = False
        for tp in wanted:
            partition = KafkaPartition(*tp)
            end = kafka.last_stable_offset(partition)
            position = self._silence.positions[tp] = await kafka.position(partition)
            if end is None or position < end:
                self._lagging.add(tp)
            elif tp in self._lagging:
                self._lagging.discard(tp)
                caught_up = True
        if found or caught_up:
            self.news.set()

    def cut(self, active: set[TP]) -> list[TaskChunk]:
        found: list[TaskChunk] = []
        for task in self._worker.assigned:
            if task in self.in_flight or TP(*task.inputs[0]) not in active:
                continue
            merged, horizon = self._merge(task)
            if merged:
                found.append(TaskChunk(task, [record_of(record) for record in merged], horizon, self._inboxes[task.inbox].left))
        if found:
            self._room.set()
        return found

    def idle(self, task: Task) -> bool:
        return task not in self.in_flight and not any(self._has(tp) or tp in self._lagging for tp in task.inputs)

    def _has(self, tp: TopicPartition) -> bool:
        return bool(self._buffers.get(tp) or self._inboxes.get(tp))

    def _merge(self, task: Task) -> tuple[list[Raw], Instant]:
        """The next records of a task, by their timestamps, and the time of the earliest one left.

        An input that has more on the broker is waited for; and a task upstream that is late: in the inbox as long as there is room to read
        what it has been told, and as it does not itself wait for this one. Those upstream that say nothing are believed as far as the
        broker was asked.
        """
        most = self._worker.options.chunk_records
        inbox, told = self._inboxes.get(task.inbox), self._told.get(task.inbox, {})
        if inbox is None or any(each in self._lagging and not self._has(each) for each in task.inputs):
            return [], IDLE
        silent, until = self._silent(task, told)
        believed = until + SLACK_MS
        gate, own_gate = min(task.gate(told), believed), min(task.inbox_gate(told), believed)
        topics = [(each, buffer) for each in task.inputs if (buffer := self._buffers.get(each))]
        queues = [buffer for _, buffer in topics] + inbox.queues()
        limits = [gate] * len(topics) + [own_gate] * (len(queues) - len(topics))
        horizon = min((queue[0].timestamp for queue, limit in zip(queues, limits, strict=True) if queue[0].timestamp > limit), default=IDLE)
        newest = max((max(queue[0].timestamp, queue[-1].timestamp) for queue in queues), default=-1)  # a tick may tell any time
        if newest > until:
            self._silence.ask(task, silent, newest, urgent=newest > believed)
        room = inbox.span < INBOX_CHUNKS * most
        heads = [(queue[0].timestamp, n) for n, queue in enumerate(queues) if n >= len(topics) or queue[0].timestamp <= gate]
        if not room:  # what lies lowest may be the latest of all, and makes room all the same
            heads = [(-1 if queues[n][0].offset == inbox.left and n >= len(topics) else at, n) for at, n in heads]
        heapify(heads)
        merged: list[Raw] = []
        while heads and len(merged) < most:
            at, n = heads[0]
            queue, is_topic = queues[n], n < len(topics)
            if not is_topic and room and at > min(horizon, own_gate) and queue[0].value is not None:
                horizon = min(horizon, at)  # it is later than what waits elsewhere, or than what is known of those upstream
                heappop(heads)
                continue
            merged.append(queue.popleft())
            if queue and (queue[0].timestamp <= gate or not is_topic):
                heapreplace(heads, (queue[0].timestamp, n))
                continue
            heappop(heads)
            if queue:
                horizon = min(horizon, queue[0].timestamp)
            elif is_topic and topics[n][0] in self._lagging:
                horizon = min(horizon, at)
                break
            elif not is_topic and task.inbox in self._lagging and not inbox:
                horizon = min(horizon, task.told_limit(told))
                break
        left = [at for at, n in heads if n < len(topics)]
        return merged, min([horizon, until, inbox.earliest(), *left])

    def _silent(self, task: Task, told: Mapping[str, Instant]) -> tuple[list[str], Instant]:
        """The tasks upstream that say that they have nothing, and until when that is known."""
        heard = task.head.upstream | dict(told)
        silent = [name for name in task.upstream if heard.get(name) == IDLE]
        return silent, self._silence.until(task, silent) if silent else IDLE

    def passed(self, task: Task, until: Instant) -> bool:
        """Nothing earlier is to come, from anywhere; where that is not known, it is asked."""
        silent, _until = self._silent(task, {})
        if not silent or self._silence.passed(task, silent, until):
            return True
        self._silence.ask(task, silent, until, urgent=True)
        return False

    def positions(self, task: Task) -> dict[str, int]:
        """Where its inputs are read to, past the markers behind their last records."""
        return {tp.topic: self._silence.positions[tp] for tp in task.inputs if tp in self._silence.positions}

    # --- what Faust asks of a consumer besides

    def topic_partitions(self, topic: str) -> int | None:
        found = self.kafka.partitions_for_topic(topic)
        return None if found is None else len(found)


class KafkaTransport(base.Transport):
    """One member of the group of workers."""

    Consumer: ClassVar[type[KafkaConsumer]] = KafkaConsumer
    Producer: ClassVar[type[SilentProducer]] = SilentProducer
    TransactionManager: ClassVar[type[TaskTransactions]] = TaskTransactions
    driver_version = "kafka"
    default_port = 9092

    def __init__(self, app: faust.App, link: "KafkaLink", worker: Worker) -> None:
        super().__init__([URL("kafka://")], app)
        self.link = link
        self.worker = worker


class KafkaLink:
    """A worker's way to Kafka, under the guarantee it is given."""

    url = "kafka://"
    consumer: AIOKafkaConsumer
    _ends: AIOKafkaConsumer
    """Reads nothing; it asks where partitions end, what is not committed yet included: behind that may be what is."""

    def __init__(
        self, kafka: Kafka, group: str, *, exactly_once: bool = True, skip_lost: bool = False, instance: str | None = None
    ) -> None:
        self._kafka = kafka
        self._group = group
        self._exactly_once = exactly_once
        self._skip_lost = skip_lost
        self._instance = instance
        self._writers: dict[str, Writer] = {}
        self._shared: AIOKafkaProducer | None = None
        self.joined = False

    def transport(self, app: faust.App, worker: Worker) -> KafkaTransport:
        return KafkaTransport(app, self, worker)

    async def join(self, assignor: object) -> None:
        """Connect as a member of the group."""
        if self.joined:
            return
        self.consumer = AIOKafkaConsumer(
            **self._kafka.options(),
            group_id=self._group,
            group_instance_id=self._instance,
            partition_assignment_strategy=[assignor],
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            session_timeout_ms=self._kafka.session_ms,
            heartbeat_interval_ms=min(HEARTBEAT_MS, self._kafka.session_ms // 3),
            max_poll_interval_ms=FOREVER_MS,
            rebalance_timeout_ms=max(self._kafka.session_ms, self._kafka.transaction_ms),
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=BATCH_BYTES,
        )
        self._ends = self._kafka.reader(committed=False)
        await asyncio.gather(self.consumer.start(), self._ends.start())
        self.joined = True

    def position(self, task: Task, tp: TopicPartition, committed: int | None, begin: int) -> int:
        """Where to go on reading an input. Raises Problem where the state and the group disagree, or records are gone."""
        kept = task.head.offsets.get(tp.topic)
        if self._exactly_once and committed is not None and committed != kept:
            raise Problem(
                f"{tp.topic}/{tp.partition}: the group {self._group} has committed offset {committed}, "
                f"but the state of {task.name} ends at {'nothing' if kept is None else kept}.",
                "Offsets were set by hand, or the changelog was deleted: set the offsets back, or begin under another ORDERFLOW_GROUP.",
            )
        if committed is None and kept is not None:
            LOG.warning("%s/%d: the group's offset has expired; going on where the state ends", tp.topic, tp.partition)
        position = kept if kept is not None else 0 if task.head.chunk else begin  # a task that has begun has all to come from the start
        if position < begin:
            gone = f"{tp.topic}/{tp.partition}: records {position} to {begin - 1} were deleted before they were read"
            if not self._skip_lost:
                raise Problem(gone + ".", "Bring them back, or go on without them: ORDERFLOW_LOST_RECORDS=skip.")
            LOG.error("%s; going on without them", gone)
            position = begin
        return position

    async def begin(self, transactional_id: str) -> None:
        if (old := self._writers.pop(transactional_id, None)) is not None:
            await old.close()
        if self._exactly_once:
            writer = self._writers[transactional_id] = Writer(self._kafka, transactional_id, self._group)
            await writer.begin()
        elif self._shared is None:
            self._shared = self._kafka.writer()
            await self._shared.start()

    async def ends(self, changelogs: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        partitions = [KafkaPartition(*tp) for tp in changelogs]
        ends = await self.consumer.end_offsets(partitions) if partitions else {}
        return {TopicPartition(*partition): end for partition, end in ends.items()}

    async def commit(self, transactional_id: str, outbox: Outbox, changelog: TopicPartition) -> int:
        if self._exactly_once:
            return await self._writers[transactional_id].commit(outbox, changelog)
        return await self._commit_at_least_once(outbox, changelog)

    async def _commit_at_least_once(self, outbox: Outbox, changelog: TopicPartition) -> int:
        """What is said comes first: a worker that dies on the way says it again, under the same ids."""
        producer = self._shared
        if producer is None:
            raise RuntimeError("not begun")
        if outbox.records:
            await send(producer, batches_of(outbox.records))
        last = await send(producer, {changelog: [(key, value, 0, []) for key, value in outbox.changelog]})
        if outbox.offsets:
            await self.consumer.commit({KafkaPartition(*tp): offset for tp, offset in outbox.offsets.items()})
        return last[changelog]

    async def changelogs(self, wanted: Mapping[TopicPartition, Span]) -> AsyncGenerator[Part]:
        if not wanted:
            return
        reader = self._kafka.reader()
        try:
            await reader.start()
            left = {KafkaPartition(*tp): span.end for tp, span in wanted.items()}
            reader.assign(list(left))
            for tp, span in wanted.items():
                reader.seek(KafkaPartition(*tp), span.start)
            while left:
                found = await reader.getmany(timeout_ms=POLL_MS)
                for partition, records in found.items():
                    yield Part(TopicPartition(*partition), records, await reader.position(partition))
                for partition, end in list(left.items()):
                    if end is not None and await reader.position(partition) >= end:
                        del left[partition]
        finally:
            await reader.stop()

    async def end(self, tp: TopicPartition) -> int:
        """Behind everything that is there. What one writer has committed may lie behind what another has not, and cannot be read before."""
        partition = KafkaPartition(*tp)
        end: int = (await self._ends.end_offsets([partition]))[partition]
        return end

    async def consumed(self, inputs: Iterable[TopicPartition]) -> bool:
        """The group has committed all that is there."""
        ends = await self._ends.end_offsets([KafkaPartition(*tp) for tp in inputs])
        coordinator = cast("GroupCoordinator", self.consumer._coordinator)  # noqa: SLF001  # `committed` is one request per partition
        committed = await coordinator.fetch_committed_offsets(list(ends))
        return all(not end or ((found := committed.get(partition)) and found.offset >= end) for partition, end in ends.items())

    async def purge(self, read: Mapping[TopicPartition, int]) -> None:
        try:
            async with Topics(self._kafka) as topics:
                await topics.purge(read)
        except KafkaError as error:  # the next time will do, too
            LOG.warning("inboxes could not be purged: %s", type(error).__name__)

    async def close(self) -> None:
        """Leave the group; what is open is aborted by whoever begins next.

        Where the broker is away aiokafka may raise what it cancels its own tasks with (fetcher.py, `close`).
        """
        if self.joined:
            await asyncio.gather(self.consumer.stop(), self._ends.stop(), return_exceptions=True)
        await asyncio.gather(*(writer.close() for writer in self._writers.values()), return_exceptions=True)
        if self._shared is not None:
            await self._shared.stop()
