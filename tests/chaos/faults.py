"""What is done to a cluster: faults drawn from a seed, each healed again, up to two at a time."""

import asyncio
import contextlib
import resource
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic

from tests.chaos.fleet import Fleet, Member
from tests.kafka.brokers import Brokers, tool

AT_ONCE = 2
LOOK_SECONDS = 0.1
WEIGHTS = {"kill": 6, "zombie": 4, "broker": 2, "membership": 2, "roll": 1, "disk": 2, "wipe": 2}
FULL_MIB = 24
DISK = "disk"
"""The folder of the worker whose disk may be full."""


@dataclass
class Done:
    """A fault that was injected."""

    name: str
    begun: float
    healed: float = 0.0
    """All is as it was, and need only recover."""
    detail: str = ""
    random: Random = field(default_factory=lambda: Random(0), repr=False)
    """Its own, so that one fault does not depend on how long another took."""


class Injector:
    """Injects faults until there are no more or time is up."""

    def __init__(self, fleet: Fleet, brokers: Brokers, seed: int, *, session_seconds: int, say: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._brokers = brokers
        self._seed = seed
        self._say = say
        self._session = session_seconds
        self._broker = asyncio.Lock()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._calm = asyncio.Event()
        self._calm.set()
        self._running: set[asyncio.Task[None]] = set()
        self.done: list[Done] = []
        self.kinds: dict[str, Callable[[Done], Awaitable[None]]] = {
            "kill": self.kill,
            "zombie": self.zombie,
            "broker": self.broker,
            "membership": self.membership,
            "roll": self.roll,
            "disk": self.disk,
            "wipe": self.wipe,
        }

    async def run(self, names: Iterator[str], until: float) -> None:
        """One after the other, some of them at the same time, while there are more and time is not up."""
        pauses = Random(f"{self._seed}/pauses")
        for number, name in enumerate(names):
            await asyncio.sleep(pauses.uniform(0.5, 3.5))
            await self._free.acquire()
            await self._calm.wait()
            if monotonic() > until:
                break
            done = Done(name, monotonic(), random=Random(f"{self._seed}/{number}"))
            self.done.append(done)
            task = asyncio.create_task(self._one(done))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        await self._healed()

    async def _one(self, done: Done) -> None:
        try:
            await self.kinds[done.name](done)
        finally:
            done.healed = done.healed or monotonic()
            self._say(f"{done.name}: {done.detail}, for {done.healed - done.begun:.1f} s")
            self._free.release()

    async def _healed(self) -> None:
        while self._running:
            await asyncio.gather(*self._running)

    @asynccontextmanager
    async def calm(self) -> AsyncIterator[None]:
        """No faults in here."""
        self._calm.clear()
        await self._healed()
        yield
        self._calm.set()

    @asynccontextmanager
    async def _one_of(self, done: Done, among: Sequence[Member] | None = None) -> AsyncIterator[Member]:
        """A worker that is left alone by all other faults."""
        while not (idle := [m for m in among or self._fleet.members if m.wanted and not m.busy]):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(LOOK_SECONDS)
        member = done.random.choice(idle)
        member.busy = True
        done.detail = f"worker {member.number}"
        try:
            yield member
        finally:
            member.busy = False

    # --- workers

    async def kill(self, done: Done) -> None:
        """SIGKILL, and started again soon."""
        async with self._one_of(done) as member:
            await self._fleet.end(member, signal.SIGKILL)
            await asyncio.sleep(done.random.uniform(0, 3))
            self._fleet.start(member)

    async def wipe(self, done: Done) -> None:
        """As `kill`, and its folder is gone."""
        async with self._one_of(done) as member:
            await self._fleet.end(member, done.random.choice((signal.SIGKILL, signal.SIGTERM)))
            for path in member.folder.glob("*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            self._fleet.start(member)

    async def zombie(self, done: Done) -> None:
        """Stopped until the group has given it up, and then let go on as if nothing had been."""
        async with self._one_of(done) as member:
            if member.process is not None:
                member.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(self._session + done.random.uniform(0.5, 4))
                with contextlib.suppress(ProcessLookupError):
                    member.process.send_signal(signal.SIGCONT)
            done.healed = monotonic()
            await asyncio.sleep(1)

    async def roll(self, done: Done) -> None:
        """Every worker is asked to end and started again, one after the other."""
        for member in list(self._fleet.members):
            async with self._one_of(done, [member]) if member.wanted else contextlib.nullcontext():
                if member.wanted:
                    await self._fleet.end(member, signal.SIGTERM)
                    self._fleet.start(member)
                    await asyncio.sleep(done.random.uniform(0.5, 2))
        done.detail = "all"

    async def membership(self, done: Done) -> None:
        """One joins, and leaves after a while."""
        member = self._fleet.add()
        member.busy = True
        done.detail = f"worker {member.number}"
        self._fleet.start(member)
        await asyncio.sleep(done.random.uniform(4, 8))
        await self._fleet.end(member, signal.SIGTERM)

    # --- brokers and disks

    async def broker(self, done: Done) -> None:
        """SIGKILL of one broker, which comes back with its files."""
        async with self._broker:
            i = done.random.randrange(self._brokers.count)
            done.detail = f"broker {i}"
            await asyncio.to_thread(self._brokers.kill, i)
            await asyncio.sleep(done.random.uniform(0, 3))
            await asyncio.to_thread(self._brokers.restart, i)

    async def disk(self, done: Done) -> None:
        """No room for its tables: a full file system where we may mount one, else a limit on the size of its files."""
        disks = [member for member in self._fleet.members if member.folder.name == DISK]
        async with self._one_of(done, disks or None) as member:
            if disks:
                done.detail += ", full tmpfs"
                filler = member.folder.parent / "filler"
                fill(filler)
                await asyncio.sleep(done.random.uniform(3, 6))
                filler.unlink()
            else:
                done.detail += ", RLIMIT_FSIZE"
                if member.process is not None:
                    with contextlib.suppress(ProcessLookupError):
                        resource.prlimit(member.process.pid, resource.RLIMIT_FSIZE, (1, 1))
                await asyncio.sleep(done.random.uniform(3, 6))
                await self._fleet.end(member, signal.SIGKILL)
                self._fleet.start(member)


def fill(path: Path) -> None:
    """Until there is no room left."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of its own, where this machine lets us mount one; else None."""
    folder.mkdir(parents=True)
    mount = subprocess.run(
        [tool("mount"), "-t", "tmpfs", "-o", f"size={FULL_MIB}m", "chaos", str(folder)], check=False, stderr=subprocess.DEVNULL
    )
    try:
        yield None if mount.returncode else folder / DISK
    finally:
        if not mount.returncode:
            subprocess.run([tool("umount"), "--lazy", str(folder)], check=False)


def drawn(seed: int, wanted: Mapping[str, int]) -> Iterator[str]:
    """The faults of a run: as many of each as wanted; without wishes endless ones, each kind once and then the hard ones most often."""
    random = Random(f"{seed}/faults")
    names = [name for name, count in wanted.items() for _ in range(count)] or list(WEIGHTS)
    random.shuffle(names)
    yield from names
    while not any(wanted.values()):
        yield random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
