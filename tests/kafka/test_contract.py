"""The contract of a log, kept by Kafka: the suite of the log in this process, unchanged, through the writers and readers of a worker."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import ProducerFenced, UnknownTopicOrPartitionError

from pipeline.log.kafka import Kafka, Writer, batches_of, record_of, send
from pipeline.log.memory import Fenced, UnknownTopic
from pipeline.log.record import FED, Order, Outbox, Record, TopicPartition
from pipeline.log.topics import CHANGELOG, EVENTS, Topics, Wanted
from tests.kafka.brokers import Brokers
from tests.log import test_contract as contract
from tests.log.broker import Producer, Read, Said

globals().update({name: test for name, test in vars(contract).items() if name.startswith("test_")})

POLL_SECONDS = 0.01
PATIENCE_MS = 3_000
"""So long is a topic looked for that is not there."""


class KafkaBroker:
    """Kafka in the words of the contract. Names are this test's own on a broker that others use too."""

    changelog = TopicPartition("state", 0)

    def __init__(self, servers: str, own: Callable[[str], str], runner: asyncio.Runner) -> None:
        self.kafka, self.group, self._own, self.run = Kafka(servers, {"request_timeout_ms": PATIENCE_MS}), own("group"), own, runner.run
        self._writers: list[Writer] = []
        self.run(self._create("state", Wanted(1, CHANGELOG)))

    def tp(self, tp: TopicPartition) -> TopicPartition:
        return TopicPartition(self._own(tp.topic), tp.partition)

    def record(self, said: Said) -> Record:
        order = Order(0, FED, 0)
        return Record(self._own(said.topic), said.partition, said.key, said.value, said.headers, said.timestamp, order)

    async def _create(self, topic: str, wanted: Wanted) -> None:
        async with Topics(self.kafka) as topics:
            await topics.create({self._own(topic): wanted})

    def create(self, topic: str, partitions: int) -> None:
        self.run(self._create(topic, Wanted(partitions, EVENTS)))

    def append(self, *records: Said) -> None:
        self.run(self._append(records))

    async def _append(self, records: Sequence[Said]) -> None:
        producer = self.kafka.writer()
        await producer.start()
        try:
            await send(producer, batches_of(self.record(said) for said in records))
        finally:
            await producer.stop()

    def producer(self, transactional_id: str) -> Producer:
        return KafkaProducer(self, transactional_id)

    async def begun(self, transactional_id: str) -> Writer:
        writer = Writer(self.kafka, self._own(transactional_id), self.group)
        self._writers.append(writer)
        await writer.begin()
        return writer

    def fetch(self, topic: str, partition: int = 0, offset: int = 0, most: int = 1_000) -> list[Read]:
        return self.run(self._fetch(self.tp(TopicPartition(topic, partition)), offset))[:most]

    async def _fetch(self, tp: TopicPartition, offset: int) -> list[Read]:
        end, reader, partition = await self._end(tp), self.kafka.reader(), KafkaPartition(*tp)
        await reader.start()
        try:
            reader.assign([partition])
            reader.seek(partition, offset)
            found: list[Record] = []
            behind = True
            while behind:
                for records in (await reader.getmany(timeout_ms=20)).values():
                    found += [record_of(record) for record in records]
                behind = await reader.position(partition) < end
            return [Read(each.offset, each.key, each.value, each.headers, each.timestamp) for each in found]
        finally:
            await reader.stop()

    def committed(self, topic: str, partition: int = 0) -> int:
        return self.run(self._committed(self.tp(TopicPartition(topic, partition))))

    async def _committed(self, tp: TopicPartition) -> int:
        member = AIOKafkaConsumer(bootstrap_servers=self.kafka.servers, group_id=self.group, enable_auto_commit=False)
        await member.start()
        try:
            return await member.committed(KafkaPartition(*tp)) or 0
        finally:
            await member.stop()

    def end(self, topic: str, partition: int = 0) -> int:
        return self.run(self._end(self.tp(TopicPartition(topic, partition))))

    async def _end(self, tp: TopicPartition) -> int:
        """A commit returns before its marker stands in every partition: wait until nothing is open."""
        partition, stable, newest = KafkaPartition(*tp), self.kafka.reader(), self.uncommitted()
        await asyncio.gather(stable.start(), newest.start())
        try:
            while True:
                ends = [(await reader.end_offsets([partition]))[partition] for reader in (stable, newest)]
                if ends[0] == ends[1]:
                    return int(ends[0])
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await asyncio.gather(stable.stop(), newest.stop())

    def uncommitted(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(bootstrap_servers=self.kafka.servers, isolation_level="read_uncommitted")

    def close(self) -> None:
        for writer in self._writers:
            self.run(writer.close())


class KafkaProducer:
    """A task's writer. One that failed is not used again: as in a worker, the task begins anew, unless it was fenced."""

    def __init__(self, broker: KafkaBroker, transactional_id: str) -> None:
        self._broker, self._id = broker, transactional_id
        self._writer: Writer = broker.run(broker.begun(transactional_id))
        self._fenced = False

    def commit(
        self,
        records: Sequence[Said] = (),
        *,
        offsets: Mapping[TopicPartition, int] | None = None,
        changelog: Sequence[tuple[bytes, bytes | None]] = (),
    ) -> None:
        if self._fenced:
            raise Fenced(self._id)
        broker = self._broker
        moved = {broker.tp(tp): offset for tp, offset in (offsets or {}).items()}
        outbox = Outbox([broker.record(said) for said in records], list(changelog), moved)
        try:
            broker.run(self._writer.commit(outbox, broker.tp(broker.changelog)))
        except ProducerFenced as fenced:
            self._fenced = True
            raise Fenced(self._id) from fenced
        except UnknownTopicOrPartitionError as unknown:
            self._writer = broker.run(broker.begun(self._id))
            raise UnknownTopic(str(unknown)) from unknown


@pytest.fixture
def broker(brokers: Brokers, fresh_names: Callable[[str], str]) -> Iterator[KafkaBroker]:
    with asyncio.Runner() as runner:
        made = KafkaBroker(brokers.bootstrap, fresh_names, runner)
        made.create("a", 2)
        made.create("b", 1)
        try:
            yield made
        finally:
            made.close()
