"""The log on Kafka: records to and from the wire, and one writer per task, whose transactions are chunks.

Protocol: KIP-98 (transactions), KIP-360 (epochs). Only `InitProducerId` fences here: aiokafka sends no group generation with the offsets.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import IllegalOperation
from aiokafka.producer import sender
from aiokafka.producer.message_accumulator import BatchBuilder

from pipeline.log.record import FED, UNPLACED, Headers, Order, Outbox, Record, TopicPartition
from pipeline.problem import Problem

LOG = logging.getLogger("orderflow.kafka")

SAID = "orderflow-said"
"""Header of what a task said: the task's number. It is the last one."""

BATCH_BYTES = 1 << 20
"""Of one produce batch, before compression."""
RETRY_MS = 3
"""aiokafka waits this long where a broker says that the last transaction's markers are still being written (stock: 100, or 20 for a
commit that follows at once). Measured at 2,000 events/s: the median goes from 25 to 14 ms."""
sender.BACKOFF_OVERRIDE = 0.002  # aiokafka 0.14.0, producer/sender.py: the 20 ms


def _worth_telling(told: logging.LogRecord) -> bool:
    """That is answered 50 times a second, and tried again at once: it is how a transaction waits for the markers of the one before."""
    return "NotEnoughReplicasError" not in told.getMessage()


sender.log.addFilter(_worth_telling)

Appended: TypeAlias = tuple[bytes | None, bytes | None, int, list[tuple[str, bytes]]]
"""Key, value, timestamp in ms and headers of a record to write."""
_NO_HEADERS: list[tuple[str, bytes]] = []


@dataclass(frozen=True)
class Kafka:
    """How to reach the brokers, and as whom."""

    servers: str
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """aiokafka's keyword arguments for SASL and TLS."""
    session_ms: int = 10_000
    """A worker that was not heard of for so long is given up."""
    transaction_ms: int = 30_000
    """The broker aborts what takes longer, and fences its writer."""

    def options(self) -> dict[str, Any]:
        return {"bootstrap_servers": self.servers, "retry_backoff_ms": RETRY_MS, **self.security}

    def writer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        """Idempotent; with an id, of transactions."""
        return AIOKafkaProducer(
            **self.options(),
            transactional_id=transactional_id,
            transaction_timeout_ms=self.transaction_ms,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=16 * BATCH_BYTES,
            compression_type="zstd",  # aiokafka packs lz4 at level 9: four times the time of zstd, and a quarter more bytes
        )

    def reader(self, *, committed: bool = True) -> AIOKafkaConsumer:
        """Reads partitions that are assigned by hand: only committed records, unless others are asked for, too."""
        return AIOKafkaConsumer(
            **self.options(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed" if committed else "read_uncommitted",
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=4 * BATCH_BYTES,
        )


_UNPLACED = Order(UNPLACED, FED, 0)


def record_of(read: ConsumerRecord[Any, Any]) -> Record:
    """A record as the engine takes it; its reader finds its place in time."""
    headers: Headers = tuple(read.headers)
    order = _UNPLACED
    if headers and headers[-1][0] == SAID and headers[-1][1].isdigit():
        order, headers = Order(UNPLACED, int(headers[-1][1]), 0), headers[:-1]
    timestamp = read.timestamp
    return Record(read.topic, read.partition, read.key, read.value, headers, timestamp if timestamp > 0 else 0, order, read.offset)


async def read_through(kafka: Kafka, topics: Mapping[str, int], *, since: int = 0) -> AsyncGenerator[Record]:
    """What is committed on these topics (with their partitions) now, from a timestamp on; partition by partition in order.

    Raises Problem where one of them is not there.
    """
    reader = kafka.reader()
    await reader.start()
    try:
        if missing := sorted(topics.keys() - await reader.topics()):
            raise Problem(f"There is no topic {missing[0]} on {kafka.servers}.", "orderflow topics create makes what is missing.")
        partitions = [KafkaPartition(topic, p) for topic, count in topics.items() for p in range(count)]
        reader.assign(partitions)
        ends = await reader.end_offsets(partitions)
        for partition, found in (await reader.offsets_for_times(dict.fromkeys(partitions, since))).items():
            reader.seek(partition, ends[partition] if found is None else found.offset)
        left = list(partitions)
        while left := [partition for partition in left if await reader.position(partition) < ends[partition]]:
            for records in (await reader.getmany(*left, timeout_ms=200)).values():
                for record in records:
                    yield record_of(record)
    finally:
        await reader.stop()


def _appended(record: Record) -> Appended:
    headers = list(record.headers)
    if record.order.source != FED:
        headers.append((SAID, b"%d" % record.order.source))
    return record.key, record.value, record.timestamp, headers


async def send(producer: AIOKafkaProducer, batches: Mapping[TopicPartition, Sequence[Appended]]) -> dict[TopicPartition, int]:
    """Write these records, and wait until every one of them is taken. Returns the offset of the last one of each partition.

    All are made before the first one is sent, so that they go together: nobody reads one partition long before the others.

    Nothing may be left unawaited: a transaction whose batch was refused commits all the same, without it.
    """
    made: list[tuple[TopicPartition, BatchBuilder]] = []
    for tp, records in batches.items():
        batch = producer.create_batch()
        for key, value, timestamp, headers in records:
            if batch.append(key=key, value=value, timestamp=timestamp, headers=headers) is None:
                made.append((tp, batch))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=timestamp, headers=headers)
        made.append((tp, batch))
    waiting: list[tuple[TopicPartition, int, asyncio.Future[Any]]] = []
    for tp, batch in made:
        future = await producer.send_batch(batch, tp.topic, partition=tp.partition)
        future.add_done_callback(_seen)
        waiting.append((tp, batch.record_count(), future))
    last: dict[TopicPartition, int] = {}
    for (tp, count, _), taken in zip(waiting, await asyncio.gather(*(future for _, _, future in waiting)), strict=True):
        last[tp] = taken.offset + count - 1
    return last


