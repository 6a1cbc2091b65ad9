"""One run: brokers, workers, load and faults; then peace, and the check."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic

from aiokafka import TopicPartition

from tests.chaos.check import Checker, Evidence, Violation
from tests.chaos.cluster import GROUP, Watcher, offsets_of, read_all, write_history
from tests.chaos.faults import Done, Injector, drawn, small_disk
from tests.chaos.fleet import ROOT, Fleet
from tests.chaos.history import LATENESS_SECONDS
from tests.chaos.load import Load
from tests.kafka.brokers import Brokers

DAY_SECONDS = 15.0
QUIET_SECONDS = 2.0
CREATE_SECONDS = 60
EXACTLY_ONCE, AT_LEAST_ONCE = "exactly_once", "at_least_once"
PLANTS = ("dies-between", "offsets-first", "shared-id", "store-first", "unfenced")
"""Faults that can be planted in the workers (planted.py)."""


@dataclass
class How:
    """What is wanted of a run."""

    seed: int = 1
    seconds: float = 40
    """New faults come for so long; at the end what is left is healed and read."""
    brokers: int = 1
    workers: int = 3
    rate: float = 250
    guarantee: str = EXACTLY_ONCE
    """Of the workers; they are judged by what exactly once promises in any case."""
    plant: str = ""
    wanted: Mapping[str, int] = field(default_factory=dict)
    """If any: so many faults of each kind, however long it takes."""
    keep: Path | None = None


@dataclass
class Felt:
    """What a fault did, in seconds; None: committed offsets never moved again."""

    done: Done
    stood: float | None
    """From its beginning until committed offsets moved again wherever there was lag."""
    recovered: float | None
    """The same, from the moment at which it was healed."""


@dataclass
class Result:
    """What was done and found."""

    how: How
    faults: list[Felt]
    deaths: dict[str, int]
    counts: dict[str, int]
    violations: list[Violation]
    session_seconds: int
    folder: Path


Say = Callable[[str], None]


async def run(how: How, say: Say) -> Result:
    """The folder is kept where that was asked for, or something was found."""
    folder = how.keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    result = await _run(how, folder, say)
    if how.keep is None and not result.violations:
        shutil.rmtree(folder)
    return result


async def _run(how: How, folder: Path, say: Say) -> Result:
    session = Random(how.seed).randrange(3, 7)
    violations: list[Violation] = []
    async with AsyncExitStack() as stack:
        brokers = stack.enter_context(Brokers(how.brokers, folder=made(folder / "brokers")))
        environment = {
            "ORDERFLOW_BROKER": f"kafka://{brokers.bootstrap}",
            "ORDERFLOW_GROUP": GROUP,
            "ORDERFLOW_GUARANTEE": how.guarantee,
            "ORDERFLOW_HTTP_PORT": "0",
            "ORDERFLOW_LATENESS_SECONDS": str(LATENESS_SECONDS),
            "ORDERFLOW_SESSION_TIMEOUT_SECONDS": str(session),
        }
        plant = how.plant or ("dies-between" if how.guarantee == AT_LEAST_ONCE else "")  # or a short run would seldom show the difference
        disk = stack.enter_context(small_disk(folder / "disk"))
        fleet = await stack.enter_async_context(Fleet(made(folder / "workers"), environment, plant=plant))
        await asyncio.to_thread(create_topics, environment)
        watcher = await stack.enter_async_context(Watcher(brokers.bootstrap))
        log = stack.enter_context((folder / "load.log").open("wb"))
        load = await stack.enter_async_context(Load(brokers.bootstrap, how.seed, seconds=day_seconds(how), rate=how.rate, log=log))
        for number in range(how.workers):
            fleet.start(fleet.add(disk if number == 1 else None))
        await fleet.ready()
        injector = Injector(fleet, brokers, how.seed, session_seconds=session, say=say)
        say(f"seed {how.seed}: session {session} s, {'a full tmpfs' if disk else 'no tmpfs: RLIMIT_FSIZE'} for the full disk")
        lag = await _disturbed(how, load, watcher, injector, say) or await watcher.drained(QUIET_SECONDS)
        violations += [Violation("everything_is_read", f"{tp.topic}/{tp.partition}: {count} records are left") for tp, count in lag.items()]
        say("stopping")
        members = [member for member in fleet.members if member.wanted]
        await fleet.stop()
        say("checking")
        topics = await read_all(brokers.bootstrap, watcher.partitions) | watcher.inboxes
        offsets = await offsets_of(brokers.bootstrap)
        last = [member.folder / "state" for member in members]
        evidence = Evidence(load.written, load.places, topics, offsets, fleet.folders, last)
        checker = Checker(evidence)
        violations += checker.check()
        records = sum(map(len, topics.values()))
        if violations or how.keep is not None:
            write_history(topics, folder / "history.jsonl")
        counts = {"lines": len(load.written), "records": records, **checker.compared}
        felt = [Felt(done, watcher.stood(done.begun, done.healed), watcher.stood(done.healed, done.healed)) for done in injector.done]
    return Result(how, felt, dict(fleet.deaths), counts, violations, session, folder)


def day_seconds(how: How) -> float:
    return DAY_SECONDS if any(how.wanted.values()) else min(DAY_SECONDS, how.seconds)


async def _disturbed(how: How, load: Load, watcher: Watcher, injector: Injector, say: Say) -> dict[TopicPartition, int]:
    """Day after day, until every fault is healed; what a day leaves open is closed in peace. Returns what cannot be read."""
    until = float("inf") if any(how.wanted.values()) else monotonic() + how.seconds
    faults = asyncio.create_task(injector.run(drawn(how.seed, how.wanted), until))
    number = 0
    while number == 0 or not faults.done():
        await load.day(number)
        if faults.done():
            faults.result()
        async with injector.calm():
            lag = await watcher.drained(1.0)
            say(f"day {number}: {len(load.written)} lines, {len(injector.done)} faults{', NOT DRAINED' if lag else ''}")
            if lag:
                faults.cancel()
                return lag
        await load.close(number)
        number += 1
    await faults
    return {}


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def create_topics(environment: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "pipeline", "topics", "create"]
    subprocess.run(command, env=os.environ | environment, cwd=ROOT, check=True, capture_output=True, timeout=CREATE_SECONDS)
