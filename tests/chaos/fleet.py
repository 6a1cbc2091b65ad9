"""Workers as processes: each with a folder of its own, started again when it ends by itself, gone when this process is gone."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Self

from tests.kafka.brokers import tool

ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 0.1
AGAIN_SECONDS = 1.0
STOP_SECONDS = 30
READY_SECONDS = 40
READY = b"orderflow.worker: ready"
SMALL_MEMTABLE = 1 << 16


class Member:
    """One worker: a folder that lasts, and a process that may not."""

    def __init__(self, number: int, folder: Path, log: Path) -> None:
        self.number = number
        self.folder = folder
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.wanted = False
        """It is started again when it ends."""
        self.busy = False
        """Something is being done to it."""

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def last_words(self) -> str:
        """The last line that says why, without what differs each time."""
        lines = self.log.read_text(errors="replace").splitlines()
        told = [line for line in lines if line.startswith("orderflow: ")] or lines[-1:]
        return re.sub(r"\d+", "#", told[-1])[:160] if told else "nothing"


class Fleet:
    """All workers of a run."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *, plant: str) -> None:
        self.folder = folder
        self.members: list[Member] = []
        self.deaths: Counter[str] = Counter()
        """Of those that ended by themselves: their last words."""
        self.folders: list[tuple[str, Path]] = []
        """Copies of folders, as dead workers left them."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ORDERFLOW_")}
        self._environment = inherited | dict(environment)
        self._plant = plant

    async def __aenter__(self) -> Self:
        self._keeper = keeper()
        self._tending = asyncio.create_task(self._tend())
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._tending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tending
        self._keeper.communicate()
        for member in self.members:
            member.wanted = False
            if member.process is not None:
                member.process.wait()

    def add(self, folder: Path | None = None) -> Member:
        number = len(self.members)
        member = Member(number, folder or self.folder / f"worker-{number}", self.folder / f"worker-{number}.log")
        self.members.append(member)
        return member

    def start(self, member: Member) -> None:
        """The product's own command; every second worker writes its tables to disk early, so that a death leaves more than nothing."""
        environment = self._environment | {"ORDERFLOW_DATA_DIR": str(member.folder)}
        command = [sys.executable, "-m", "pipeline", "worker"]
        if self._plant or member.number % 2:
            command = [sys.executable, "-m", "tests.chaos.planted"]
            environment |= {"CHAOS_PLANT": self._plant, "CHAOS_MEMTABLE": str(SMALL_MEMTABLE)}
        with member.log.open("ab") as log:
            member.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=self._keeper.pid,
            )
        member.wanted = True

    async def ready(self) -> None:
        """Returns when all are at work, or have had long enough: a fault before that would hit nobody."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                while not all(READY in member.log.read_bytes() for member in self.members):  # noqa: ASYNC110  # a log tells nobody
                    await asyncio.sleep(LOOK_SECONDS)

    async def end(self, member: Member, number: signal.Signals) -> None:
        """Ask or kill, and wait; who does not listen is killed."""
        member.wanted = False
        if member.process is None:
            return
        member.process.send_signal(number)
        deadline = monotonic() + STOP_SECONDS
        while member.runs:
            if monotonic() > deadline:
                self.deaths["did not end when it was asked to"] += 1
                member.process.kill()
            await asyncio.sleep(LOOK_SECONDS / 2)
        self.keep(member)

    def keep(self, member: Member) -> None:
        """A copy of what its process left."""
        copy = self.folder / "left" / f"{len(self.folders)}"
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(member.folder / "state", copy)
            self.folders.append((f"worker {member.number}, copy {len(self.folders)}", copy))

    async def stop(self) -> None:
        """All at once."""
        await asyncio.gather(*(self.end(member, signal.SIGTERM) for member in self.members if member.runs))

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for member in self.members:
                if member.wanted and member.process is not None and member.process.poll() is not None:
                    self.deaths[f"exit {member.process.returncode}: {member.last_words()}"] += 1
                    self.keep(member)
                    member.process = None
                    asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._again, member)

    def _again(self, member: Member) -> None:
        if member.wanted and member.process is None:
            self.start(member)


def keeper() -> subprocess.Popen[bytes]:
    """A shell whose input closes when this process ends, however it ends; then it takes its whole process group along."""
    return subprocess.Popen([tool("sh"), "-c", "read -r _; kill -KILL 0"], stdin=subprocess.PIPE, process_group=0)
