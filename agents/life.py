"""A life as a table: (status, message) -> what follows. Read by the decider, the model checker and the diagram."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from agents.agent import Agent, Decision, Ignored, Parked, Repeated, Says, Unexpected
from schemas.message import Due, Envelope, Message, follow
from tables.table import Row, Table

R = TypeVar("R", bound=Row)
E = TypeVar("E", bound=Message)

Effect: TypeAlias = Callable[[R, Envelope[E]], Says]
"""What must be said: of the row that has already heard the message, and the message."""
Guard: TypeAlias = Callable[[R, Envelope[E]], bool]
"""Whether a line holds: of the row before the message, and the message."""
In: TypeAlias = StrEnum | tuple[StrEnum, ...]


class Refused(NamedTuple):
    """Nobody foresaw it, and here is why: the text of the `Unexpected` that is raised."""

    because: str


Outcome: TypeAlias = Ignored | Repeated | Parked | Refused


@dataclass(frozen=True)
class Line:
    """One line of the table. Made by the functions below, which check that effects and guards fit their message."""

    states: tuple[StrEnum, ...]
    events: tuple[type[Message], ...]
    when: Guard[Any, Any] | None
    effects: tuple[Effect[Any, Any], ...] = ()
    instead: Outcome | None = None
    """Why nothing is done."""


def on(states: In, event: type[E], *then: Effect[R, E], when: Guard[R, E] | None = None) -> Line:
    """In these states, on this message, all of these follow."""
    return Line(_tuple(states), (event,), when, then)


def ignore(states: In, *events: type[Message], because: str, when: Guard[R, Any] | None = None) -> Line:
    """Expected, and nothing to do."""
    return Line(_tuple(states), events, when, instead=Ignored(because))


def repeat(states: In, *events: type[Message], because: str, when: Guard[R, Any] | None = None) -> Line:
    """The same fact under another event id."""
    return Line(_tuple(states), events, when, instead=Repeated(because))


def park(states: In, *events: type[Message], until: str, when: Guard[R, Any] | None = None) -> Line:
    """Early: it belongs to a later state of the same life."""
    return Line(_tuple(states), events, when, instead=Parked(until))


def refuse(states: In, *events: type[Message], because: str) -> Line:
    """Unexpected, and said so."""
    return Line(_tuple(states), events, None, instead=Refused(because))


Pair: TypeAlias = tuple[StrEnum, type[Message]]


class Life(Generic[R]):
    """The lines over one table. Complete by construction: every pair ends in a line that holds without a condition."""

    def __init__(self, table: Table[R], status: Callable[[R], StrEnum], states: type[StrEnum], lines: Sequence[Line]) -> None:
        """Raises ValueError for a pair without a line, or with a line that cannot be reached."""
        self._evolve, self._status = table.evolve, status
        pairs: dict[Pair, list[Line]] = {}
        for line in lines:
            for pair in ((state, event) for state in line.states for event in line.events):
                earlier = pairs.setdefault(pair, [])
                if earlier and earlier[-1].when is None:
                    raise ValueError(f"{_text(pair)}: a line after one without a condition is never reached")
                earlier.append(line)
        self.hears = tuple({event: None for line in lines for event in line.events})
        for pair in ((state, event) for state in states for event in self.hears):
            if pair not in pairs or pairs[pair][-1].when is not None:
                raise ValueError(f"{_text(pair)}: no line without a condition says what follows")
        self.lines: Mapping[Pair, Sequence[Line]] = {pair: tuple(found) for pair, found in pairs.items()}

    def line(self, row: R, heard: Envelope[Message]) -> Line:
        """The first line that holds."""
        for line in self.lines[self._status(row), type(heard.payload)]:
            if line.when is None or line.when(row, heard):
                return line
        raise AssertionError("the last line of a pair has no condition")

    def decide(self, row: R, heard: Envelope[Message]) -> Decision:
        """What follows. Raises Unexpected, or Invalid for a field that only the row shows to be wrong."""
        line = self.line(row, heard)
        if line.instead is None:
            after = self._evolve(row, heard)
            return [said for effect in line.effects for said in effect(after, heard)]
        if isinstance(line.instead, Refused):
            raise Unexpected(f"{heard.payload.wire.name} in {self._status(row).value}: {line.instead.because}")
        return line.instead


# --- Walking a life: every row that any messages, in any order, can lead to. ----------------------------------------


class Walked(NamedTuple, Generic[R]):
    """One message that was acted upon, and the row after it and after what was said."""

    heard: Envelope[Message]
    after: R
    said: tuple[Message, ...]


def walk(
    agent: Agent[R],
    start: R,
    messages: Sequence[Envelope[Message]],
    *,
    forget: Callable[[R], R],
    offered: Callable[[R, Message], bool],
    most: int,
) -> dict[R, list[Walked[R]]]:
    """The graph of the rows that these messages and passing deadlines lead to, in any order and any number.

    `forget` leaves out what decides nothing (times); `offered` limits what comes without end. Raises ValueError beyond `most` rows.
    """
    graph: dict[R, list[Walked[R]]] = {}
    todo = [start]
    while todo:
        row = todo.pop()
        if row in graph:
            continue
        if len(graph) == most:
            raise ValueError(f"more than {most} rows: something grows without end")
        heard = [each for each in messages if offered(row, each.payload)]
        deadline = agent.due(row)
        if deadline is not None:
            heard.append(Envelope("due", deadline.at, Due("", deadline.name)))
        graph[row] = [step for each in heard if (step := _step(agent, row, each, forget)) is not None]
        todo += [step.after for step in graph[row]]
    return graph


def _step(agent: Agent[R], row: R, heard: Envelope[Message], forget: Callable[[R], R]) -> Walked[R] | None:
    try:
        decision = agent.decide(row, heard)
    except Unexpected:
        return None
    if isinstance(decision, Ignored | Repeated | Parked):
        return None
    after = agent.table.evolve(row, heard)
    for position, said in enumerate(decision):
        after = agent.table.evolve(after, follow(heard, agent.name, position, said))
    return Walked(heard, forget(after), tuple(decision))


def diagram(edges: Iterable[tuple[str, str, str]]) -> str:
    """A mermaid state diagram of (before, message, after)."""
    told: dict[tuple[str, str], list[str]] = {}
    for before, message, after in sorted(set(edges)):
        told.setdefault((before, after), []).append(message)
    lines = [f"    {before} --> {after}: {', '.join(messages)}" for (before, after), messages in told.items()]
    return "\n".join(["stateDiagram-v2", *lines, ""])


def _tuple(states: In) -> tuple[StrEnum, ...]:
    return states if isinstance(states, tuple) else (states,)


def _text(pair: Pair) -> str:
    return f"{pair[1].wire.name} in {pair[0].value}"
