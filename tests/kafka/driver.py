"""Workers on Kafka for tests: topics made anew, lines written to them, and what was committed as a reader outside finds it."""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient

from pipeline.composition import agents
from pipeline.engine.plan import Plan, make_plan
from pipeline.engine.task import Task
from pipeline.log.kafka import Kafka, batches_of, record_of, send
from pipeline.log.partitioner import partition_of
from pipeline.log.record import FED, Order, Record, TopicPartition
from pipeline.log.topics import Topics, wanted
from pipeline.reach import kafka_of
from pipeline.replay.feed import draft
from pipeline.settings import Settings, load
from pipeline.stores.memory import MemoryStore
from pipeline.worker.app import Steps, Worker, no_steps
from pipeline.worker.serve import serve
from tests.kafka.brokers import ROOT, Brokers
from tests.kafka.histories import Expected, ids, letters, outcomes

SECONDS = 40
"""For what must come; nothing here waits so long unless it is broken."""
QUIET_SECONDS = 1.2
"""A worker with nothing to do looks at the time twice in that."""
SESSION_SECONDS = 20
"""Nobody is given up only because the machine is busy."""
SHORT_SECONDS = 4
"""The session of processes, which tests kill and stop: others take over soon."""
LOOK_SECONDS = 0.05
JUMP_DAYS = 365
"""What histories jump over, from a shop to the next one; more than that is a broken clock."""
BATCH = 2_000
TASKS = sum(group.partitions for group in make_plan(agents(Settings()), app="any").groups)
"""Of all groups."""


class Facts(NamedTuple):
    """What must be the same of an order, however the facts of different topics raced.

    Not which deadline it was undone for: an answer less than the lateness behind one may overtake it, and then the next one ends the order.
    """

    status: str
    authorised: int
    captured: dict[str, int]
    refunded: dict[str, int]


def facts(rows: Mapping[str, Any]) -> dict[str, Facts]:
    return {key: Facts(row.status.value, row.total_minor, dict(row.captured), dict(row.refunded)) for key, row in rows.items()}


