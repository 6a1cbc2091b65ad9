"""Runs a history through the whole pipeline in this process, and keeps what came of it. The books are checked after each feed."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias

import msgspec

from agents.agent import AnyAgent
from agents.orders import saga
from agents.standins import standins
from pipeline.embedded import Embedded
from pipeline.engine.options import Options
from pipeline.log.record import Headers, Record, header
from pipeline.replay.feed import Draft, draft
from pipeline.testing.specs import NOON
from pipeline.worker.app import Steps, no_steps
from schemas.codec import decode, encode
from schemas.message import Envelope, Message
from schemas.topics import DEAD_LETTERS, LATE, TOPICS

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS

Line: TypeAlias = bytes | Draft
SAGA = saga("orchestrated")
OPTIONS = Options()
_PUBLIC = frozenset(topic.name for topic in TOPICS) - {DEAD_LETTERS.name, LATE.name}
_bytes_of = msgspec.msgpack.Encoder().encode


def line(message: Message, at_ms: int = 0, event_id: str = "", **envelope: Any) -> bytes:
    """The message in canonical form, `at_ms` after noon; without an id it gets one of its own type, order and time."""
    event_id = event_id or f"{message.wire.name}-{getattr(message, 'order_id', '')}-{at_ms}"
    return encode(Envelope(event_id, NOON + at_ms, message, **envelope))


def record(value: bytes | None, *, topic: str | None = None, key: bytes | None = None, headers: Headers = (), at_ms: int = 0) -> Draft:
    """A record as a service might write it: any topic, any key."""
    return Draft(topic, key, value, headers, NOON + at_ms, NOON + at_ms)


@dataclass
class Ending:
    """What came of a history."""

    said: list[Record] = field(default_factory=list)
    """In the order in which it was emitted; dead letters apart."""
    letters: list[Record] = field(default_factory=list)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By table and key."""
    counts: Counter[str] = field(default_factory=Counter)
    fed: int = 0

    def hear(self, said: Record) -> None:
        if said.topic == DEAD_LETTERS.name:
            self.letters.append(said)
        elif said.topic in _PUBLIC:
            self.said.append(said)

    def see(self, pipeline: Embedded) -> None:
        tables = [agent.table.name for group in pipeline.plan.groups for agent in group.agents]
        self.rows = {table: dict(pipeline.rows(table)) for table in tables}
        self.counts = pipeline.counts()

    def outcomes(self, prefix: str = "input.") -> dict[str, int]:
        return {name.removeprefix(prefix): count for name, count in self.counts.items() if name.startswith(prefix) and count}

    @property
    def messages(self) -> list[Message]:
        return [envelope.payload for envelope in self.envelopes]

    @property
    def envelopes(self) -> list[Envelope[Message]]:
        return [heard for said in self.said if isinstance(heard := decode(said.value), Envelope)]

    @property
    def reasons(self) -> list[str]:
        return [told(letter, "orderflow-reason") for letter in self.letters]

    @property
    def bytes(self) -> "Trace":
        """All of it, in a form that two runs can be compared by."""
        return Trace(
            said=[(each.topic, each.partition, each.key, each.value, each.headers, each.timestamp) for each in self.said],
            letters=[(each.key, each.value, each.headers, each.timestamp) for each in self.letters],
            rows={(table, key): _bytes_of(row) for table, rows in self.rows.items() for key, row in rows.items()},
            counts=dict(self.counts),
        )


class Trace(msgspec.Struct):
    """Every byte that a run leaves behind."""

    said: list[tuple[Any, ...]]
    letters: list[tuple[Any, ...]]
    rows: dict[tuple[str, str], bytes]
    counts: dict[str, int]


def told(letter: Record, name: str) -> str:
    """A header of a dead letter as text."""
    raw = header(letter.headers, name)
    assert raw is not None, f"no header {name}"
    return raw.decode()


def fed(pipeline: Embedded, lines: Iterable[Line]) -> list[Record]:
    """Records for `Embedded.feed`."""
    return [pipeline.record(*(draft(each) if isinstance(each, bytes) else each)) for each in lines]


def accounted(pipeline: Embedded) -> int:
    """All outcomes of what was fed: applied + duplicate + ignored + parked + dead-lettered."""
    counts = pipeline.counts()
    assert min(counts.values(), default=0) >= 0, "no outcome is below zero"
    return sum(count for name, count in counts.items() if name.startswith("input."))


class Run:
    """One pipeline and its ending. `async with Run(...) as run: await run.feed(lines)`."""

    def __init__(
        self,
        agents: Sequence[AnyAgent] = SAGA,
        *,
        options: Options = OPTIONS,
        folder: Path | None = None,
        steps: Steps = no_steps,
        before: int = 0,
    ) -> None:
        self.pipeline = Embedded(agents, options, folder=folder, steps=steps)
        self.ending = Ending(fed=before)
        self.pipeline.emitted.append(self.ending.hear)

    async def __aenter__(self) -> Self:
        await self.pipeline.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.pipeline.__aexit__(*error)

    async def feed(self, lines: Sequence[Line], *, batch: int = 2_000) -> None:
        for start in range(0, len(lines), batch):
            some = lines[start : start + batch]
            await self.pipeline.feed(fed(self.pipeline, some))
            self.ending.fed += len(some)
            self.check()

    def check(self) -> None:
        assert accounted(self.pipeline) == self.ending.fed, "consumed = applied + duplicate + ignored + parked + dead-lettered"

    async def advance(self, to_ms: int) -> None:
        """Let time pass up to `to_ms` after noon."""
        await self.pipeline.advance(NOON + to_ms)
        self.check()

    async def end(self) -> Ending:
        await self.pipeline.settle()
        self.check()
        self.ending.see(self.pipeline)
        return self.ending


def play(
    lines: Sequence[Line],
    agents: Sequence[AnyAgent] = SAGA,
    *,
    options: Options = OPTIONS,
    folder: Path | None = None,
    steps: Steps = no_steps,
    batch: int = 2_000,
    before: int = 0,
) -> Ending:
    """Feed all lines and let everything be answered."""

    async def playing() -> Ending:
        async with Run(agents, options=options, folder=folder, steps=steps, before=before) as run:
            await run.feed(lines, batch=batch)
            return await run.end()

    return asyncio.run(playing())


def live(
    act: Callable[[Run], Awaitable[None]], agents: Sequence[AnyAgent] = SAGA, *, options: Options = OPTIONS, folder: Path | None = None
) -> Ending:
    """One pipeline, and what `act` does with it."""

    async def living() -> Ending:
        async with Run(agents, options=options, folder=folder) as run:
            await act(run)
            return await run.end()

    return asyncio.run(living())


def with_services(levels: dict[str, int], style: str = "orchestrated") -> tuple[AnyAgent, ...]:
    """The saga and the stand-ins."""
    return saga("orchestrated" if style == "orchestrated" else "choreographed") + standins(levels)
