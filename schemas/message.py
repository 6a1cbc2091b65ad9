"""The words every message is made of: wire name and version, envelope, derived ids."""

from collections.abc import Callable
from hashlib import sha1
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar
from uuid import UUID

import msgspec

Instant: TypeAlias = int
"""Event time in milliseconds since 1970-01-01 UTC."""

Payload: TypeAlias = dict[str, Any]
Upcast: TypeAlias = Callable[[Payload], Payload]

SOURCE = "orderflow"
"""`metadata.source_service` of everything that the pipeline says."""

NAMESPACE = UUID("6f1d3c9e-6c3b-5d0f-9a52-0c5f1b6f7a10").bytes
"""Namespace of all derived ids. Changing it changes every id the pipeline ever makes."""


class Wire(msgspec.Struct, frozen=True):
    """How a type is written: its literal name, its newest version, and one upcaster for each older version."""

    name: str
    version: int = 1
    lifts: tuple[Upcast, ...] = ()
    """lifts[0] turns version 1 into 2, lifts[1] turns 2 into 3, and so on."""
    also: tuple[str, ...] = ()
    """Foreign names of the same fact."""
    once_per: tuple[str, ...] = ()
    """The fields that make this message the same message whatever caused it (this order's reservation)."""

    def __post_init__(self) -> None:
        if len(self.lifts) != self.version - 1:
            raise ValueError(f"{self.name} v{self.version} needs {self.version - 1} upcasters, has {len(self.lifts)}")


class Message(msgspec.Struct, frozen=True):
    """A payload. Field names are the canonical wire names; subclasses say how they are written."""

    wire: ClassVar[Wire]


class Event(Message, frozen=True):
    """A fact: it happened, and never changes."""


class Command(Message, frozen=True):
    """A wish: its receiver may refuse."""


class Due(Event, frozen=True):
    """A row's own deadline has passed. Said by the engine when the watermark goes by; never on a topic."""

    wire = Wire("Due")

    key: str
    deadline: str


M_co = TypeVar("M_co", bound=Message, covariant=True)


class Envelope(msgspec.Struct, Generic[M_co], frozen=True):
    """A message and what is known about it."""

    event_id: str
    at: Instant
    """Event time: when it happened, by its sender's clock."""
    payload: M_co
    correlation_id: str = ""
    """The business flow. Never empty after decode: an event that names none starts its own."""
    causation_id: str = ""
    aggregate_id: str = ""
    aggregate_type: str = ""
    sequence: int | None = None
    """The aggregate's own version, 1, 2, 3 …, where its service counts."""
    source: str = ""
    """`metadata.source_service`."""
    user_id: str = ""
    """`metadata.user_id`: the operator or account that acted, never the customer."""
    trace_id: str = ""
    span_id: str = ""


class Invalid(ValueError):
    """A known form with a bad field; a dead letter with reason `invalid` that names the field."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(field, text)  # as they were given: so it can come out of another process
        self.field = field
        self.text = text

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


SEPARATOR = "\x1f"
"""Between the parts of what an id derives from. No id that was decoded has a control character, so no two names run together."""

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def derived_id(name: str) -> str:
    """UUIDv5 (RFC 9562 section 5.5) of `name` in our namespace; a third of the cost of `uuid.uuid5`."""
    text = sha1(NAMESPACE + name.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def due_id(key: str, deadline: str, at: Instant) -> str:
    """The id of a passed deadline: what it is for and when it was due, so that firing it again repeats it."""
    return derived_id(SEPARATOR.join(("due", key, deadline, str(at))))


def follow(cause: Envelope[Message], agent: str, position: int, said: Message, *, after_ms: int = 0) -> Envelope[Message]:
    """The envelope of what `agent` says because of `cause`: the one place where ids and causation are made.

    `position` counts what the agent says because of this cause; `after_ms` is the agent's answering time.
    """
    wire = said.wire
    if wire.once_per:
        name = wire.name + "".join([f"{SEPARATOR}{getattr(said, field)}" for field in wire.once_per])
    else:
        name = f"{cause.event_id}{SEPARATOR}{agent}{SEPARATOR}{position}"
    return Envelope(
        event_id=derived_id(name),
        at=cause.at + after_ms,
        payload=said,
        correlation_id=cause.correlation_id,
        causation_id=cause.event_id,
        source=SOURCE,
        trace_id=cause.trace_id,
    )
