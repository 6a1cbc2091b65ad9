"""The whole pipeline in memory, for plain tests: feed events, let time pass, look at rows, at what was emitted and at dead letters.

Time is the input's own. Nothing sleeps, and no test depends on how fast the machine is.
"""

import asyncio
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeAlias, TypeVar

import msgspec
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from pipeline.composition import agents
from pipeline.embedded import Embedded
from pipeline.log.record import Record, header
from pipeline.replay.feed import draft
from pipeline.sales import Sold, sold
from pipeline.settings import SECOND_MS, Settings, load
from pipeline.testing.specs import NOON
from schemas.codec import decode, encode, format_instant, parse_instant
from schemas.message import Envelope, Instant, Message
from schemas.topics import DEAD_LETTERS, LATE, TOPICS
from tables.orders import Order

M = TypeVar("M", bound=Message)

Fed: TypeAlias = Message | Envelope[Message] | Mapping[str, Any] | bytes | str
"""A message or an envelope; an event or a record as a dict; a line as it would stand in a file."""

_ANNOUNCED = frozenset(topic.name for topic in TOPICS if topic not in {DEAD_LETTERS, LATE})


class DeadLetter(NamedTuple):
    """A record that nobody could act on, and why."""

    reason: str
    """One of docs/dead-letters.md."""
    field: str
    """The field that is wrong; empty where none is to blame."""
    text: str
    value: bytes | None
    """The original bytes."""
    key: bytes | None
    topic: str
    """Where it came from."""
    agent: str
    """Who gave it up; empty where it could not be read at all."""


class Emitted:
    """What the pipeline said, in the order of time; with stand-in services, what they said too."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope[Message]] = []

    def __getitem__(self, kind: type[M]) -> list[M]:
        """The messages of one type."""
        return [said.payload for said in self.envelopes if isinstance(said.payload, kind)]

    def __iter__(self) -> Iterator[Message]:
        return (said.payload for said in self.envelopes)

    def __len__(self) -> int:
        return len(self.envelopes)

    @property
    def types(self) -> list[str]:
        """The wire names, one per message."""
        return [said.payload.wire.name for said in self.envelopes]

    def clear(self) -> None:
        """Forget it all: what is emitted from here on stands alone."""
        self.envelopes.clear()


class _Given(Settings):
    """Settings of a test are what the test says: neither the environment nor `.env` has a part in them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # as in pydantic-settings; so with the next ones
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # see above
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # see above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # see above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


class App:
    """One pipeline, from `with` to its end. Its methods return when everything that follows from them has happened.

    It runs an event loop of its own, so it is for plain functions, not for coroutines.
    """

    def __init__(
        self,
        *,
        services: Literal["recorded", "standin"] = "recorded",
        saga: Literal["orchestrated", "choreographed"] = "orchestrated",
        stock: Mapping[str, int] | None = None,
        **settings: object,
    ) -> None:
        """`stock` is what the stand-in stock begins with, pieces by SKU; without it, the levels of the samples.

        `settings` are those of docs/settings.md under their lower-case names. Here alone `lateness_seconds` is 0 if it is not given, so
        that a deadline of 15 minutes passes after 15 minutes. Raises Problem for a setting that cannot be.
        """
        found = load(_Given, services=services, saga=saga, **{"lateness_seconds": 0, **settings})
        self.emitted = Emitted()
        self.dead_letters: list[DeadLetter] = []
        self._runner = asyncio.Runner()
        self._fed = 0
        self._pipeline = Embedded(agents(found, stock), found.options())
        self._pipeline.emitted.append(self._hear)

    def __enter__(self) -> Self:
        self._runner.run(self._pipeline.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        try:
            self._runner.run(self._pipeline.__aexit__(kind, error, where))
        finally:
            self._runner.close()

    # --- input

    @property
    def now(self) -> Instant:
        """Event time, ms: the newest that was fed or waited for; NOON before that."""
        reached = self._pipeline.stream_time
        return NOON if reached < 0 else reached

    def feed(self, *events: Fed, at: Instant | str | None = None) -> None:
        """Let these events happen, and all that they cause before time goes on.

        `at` (ms, or ISO 8601) is the time of the first message or dict that has none of its own; each later one comes a second after
        the one before. Dicts in snake_case need no `event_id` and no `timestamp`; bytes and strings go as they are.
        """
        following = parse_instant(at) if isinstance(at, str) else at
        for event in events:
            when = self._next() if following is None else following
            following = None
            self._fed += 1
            record = self._pipeline.record(*draft(self._written(event, when)))
            self._runner.run(self._happen(record))

    def wait(self, *, days: int = 0, hours: int = 0, minutes: int = 0, seconds: int = 0) -> None:
        """Let this much event time pass: deadlines pass, and what follows from them happens."""
        to = self.now + (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * SECOND_MS
        self._runner.run(self._pass(to))

    def _next(self) -> Instant:
        """When something comes that has no time of its own."""
        return NOON if self._pipeline.stream_time < 0 else self._pipeline.stream_time + SECOND_MS

    def _written(self, event: Fed, at: Instant) -> bytes:
        event_id = f"test-{self._fed}"
        match event:
            case bytes():
                return event
            case str():
                return event.encode()
            case Envelope():
                return encode(event)
            case Message():
                return encode(Envelope(event_id, at, event))
        if "event_type" in event:
            return msgspec.json.encode({"event_id": event_id, "timestamp": format_instant(at), **event})
        return msgspec.json.encode(event)

    async def _happen(self, record: Record) -> None:
        await self._pipeline.feed([record])
        await self._pipeline.settle()

    async def _pass(self, to: Instant) -> None:
        await self._pipeline.advance(to)
        await self._pipeline.settle()

    # --- output

    def order(self, order_id: str) -> Order:
        """The order's row; its status is UNKNOWN for an order never seen."""
        row: Order = self.row("orders", order_id)
        return row

    def sold(self) -> Sold:
        """Orders and money per five minutes, and products per hour, oldest first."""
        return sold(self._pipeline)

    def rows(self, table: str) -> dict[str, Any]:
        """Every row of a table, by key."""
        return dict(self._pipeline.rows(table))

    def row(self, table: str, key: str) -> Any:  # noqa: ANN401  # of the table's row type
        """One row; the table's initial row for a key never seen. Raises KeyError for a table that is not part of this app."""
        return self._pipeline.row(table, key)

    @property
    def outcomes(self) -> dict[str, int]:
        """What became of the events fed: applied, duplicate, ignored, parked, and `dead.` with the reason; zeros are left out."""
        prefix = "input."
        counts = self._pipeline.counts()
        return {name.removeprefix(prefix): count for name, count in sorted(counts.items()) if name.startswith(prefix) and count}

    def _hear(self, record: Record) -> None:
        if record.topic == DEAD_LETTERS.name:
            self.dead_letters.append(_letter(record))
        elif record.topic in _ANNOUNCED and isinstance(said := decode(record.value, record.headers), Envelope):
            self.emitted.envelopes.append(said)


def _letter(record: Record) -> DeadLetter:
    def told(name: str) -> str:
        return (header(record.headers, name) or b"").decode()

    return DeadLetter(
        told("orderflow-reason"),
        told("orderflow-field"),
        told("kafka_dlt-exception-message"),
        record.value,
        record.key,
        told("kafka_dlt-original-topic"),
        told("orderflow-agent"),
    )