def _seen(future: asyncio.Future[Any]) -> None:
    """One refused batch is raised; the others need not be told of besides."""
    if not future.cancelled():
        future.exception()


def batches_of(records: Iterable[Record]) -> dict[TopicPartition, list[Appended]]:
    """What is to be written to each partition, in order."""
    batches: dict[TopicPartition, list[Appended]] = defaultdict(list)
    for record in records:
        batches[TopicPartition(record.topic, record.partition)].append(_appended(record))
    return batches


class Writer:
    """A task's writer under its transactional id."""

    def __init__(self, kafka: Kafka, transactional_id: str, group: str) -> None:
        self._producer = kafka.writer(transactional_id)
        self._group = group

    async def begin(self) -> None:
        """Fence every earlier writer, and abort what it has left open."""
        await self._producer.start()

    async def commit(self, outbox: Outbox, changelog: TopicPartition) -> int:
        """One transaction. Returns the offset of the last changelog record; -1 without one.

        Whatever it raises, this writer is not to be used again.
        """
        producer = self._producer
        await producer.begin_transaction()
        batches = batches_of(outbox.records)
        stamp = max((record.timestamp for record in outbox.records), default=0)
        if outbox.changelog:
            batches[changelog] = [(key, value, stamp, _NO_HEADERS) for key, value in outbox.changelog]
        offsets = {KafkaPartition(*tp): offset for tp, offset in outbox.offsets.items()}
        if offsets:
            committing = asyncio.ensure_future(producer.send_offsets_to_transaction(offsets, self._group))
            committing.add_done_callback(_seen)
            try:
                last, _ = await asyncio.gather(send(producer, batches), committing)
            except IllegalOperation:  # the offsets were refused before the last batch was sent: that is what to tell
                await committing
                raise
        else:
            last = await send(producer, batches)
        await producer.commit_transaction()
        return last.get(changelog, -1)

    async def close(self) -> None:
        """Whatever is open is aborted by the next writer, or when its time is up."""
        await self._producer.stop()
