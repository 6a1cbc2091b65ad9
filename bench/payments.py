"""Payments for bench.spending, and its workers. Bytes are as the peer kit has them, and the same for the same seed."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random
from uuid import UUID

from aiokafka import AIOKafkaProducer

from bench.measure import Process, Rig
from bench.spending import PARTITIONS, agents, topics
from pipeline.engine.plan import Plan, make_plan
from pipeline.log.kafka import Appended, send
from pipeline.log.partitioner import partition_of
from pipeline.log.record import TopicPartition

USERS = 50_000
BATCH = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONG_AGO_MS = 1_748_736_000_000
"""1 June 2025, as in the peer kit."""
TEMPLATE = (
    '{"event_id":"%s","event_type":"PaymentProcessed","aggregate_id":"%s","aggregate_type":"Payment","event_version":1,"timestamp":"%s",'
    '"metadata":{"correlation_id":"%s","causation_id":"%s","user_id":"%s","source_service":"payment-service"},'
    '"payload":{"payment_id":"p-%09d","order_id":"%s","user_id":"%s","amount":"%d.%02d","currency":"USD","method":"card",'
    '"status":"completed"}}'
)


class Payments:
    """Endless: a millisecond after another, or when it is said."""

    def __init__(self) -> None:
        self._random = Random(20250601)
        self._made = 0

    def of(self, order: int, at_ms: int = 0) -> Appended:
        """The next payment; an order has one user."""
        number, self._made = self._made, self._made + 1
        at_ms = at_ms or LONG_AGO_MS + number
        bits = self._random.getrandbits
        event, correlation, cause = (UUID(int=bits(128), version=4) for _ in range(3))
        name, user, cents = f"o-{order:09d}", f"u-{order % USERS:05d}", 100 + bits(13)
        at = (EPOCH + timedelta(milliseconds=at_ms)).strftime("%Y-%m-%dT%H:%M:%S") + f".{at_ms % 1000:03d}Z"
        value = TEMPLATE % (event, name, at, correlation, cause, user, number, name, user, *divmod(cents, 100))
        return user.encode(), value.encode(), at_ms, []

    def again(self, orders: int) -> Appended:
        """For one of the first so many orders."""
        return self.of(self._random.randrange(orders))


async def write(producer: AIOKafkaProducer, topic: str, payments: Iterable[Appended]) -> None:
    left = iter(payments)
    while some := list(islice(left, BATCH)):
        batches: dict[TopicPartition, list[Appended]] = defaultdict(list)
        for each in some:
            batches[TopicPartition(topic, partition_of(each[0] or b"", PARTITIONS))].append(each)
        await send(producer, batches)


class Spending:
    """bench.spending under a fresh name: its topics, what is written to them, and its workers."""

    def __init__(self, rig: Rig, app: str, *, count: int = 2, shipped: bool = False) -> None:
        self.rig = rig
        self.payments = Payments()
        self.input = f"{app}-payments"
        self._count, self._shipped = count, shipped
        self._alerts = f"{app}-alerts"
        self.plan: Plan = make_plan(agents(count=count, shipped=shipped), app=app, topics=topics(self.input, self._alerts, shipped=shipped))

    async def feed(self, payments: Iterable[Appended]) -> None:
        producer = self.rig.kafka.writer()
        await producer.start()
        try:
            await write(producer, self.input, payments)
        finally:
            await producer.stop()

    def folder(self, number: int = 0) -> Path:
        return self.rig.folder / f"{self.plan.app}-{number}"

    def start(self, number: int = 0) -> Process:
        """A worker; each number has a folder of its own."""
        environment = {
            "KAFKA_BOOTSTRAP": self.rig.kafka.servers,
            "BENCH_APP_ID": self.plan.app,
            "BENCH_INPUT": self.input,
            "BENCH_ALERTS": self._alerts,
            "BENCH_STATE_DIR": str(self.folder(number)),
            "BENCH_DEDUP": "1",
            "BENCH_AGENTS": str(self._count),
            "BENCH_RULES": "shipped" if self._shipped else "",
        }
        return self.rig.start("bench.peer", environment=environment)


async def spending(rig: Rig, *, count: int = 2, shipped: bool = False) -> Spending:
    made = Spending(rig, await rig.fresh(), count=count, shipped=shipped)
    await rig.create(made.plan)
    return made
