"""The shape of every agent, and what can come of a message."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from schemas.message import Due, Envelope, Event, Instant, Message
from tables.table import AnyTable, Row, Table

R = TypeVar("R", bound=Row)
Says: TypeAlias = Sequence[Message]


class Ignored(NamedTuple):
    """Expected here, and nothing to do; it does not touch the row."""

    because: str


class Repeated(NamedTuple):
    """The same fact again under another event id; counted as a duplicate, it does not touch the row."""

    because: str


class Parked(NamedTuple):
    """Too early: kept with the row, decided again after each change of it, dead-lettered `orphaned` after the agent's patience."""

    until: str


Decision: TypeAlias = Says | Ignored | Repeated | Parked


class Unexpected(Exception):
    """Nobody foresaw this message in this state: to the dead letters as `illegal_transition`, never to silence."""


class Deadline(NamedTuple):
    """When a row wants to hear `Due`, and which of its deadlines that is."""

    at: Instant
    name: str
    correlation_id: str = ""


class Watch(NamedTuple):
    """How one table's rows are summed up in those of another."""

    table: AnyTable
    """Of the same partitions."""
    adds: Callable[[Any, Any, Envelope[Any]], Mapping[str, Any]]
    """Of a row before a step, after it, and the message that made it: by key, what the step adds (`+`) to rows of who watches."""


MINUTE_MS = 60_000


def never(_row: Row) -> Deadline | None:
    return None


def always(_heard: Envelope[Message], _said: Message) -> bool:
    return True


@dataclass(frozen=True)
class Agent(Generic[R]):
    """One decider over one table. Declared, not wired: the engine reads this and does the rest."""

    name: str
    hears: tuple[type[Message], ...]
    table: Table[R]
    decide: Callable[..., Decision]
    """What must be said: of the row before the message (or, with `keys`, the rows by key), the message, and the row `beside`; nothing else.
    Raises `Unexpected`, or `schemas.message.Invalid` for a field that only the row shows to be wrong."""
    says: tuple[type[Message], ...] = ()
    speaks: Callable[[Envelope[Message], Message], bool] = always
    """Whether this agent says what it decided: of what was heard, and what would be said. What it does not say it remembers all the same,
    and leaves to the agent that does (choreography). Positions count both, so that ids are the same."""
    due: Callable[[R], Deadline | None] = never
    """The deadline now running. It follows from the row: nobody sets a timer, nobody cancels one."""
    keys: Callable[[Any], tuple[str, ...]] | None = None
    """For an agent that decides over several rows of one partition: the keys that a message is about."""
    answers_after_ms: int = 0
    """Event time between what is heard and what is said (the stand-in services)."""
    closes: Callable[[Envelope[Any]], Instant] | None = None
    """For windows: when what a message belongs to closes. One that the watermark has passed is late: ignored, counted, and told apart.
    Such an agent decides and folds with the watermark, its last argument: nothing that is on time is older."""
    beside: AnyTable | None = None
    """A table of one row per partition that an agent of the same partitions writes: decided and folded with what that says now."""
    watches: Watch | None = None
    """Whose rows it sums up, whatever made them change."""
    patience_ms: int = 15 * MINUTE_MS
    """How long a parked message waits, in event time."""

    def __post_init__(self) -> None:
        if self.keys is not None or self.table.one_row:
            return
        for kind in self.hears:
            if kind is not Due and (missing := {self.table.key, self.table.partition_key}.difference(kind.__struct_fields__)):
                raise TypeError(f"{self.name}: {kind.wire.name} has no {missing.pop()}, the key of {self.table.name}")


AnyAgent: TypeAlias = Agent[Any]
Rows: TypeAlias = Mapping[str, Any]


def check(agents: Sequence[AnyAgent]) -> None:
    """One name, one writer per table, one speaker per event type; `Due` is the engine's own. Raises ValueError.

    A command may have several speakers: its id follows from what it is for (`Wire.once_per`).
    """
    for what, names in (
        ("agent", [a.name for a in agents]),
        ("table", [a.table.name for a in agents]),
        ("speaker of", [kind.wire.name for a in agents for kind in a.says if issubclass(kind, Event)]),
    ):
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"declared twice: {what} {', '.join(twice)}")
    if any(Due in a.says for a in agents):
        raise ValueError("nobody may say Due: it is the engine's own")
