"""What every measurement needs: a broker of its own, processes that end with it, and figures seen from outside.

On Linux: CPU time and memory are read in /proc.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, NamedTuple, Self, TypeAlias

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from pipeline.engine.plan import Plan
from pipeline.log.kafka import Kafka
from pipeline.log.topics import Topics, wanted
from pipeline.problem import Problem
from tests.chaos.fleet import keeper
from tests.kafka.brokers import ROOT, Brokers, lacking

Row: TypeAlias = dict[str, Any]
Tables: TypeAlias = dict[str, list[Row]]
"""What a section has found: rows with the same columns, by the name of their table."""
Say: TypeAlias = Callable[[str], None]
"""Hears what is being done."""
Offsets: TypeAlias = Mapping[TopicPartition, int]

LOOK_SECONDS = 0.05
STUCK_SECONDS = 300
"""Without any commit, and as long may a worker take to recover."""
STOP_SECONDS = 30
LAST_LINES = 5
MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")
TOGETHER_MS = 1_000
"""The first member of a group waits so long for others: two that start at the same time do not move their tasks at once."""


class Process:
    """A process with its log; its figures are those of itself and of all that it has started."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.popen = popen
        self.log = log
        self.began = monotonic()

    def check(self) -> None:
        """Raises Problem where it has ended."""
        if self.popen.poll() is not None:
            words = " | ".join(self.log.read_text(errors="replace").splitlines()[-LAST_LINES:])
            raise Problem(f"A measured process has ended with {self.popen.returncode}: {words}", "Without it there is nothing to measure.")

    @property
    def cpu_seconds(self) -> float:
        return sum(map(cpu_seconds, tree(self.popen.pid)))

    def memory(self, line: str) -> float:
        """MiB: VmRSS is now, VmHWM the peak."""
        return sum(memory_kib(pid, line) for pid in tree(self.popen.pid)) / 1024

    async def said(self, words: bytes) -> float:
        """Seconds until it has written this to its log, since it was started."""
        while words not in self.log.read_bytes():
            self.check()
            await asyncio.sleep(LOOK_SECONDS)
        return monotonic() - self.began

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Returns when it is gone."""
        self.popen.send_signal(number)
        await asyncio.to_thread(self.popen.wait, STOP_SECONDS)

    def kill(self) -> None:
        """With all that it has started, in whatever session that is."""
        if self.popen.poll() is None:
            for pid in tree(self.popen.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.popen.wait()


def tree(pid: int) -> list[int]:
    found = [pid]
    for each in found:  # which grows meanwhile
        with suppress(OSError):  # it has ended
            for thread in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time (proc(5), fields 14 and 15 of stat; a name may hold anything, but ends at the last bracket)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_kib(pid: int, line: str) -> int:
    with suppress(OSError):
        for each in Path(f"/proc/{pid}/status").read_text().splitlines():
            if each.startswith(f"{line}:"):
                return int(each.split()[1])
    return 0


class Rig:
    """A broker, a folder, and the processes of a section. All are gone when the block ends, or this process, however it ends."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self._numbers = count(1)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if why := lacking():
            raise Problem(f"No broker: {why}.", "python -m bench stages needs none.")
        async with AsyncExitStack() as opened:
            self.folder = Path(opened.enter_context(TemporaryDirectory(prefix="orderflow-bench-")))
            (self.folder / "kafka").mkdir()
            self.say("starting a broker")
            brokers = Brokers(folder=self.folder / "kafka", long_life=True, server={"group.initial.rebalance.delay.ms": TOGETHER_MS})
            self.kafka = Kafka(opened.enter_context(brokers).bootstrap)
            self._keeper = keeper()
            opened.callback(self._keeper.communicate)
            self.admin = AIOKafkaAdminClient(**self.kafka.options())
            opened.push_async_callback(self.admin.close)
            await self.admin.start()
            await self._first_group()
            self._open = opened.pop_all()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._open.aclose()

    async def _first_group(self) -> None:
        """A broker makes the topic of all offsets when somebody asks for a group, and until then refuses to answer."""
        while True:
            try:
                await self.admin.find_coordinator("bench")
            except GroupCoordinatorNotAvailableError:
                await asyncio.sleep(LOOK_SECONDS)
            else:
                return

    async def fresh(self) -> str:
        """A name for an application; the topics of those before it are gone, and their records."""
        if old := [name for name in await self.admin.list_topics() if not name.startswith("__")]:
            await self.admin.delete_topics(old)
        return f"bench-{next(self._numbers)}"

    async def create(self, plan: Plan) -> None:
        async with Topics(self.kafka) as topics:
            await topics.create(wanted(plan))

    def start(self, *command: str, environment: Mapping[str, str] | None = None) -> Process:
        """`python -m command`."""
        return self.launch([sys.executable, "-m", *command], ROOT, environment or {})

    def launch(self, words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Process:
        """Nothing of our own settings is inherited."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ORDERFLOW_", "BENCH_"))}
        log = self.folder / f"{next(self._numbers)}.log"
        with log.open("wb") as written:
            popen = subprocess.Popen(  # noqa: S603  # our own commands
                words,
                cwd=folder,
                env={**inherited, **environment},
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                process_group=self._keeper.pid,
            )
        return Process(popen, log)

    async def run(self, *command: str, environment: Mapping[str, str] | None = None) -> None:
        """To its end. Raises Problem where that is not a good one."""
        process = self.start(*command, environment=environment)
        if await asyncio.to_thread(process.popen.wait):
            process.check()


class Look(NamedTuple):
    """What there is at one moment."""

    at: float
    committed: Offsets
    ends: Offsets
    cpu_seconds: float

    @property
    def lag(self) -> int:
        return sum(end - self.committed[tp] for tp, end in self.ends.items())


class Work(NamedTuple):
    """What was done between the first commit and the last one, when nothing was left to be read."""

    events: int
    seconds: float
    cpu_seconds: float
    peak_rss_mib: float

    @property
    def row(self) -> Row:
        return {
            "events": self.events,
            "events/s": round(self.events / self.seconds) if self.seconds else None,
            "CPU s per million": round(self.cpu_seconds * 1e6 / self.events, 1) if self.events else None,
            "peak RSS MiB": round(self.peak_rss_mib),
        }


class Group:
    """What the workers of a plan have committed, as the broker tells it, and what that has cost them. Use as an async context manager."""

    def __init__(self, rig: Rig, plan: Plan) -> None:
        self._rig = rig
        self.name = plan.app
        self.inputs = [TopicPartition(topic, p) for group in plan.groups for topic in group.inputs for p in range(group.partitions)]
        self._fed = [tp for tp in self.inputs if tp.topic not in {group.inbox for group in plan.groups}]
        """What is written by others; in inboxes the workers speak to one another."""
        self.workers: list[Process] = []

    async def __aenter__(self) -> Self:
        self._reader = self._rig.kafka.reader()
        await self._reader.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._reader.stop()

    async def look(self) -> Look:
        """Raises Problem where a worker has ended."""
        committed, ends = await asyncio.gather(
            self._rig.admin.list_consumer_group_offsets(self.name), self._reader.end_offsets(self.inputs)
        )
        for worker in self.workers:
            worker.check()
        known = {tp: max(0, committed[tp].offset) if tp in committed else 0 for tp in self.inputs}
        return Look(monotonic(), known, ends, sum(worker.cpu_seconds for worker in self.workers))

    async def joined(self) -> None:
        """Returns when the group has members, and each knows its tasks."""
        while True:
            answers: list[Any] = await self._rig.admin.describe_consumer_groups([self.name])
            if "Stable" in [state for answer in answers for _code, _group, state, *_ in answer.groups]:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def work(self, start: Callable[[], Sequence[Process]]) -> Work:
        """All that there is to be read now, as the workers do it that `start` starts. Raises Problem when nothing moves."""
        before = first = last = await self.look()
        self.workers = list(start())
        changed = monotonic()
        while True:
            look = await self.look()
            if look.committed != last.committed:
                last, changed = look, look.at
                if first is before and self._left(before, look) < self._left(before, before):
                    first = look
            elif last is not before and await self._nothing_is_left(look):
                break
            elif look.at > changed + STUCK_SECONDS:
                raise Problem(f"No commit for {STUCK_SECONDS} s, and {look.lag} records are to be read.", "This is a defect of the worker.")
            await asyncio.sleep(LOOK_SECONDS)
        peak = sum(worker.memory("VmHWM") for worker in self.workers)
        return Work(self._left(before, first), last.at - first.at, last.cpu_seconds - first.cpu_seconds, peak)

    def _left(self, before: Look, now: Look) -> int:
        """Of what there was before, what has not been committed now."""
        return sum(max(0, before.ends[tp] - now.committed[tp]) for tp in self._fed)

    async def _nothing_is_left(self, look: Look) -> bool:
        """Behind what is committed there may be the markers of transactions, which nobody reads."""
        behind = {tp: at for tp, at in look.committed.items() if at < look.ends[tp]}
        self._reader.assign(list(behind))
        for tp, at in behind.items():
            self._reader.seek(tp, at)
        deadline = monotonic() + 2
        while behind and any([await self._reader.position(tp) < look.ends[tp] for tp in behind]):
            if await self._reader.getmany(timeout_ms=100) or monotonic() > deadline:
                return False
        return True
