"""A replay to Kafka: what is in the files is written to the topics, as the services would have written it, and nobody decides anything."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.clock import Clock, MonotonicClock
from pipeline.composition import agents
from pipeline.engine.letters import ORIGIN, rekeyed
from pipeline.engine.plan import Plan, make_plan
from pipeline.log.kafka import SAID, Kafka, batches_of, send
from pipeline.log.partitioner import partition_of
from pipeline.log.record import FED, Order, Record
from pipeline.problem import Problem
from pipeline.reach import kafka_of, reach
from pipeline.replay.feed import Draft, Pace, draft, given_partition
from pipeline.settings import Settings
from pipeline.worker.serve import check_topics
from schemas.codec import Bad, Unknown
from schemas.message import Instant

BATCH = 2_000
"""Lines that are written together."""
OURS = frozenset({SAID, ORIGIN})
"""Headers by which the workers of a group speak to one another: in a file they are of another run."""

Watch: TypeAlias = Callable[[object, int], None]


class Sent(msgspec.Struct, kw_only=True):
    """What a replay to Kafka came to. records = the sum of `topics` + the length of `refused`."""

    records: int = 0
    """Lines read."""
    topics: dict[str, int] = {}
    """Records written, by topic."""
    unreadable: dict[str, int] = {}
    """Of these, how many nobody can read, by the reason that their dead letters will have."""
    unknown: int = 0
    """Of these, how many are of a type that nobody knows."""
    refused: list[int] = []
    """Numbers of the lines that are in no topic, because they are too large for one."""
    seconds: float = 0.0
    events_per_second: int = 0
    refused_at: list[str] = []
    """Where these stand, by file."""
    problems: list[str] = []
    """Why the exit code is 1; empty when every line is in a topic."""


class Places:
    """Where each line belongs: its topic, partition and time, as `Embedded.record` finds them, but for what nobody hears."""

    def __init__(self, plan: Plan, jump_ms: int) -> None:
        self._topics = {topic.name: topic.partitions for topic in plan.registry if topic.carries}
        self._unread = plan.unread
        self._jump_ms = jump_ms
        self._number = 0
        self.now: Instant = -1
        """The greatest event time so far; an unbelievable clock moves nothing."""

    def believable(self, at: Instant) -> bool:
        return self.now < 0 or at <= self.now + self._jump_ms

    def record(self, said: Draft, partition: int | None) -> Record:
        """A line without a topic of ours goes where the workers' intake reads it, with its number: there it is understood or given up."""
        if said.at is not None and self.believable(said.at):
            self.now = max(self.now, said.at)
        stamp = next((at for at in (said.timestamp, said.at) if at is not None), max(self.now, 0))
        headers = tuple(pair for pair in said.headers if pair[0] not in OURS)
        number, self._number = self._number, self._number + 1
        order = Order(self.now, FED, 0)
        partitions = self._topics.get(said.topic or "")
        if said.topic is None or partitions is None:
            line = Record(said.topic or self._unread, 0, said.key, said.value, headers, stamp, order, number)
            return rekeyed(line, self._unread, 0, said.key)
        if partition is None or partition >= partitions:
            partition = number % partitions if said.key is None else partition_of(said.key, partitions)
        return Record(said.topic, partition, said.key, said.value, headers, stamp, order)


@dataclass(frozen=True)
class Sending:
    """How a file is written to Kafka; none of it changes what is written."""

    speed: float | None = None
    """Seconds of event time per second; None for as fast as it goes."""
    largest_bytes: int = 1_000_000
    """Of a record that brokers take. One that they refuse would leave its producer out of step."""
    clock: Clock = field(default_factory=MonotonicClock)
    watches: Watch = lambda _pipeline, _lines: None
    """Is told after each batch how many lines were read."""
    place: Callable[[int], str] = "line {}".format
    """Where the line stands that was read last, which has this number."""


async def target(settings: Settings) -> tuple[Kafka, Places]:
    """The brokers and their topics, which are as workers want them. Raises Problem where they are not, or not there."""
    kafka = kafka_of(settings)
    plan = make_plan(agents(settings), app=settings.group)
    await reach(kafka)
    await check_topics(kafka, plan)
    return kafka, Places(plan, settings.options().jump_ms)


async def send_lines(lines: Iterable[bytes], kafka: Kafka, places: Places, how: Sending) -> tuple[Sent, Problem | None]:
    """Write all lines; also told is what broke off on the way, the input or the link."""
    report, began = Sent(), how.clock.now()
    problem: Problem | None = None
    producer = kafka.writer()
    await producer.start()
    try:
        await _Sender(producer, report, how).take(lines, places)
    except Problem as broken:
        problem = broken
    except KafkaError as error:
        problem = Problem(
            f"The broker takes no more: {type(error).__name__}; {sum(report.topics.values()):,} records were written.",
            "When it is well again, replay the same files: what was written already is found to be a duplicate. "
            "If its records must be smaller, say so by ORDERFLOW_LARGEST_RECORD_BYTES.",
        )
    finally:
        await producer.stop()
    report.seconds = round(how.clock.now() - began, 3)
    report.events_per_second = round(report.records / report.seconds) if report.seconds > 0 else 0
    if report.refused:
        report.problems.append(
            f"{len(report.refused)} lines are larger than {how.largest_bytes} bytes, the first is {report.refused_at[0]}"
        )
    return report, problem


class _Sender:
    """Writes batch after batch, and counts what is written."""

    def __init__(self, producer: AIOKafkaProducer, report: Sent, how: Sending) -> None:
        self._producer, self._report, self._how = producer, report, how
        self._waiting: list[tuple[Draft, Record]] = []

    async def take(self, lines: Iterable[bytes], places: Places) -> None:
        pace = None if self._how.speed is None else Pace(self._how.speed, self._how.clock)
        try:
            for line in lines:
                said = draft(line)
                if pace is not None and said.at is not None and places.believable(said.at) and pace.wait_seconds(said.at) > 0:
                    await self._flush()
                    await pace.until(said.at)
                self._report.records += 1
                record = places.record(said, given_partition(line))
                if size_of(record) > self._how.largest_bytes:
                    self._report.refused.append(self._report.records)
                    self._report.refused_at.append(self._how.place(self._report.records))
                    continue
                self._waiting.append((said, record))
                if len(self._waiting) >= BATCH:
                    await self._flush()
        except Problem:  # where a file breaks off, what was read before is written all the same
            await self._flush()
            raise
        await self._flush()

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        await send(self._producer, batches_of(record for _, record in waiting))
        report = self._report
        for said, record in waiting:
            report.topics[record.topic] = report.topics.get(record.topic, 0) + 1
            if isinstance(said.read, Bad):
                report.unreadable[said.read.reason] = report.unreadable.get(said.read.reason, 0) + 1
            elif isinstance(said.read, Unknown):
                report.unknown += 1
        self._how.watches(None, report.records)


def size_of(record: Record) -> int:
    """Bytes of what it carries."""
    return len(record.key or b"") + len(record.value or b"") + sum(len(name) + len(value) for name, value in record.headers)
