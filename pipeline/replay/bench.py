"""What a replay costs: a whole run by the clock, then its stages one by one on the same lines.

The stages are measured through ports that are handed in: a store and agents that time themselves around the real ones. Nothing is replaced
inside the engine, and the whole run is without them.
"""

import asyncio
import resource
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import msgspec

from agents.agent import AnyAgent
from pipeline.clock import stopwatch
from pipeline.composition import agents
from pipeline.engine.plan import Plan, make_plan
from pipeline.engine.task import Task
from pipeline.log.partitioner import partition_of
from pipeline.log.record import FED, Order, Record
from pipeline.replay.feed import draft
from pipeline.replay.generate import generate
from pipeline.replay.lines import opened
from pipeline.replay.run import BATCH, How, replay
from pipeline.settings import Settings
from pipeline.stores.port import Batch, Store
from pipeline.stores.rocksdb import RocksDBStore
from schemas.codec import Bad, decode, encode
from schemas.message import Envelope
from schemas.topics import DEAD_LETTERS

T = TypeVar("T")
SOME_ORDERS = 5_000
"""The stages are measured on no more orders than this."""


class Bench(msgspec.Struct):
    """The figures."""

    records: int
    seconds: float
    events_per_second: int
    peak_memory_mib: int
    """Of the process in the whole run."""
    stages_us: dict[str, float]
    """Microseconds per line of input."""


def run_bench(orders: int, seed: int, settings: Settings) -> Bench:
    with TemporaryDirectory(prefix="orderflow-bench-") as name:
        folder = Path(name)
        file = folder / "lines.jsonl"
        with file.open("wb") as written:
            written.writelines(line + b"\n" for line in generate(orders, seed))
        with opened([str(file)]) as (source,):
            report = asyncio.run(replay(source, settings, How()))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)
        stages = measure(list(generate(min(orders, SOME_ORDERS), seed)), settings, folder / "state")
    whole = report.seconds / report.records * 1e6
    stages["log and Faust"] = max(whole - sum(stages.values()), 0.0)
    return Bench(
        report.records,
        report.seconds,
        report.events_per_second,
        peak,
        {stage: round(cost, 2) for stage, cost in {**stages, "all": whole}.items()},
    )


class Times:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def timed(self, stage: str, call: Callable[..., T]) -> Callable[..., T]:
        seconds = self.seconds

        def run(*args: Any) -> T:  # noqa: ANN401  # whatever the call takes
            began = stopwatch()
            try:
                return call(*args)
            finally:
                seconds[stage] += stopwatch() - began  # type: ignore[assignment]  # typeshed counts in whole numbers

        return run


class TimedStore:
    """A store that says which stage used it, by the kind of key: `group/partition/kind…`."""

    def __init__(self, store: Store, times: Times) -> None:
        self.get = store.get
        self.scan = store.scan
        self.flush = store.flush
        self.close = store.close
        self.write: Callable[[Batch], None] = times.timed("write", store.write)
        self._load = times.timed("load", store.get_many)
        self._dedup = times.timed("dedup", store.get_many)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        return self._dedup(keys) if keys[0].split(b"/", 2)[2][:1] == b"d" else self._load(keys)


def timed_agent(agent: AnyAgent, times: Times) -> AnyAgent:
    table = replace(agent.table, evolve=times.timed("decide", agent.table.evolve))
    return replace(agent, decide=times.timed("decide", agent.decide), table=table)


def measure(lines: Sequence[bytes], settings: Settings, folder: Path) -> dict[str, float]:
    """Microseconds per line of each stage of the tasks' path, without log and Faust."""
    times = Times()
    plan = make_plan(tuple(timed_agent(agent, times) for agent in agents(settings)), app=settings.group)
    store = RocksDBStore(folder, wal=False)
    timed_store = TimedStore(store, times)
    tasks = {
        (g.name, p): Task(plan, g, p, timed_store, settings.options(), incarnation="bench")
        for g in plan.groups
        for p in range(g.partitions)
    }
    feed = times.timed("feed", partial(_records, plan))
    decoding, encoding = times.timed("decode", _decoded), times.timed("emit", encode)
    for start in range(0, len(lines), BATCH):
        batch = lines[start : start + BATCH]
        for line in batch:
            decoding(line)
        for said in _run(plan, tasks, feed(batch, start), times):
            encoding(said)
    store.close()
    inside = ("dedup", "load", "decide", "write", "emit")
    spent = {
        "decode": times.seconds["decode"],
        "feed": times.seconds["feed"] - times.seconds["decode"],
        **{part: times.seconds[part] for part in inside},
    }
    spent["rest of the task"] = times.seconds["task"] - sum(times.seconds[part] for part in inside)
    return {stage: max(seconds, 0.0) / len(lines) * 1e6 for stage, seconds in spent.items()}


def _records(plan: Plan, lines: Sequence[bytes], first: int) -> list[Record]:
    now = -1
    records: list[Record] = []
    for number, line in enumerate(lines, start=first):
        said = draft(line)
        now = max(now, said.at or -1)
        home = said.topic if said.topic in plan.home else plan.unread
        partition = 0 if said.key is None else partition_of(said.key, plan.topics[home])
        records.append(Record(home, partition, said.key, said.value, said.headers, max(now, 0), Order(now, FED, number), number, said.read))
    return records


def _run(plan: Plan, tasks: Mapping[tuple[str, int], Task], records: Sequence[Record], times: Times) -> list[Envelope[Any]]:
    """All that these records cause; what was said."""
    inputs: defaultdict[tuple[str, int], list[Record]] = defaultdict(list)
    said: list[Envelope[Any]] = []
    for record in records:
        inputs[plan.home[record.topic].name, record.partition].append(record)
    while any(inputs.values()):
        for place in [(g.name, p) for stage in plan.stages for g in stage for p in range(g.partitions)]:
            waiting = sorted(inputs.pop(place, ()), key=lambda record: record.order)
            for output in _work(tasks[place], waiting, times):
                if output.topic in plan.home:
                    inputs[plan.home[output.topic].name, output.partition].append(output)
                if (
                    output.order.source != FED
                    and output.topic != DEAD_LETTERS.name
                    and isinstance(envelope := _decoded(output.value), Envelope)
                ):
                    said.append(envelope)
    return said


def _work(task: Task, waiting: list[Record], times: Times) -> Iterator[Record]:
    while waiting:
        work = times.timed("task", task.work)(waiting)
        times.timed("task", task.done)(work, 0)
        waiting = waiting[work.taken :]
        yield from work.outbox.records


def _decoded(value: bytes | None) -> object:
    try:
        return decode(value)
    except Bad:
        return None