class Stage:
    """The topics of one group on a broker. Those of the registry have fixed names: one stage at a time."""

    def __init__(self, servers: str, group: str, **settings: object) -> None:
        given: dict[str, object] = {
            "broker": f"kafka://{servers}",
            "group": group,
            "session_timeout_seconds": SESSION_SECONDS,
            "http_port": 0,
            "clock_jump_days": JUMP_DAYS,
        } | settings
        self._servers = servers
        self.settings: Settings = load(**given)
        self.given = given
        self.plan: Plan = make_plan(agents(self.settings), app=group)
        self.kafka: Kafka = kafka_of(self.settings)
        self.written = 0

    async def clear(self) -> None:
        """No topic stays."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await admin.start()
        try:

            async def gone() -> bool:
                old = [name for name in await admin.list_topics() if not name.startswith("__")]
                await admin.delete_topics(old)
                return not old

            await until(gone, "topics are not deleted")
        finally:
            await admin.close()

    async def create(self) -> Self:
        """All topics of the plan, empty; no other ones stay."""
        await self.clear()
        async with Topics(self.kafka) as topics:
            await topics.create(wanted(self.plan))

            async def ready() -> bool:
                return not await topics.differences(wanted(self.plan))

            await until(ready, "topics are not made")
        reader = self.kafka.reader()
        await reader.start()
        try:  # whose leaders answer: what is written before that is tried again and again
            await reader.end_offsets([KafkaPartition(topic, p) for topic, count in self.plan.topics.items() for p in range(count)])
        finally:
            await reader.stop()
        return self

    async def write(self, lines: Iterable[bytes]) -> None:
        """As services would: each line to its topic, in order, under the time that it tells."""
        records: list[Record] = []
        for line in lines:
            said = draft(line)
            home = said.topic if said.topic in self.plan.home else self.plan.unread
            partitions = self.plan.topics[home]
            partition = partition_of(said.key, partitions) if said.key is not None else self.written % partitions
            stamp = said.timestamp or max(said.at or 0, 0)
            records.append(Record(home, partition, said.key, said.value, said.headers, stamp, Order(0, FED, 0)))
            self.written += 1
        producer = self.kafka.writer()
        await producer.start()
        try:
            for start in range(0, len(records), BATCH):
                await send(producer, batches_of(records[start : start + BATCH]))
        finally:
            await producer.stop()

    @asynccontextmanager
    async def worker(self, folder: Path, *, steps: Steps = no_steps, **settings: object) -> AsyncIterator["Running"]:
        """A worker in this process, ready, until the block ends; then it leaves as it would on SIGTERM."""
        ready: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        given = self.settings.model_copy(update=settings)
        serving = asyncio.create_task(serve(given, folder=folder, steps=steps, ready=ready.set_result))
        try:
            waiting: list[asyncio.Future[Any]] = [serving, ready]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=SECONDS)
            if serving.done():
                serving.result()
            assert ready.done(), "not ready in time"
            yield Running(serving, ready.result())
        finally:
            if not (ready.done() and ready.result().failed.done()):  # one that has failed is leaving already
                serving.cancel()
            await asyncio.wait([serving])
            if not serving.cancelled():
                serving.exception()

    @contextmanager
    def process(
        self, folder: Path, *module: str, session_seconds: int = SHORT_SECONDS, **variables: object
    ) -> Iterator[subprocess.Popen[bytes]]:
        """`orderflow worker` as a process of its own, or this module; its words go to a file beside the folder. Gone after the block."""
        with folder.with_suffix(".log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *(module or ("pipeline", "worker"))],
                cwd=ROOT,
                env=environment(self.given | {"data_dir": folder, "session_timeout_seconds": session_seconds})
                | {name: str(value) for name, value in variables.items()},
                stdout=log,
                stderr=log,
            )
            try:
                yield process
            finally:
                process.kill()  # also one that stands still
                process.wait()

    @asynccontextmanager
    async def watch(self) -> AsyncIterator["Watch"]:
        reader = self.kafka.reader()
        await reader.start()
        try:
            yield Watch(self, reader)
        finally:
            await reader.stop()


async def until(condition: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not await condition():
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(LOOK_SECONDS)


async def ready(folder: Path) -> None:
    """Until the process that keeps its state there has all tables."""

    async def told() -> bool:
        return " ready: " in folder.with_suffix(".log").read_text()

    await until(told, "not ready in time")


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Ours, with no settings in it but these."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ORDERFLOW_")}
    return plain | {f"ORDERFLOW_{name.upper()}": str(value) for name, value in settings.items()}


class Running(NamedTuple):
    serving: asyncio.Task[bool]
    worker: Worker

    @property
    def idle(self) -> bool:
        """All its tasks have said that they have nothing to read."""
        return all(task.idles for task in self.worker.assigned)


class Watch:
    """Everything committed on a stage, read committed."""

    def __init__(self, stage: Stage, reader: AIOKafkaConsumer) -> None:
        self._stage, self._reader, self._plan = stage, reader, stage.plan
        options = stage.settings.worker_options()
        self.tasks = {
            TopicPartition(group.changelog, p): Task(stage.plan, group, p, MemoryStore(), options)
            for group in stage.plan.groups
            for p in range(group.partitions)
        }
        """Each as its changelog makes it."""
        self.records: list[Record] = []
        """Of all topics that are not changelogs."""
        self.ends: Counter[TopicPartition] = Counter()
        """Behind the last record of each."""
        topics = [TopicPartition(topic, p) for topic, partitions in stage.plan.topics.items() for p in range(partitions)]
        self._partitions = [KafkaPartition(*tp) for tp in (*topics, *self.tasks)]
        reader.assign(self._partitions)
        self._sought = False

    async def look(self) -> None:
        """Read on to where the log ends now."""
        if not self._sought:
            await self._reader.seek_to_beginning(*self._partitions)
            self._sought = True
        ends = await self._reader.end_offsets(self._partitions)
        while True:
            for partition, found in (await self._reader.getmany(timeout_ms=20)).items():
                tp = TopicPartition(*partition)
                records = [record_of(record) for record in found]
                self.ends[tp] = records[-1].offset + 1
                if task := self.tasks.get(tp):
                    task.recover(records)
                else:
                    self.records += records
            if all([await self._reader.position(partition) >= ends[partition] for partition in self._partitions]):
                return

    @property
    def there(self) -> dict[str, int]:
        """Of what was written and re-keyed, how many records each topic has."""
        return dict(Counter(record.topic for record in self.records if record.order.source == FED))

    def counts(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for task in self.tasks.values():
            total.update(task.head.counts)
        return total

    @property
    def taken(self) -> int:
        """Of what was written, how many records were accounted for."""
        return sum(count for name, count in self.counts().items() if name.startswith("input."))

    @property
    def done(self) -> bool:
        """All that was written is accounted for, and nothing that was said is left to be read."""
        read = all(self.ends[tp] <= task.head.offsets.get(tp.topic, 0) for task in self.tasks.values() for tp in task.inputs)
        return read and self.taken == self._stage.written

    async def until(self, condition: Callable[[], bool], *working: Running, seconds: float = SECONDS) -> None:
        """Raises what a worker dies of before that."""
        deadline = time.monotonic() + seconds
        await self.look()
        while not condition():
            assert time.monotonic() < deadline, (
                f"not in time: {self.taken} of {self._stage.written}, {dict(self.counts())}; there: {self.there}"
            )
            for each in working:
                if each.serving.done():
                    each.serving.result()
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def play(self, phases: Iterable[Sequence[bytes]], *working: Running) -> None:
        """Each phase is written when all before it is done; then everything is."""
        for phase in phases:
            await self.until(lambda: self.done, *working)
            await self._stage.write(phase)
        await self.end(*working)

    async def end(self, *working: Running, seconds: float = SECONDS) -> None:
        """Everything is done, and stays done while the worker has time to spare."""
        await self.until(lambda: self.done, *working, seconds=seconds)
        quiet = 0
        while not quiet:
            before = len(self.records)
            await asyncio.sleep(QUIET_SECONDS)
            await self.until(lambda: self.done, *working, seconds=seconds)
            quiet = len(self.records) == before

    def rows(self, table: str = "orders") -> dict[str, Any]:
        return {
            key: row
            for task in self.tasks.values()
            for number, agent in enumerate(task.group.agents)
            if agent.table.name == table
            for key, row, _parked in task.rows.all(number)
        }

    @property
    def facts(self) -> dict[str, Facts]:
        return facts(self.rows())

    @property
    def outcomes(self) -> dict[str, int]:
        return outcomes(self.counts())

    @property
    def ids(self) -> Counter[str]:
        """Of what agents said."""
        return ids([record for record in self.records if record.order.source != FED])

    @property
    def letters(self) -> Counter[tuple[str, bytes | None]]:
        return letters(self.records)


def same(watch: Watch, undisturbed: Expected) -> None:
    """Part by part, so that a failure says which."""
    assert watch.outcomes == undisturbed.outcomes
    assert watch.letters == undisturbed.letters
    assert watch.ids == undisturbed.ids
    assert watch.rows() == undisturbed.rows


def run(
    brokers: Brokers, group: str, act: Callable[[Stage, Watch], Awaitable[None]], lines: Sequence[bytes] = (), **settings: object
) -> None:
    """`act` on a new stage with these lines on it."""

    async def running() -> None:
        stage = await Stage(brokers.bootstrap, group, **settings).create()
        await stage.write(lines)
        async with stage.watch() as watch:
            await act(stage, watch)

    asyncio.run(running())
