"""What every log can do, in the words of the contract; each log has an adapter to them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from pipeline.log.memory import MemoryLog
from pipeline.log.record import FED, Headers, Order, Outbox, Record, TopicPartition
from pipeline.stores.memory import MemoryStore

LAST = Order(1 << 62, FED, 0)


class Said(NamedTuple):
    """A record to write."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int = 0
    headers: Headers = ()
    timestamp: int = 0


class Read(NamedTuple):
    """A record that was read."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int = 0


class Producer(Protocol):
    """A writer under a transactional id; the one that began last is the only one that may commit."""

    def commit(
        self,
        records: Sequence[Said] = (),
        *,
        offsets: Mapping[TopicPartition, int] | None = None,
        changelog: Sequence[tuple[bytes, bytes | None]] = (),
    ) -> None:
        """One transaction: all of it or nothing. Raises Fenced and UnknownTopic."""
        ...


class Broker(Protocol):
    """A log with one consumer group, read committed."""

    changelog: TopicPartition
    """A compacted partition that producers write to."""

    def create(self, topic: str, partitions: int) -> None: ...
    def append(self, *records: Said) -> None:
        """From outside, without a transaction."""
        ...

    def producer(self, transactional_id: str) -> Producer: ...
    def fetch(self, topic: str, partition: int = 0, offset: int = 0, most: int = 1_000) -> list[Read]: ...
    def committed(self, topic: str, partition: int = 0) -> int: ...
    def end(self, topic: str, partition: int = 0) -> int: ...


class MemoryBroker:
    """The log in this process. What is written is released at once, in the order of arrival."""

    changelog = TopicPartition("state", 0)

    def __init__(self) -> None:
        self.log = MemoryLog(MemoryStore())
        self.log.create("state", 1, changelog=True)
        self._written = 0

    def create(self, topic: str, partitions: int) -> None:
        self.log.create(topic, partitions, read=True)

    def record(self, said: Said) -> Record:
        self._written += 1
        return Record(said.topic, said.partition, said.key, said.value, said.headers, said.timestamp, Order(self._written, FED, 0))

    def append(self, *records: Said) -> None:
        self.log.feed([self.record(said) for said in records])
        self.release()

    def release(self) -> None:
        self.log.release([topic for topic in self.log.topics() if topic != "state"], LAST)

    def producer(self, transactional_id: str) -> Producer:
        return MemoryProducer(self, transactional_id)

    def fetch(self, topic: str, partition: int = 0, offset: int = 0, most: int = 1_000) -> list[Read]:
        found = self.log.fetch(TopicPartition(topic, partition), offset, most)
        return [Read(record.offset, record.key, record.value, record.headers, record.timestamp) for record in found]

    def committed(self, topic: str, partition: int = 0) -> int:
        return self.log.committed(TopicPartition(topic, partition))

    def end(self, topic: str, partition: int = 0) -> int:
        return self.log.end(TopicPartition(topic, partition))


class MemoryProducer:
    def __init__(self, broker: MemoryBroker, transactional_id: str) -> None:
        self._broker, self._id = broker, transactional_id
        self._epoch = broker.log.begin(transactional_id)

    def commit(
        self,
        records: Sequence[Said] = (),
        *,
        offsets: Mapping[TopicPartition, int] | None = None,
        changelog: Sequence[tuple[bytes, bytes | None]] = (),
    ) -> None:
        outbox = Outbox([self._broker.record(said) for said in records], list(changelog), dict(offsets or {}))
        self._broker.log.commit(self._id, self._epoch, outbox, self._broker.changelog)
        self._broker.release()
