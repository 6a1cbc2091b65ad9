"""given / when / then for any agent over one row: no engine, no app, no patching."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from agents.agent import Agent, Decision, Ignored, Parked, Repeated, Unexpected
from schemas.message import Due, Envelope, Instant, Message, due_id, follow
from tables.table import Row

R = TypeVar("R", bound=Row)

SECOND_MS = 1_000
NOON = 1_761_825_600_000
"""2025-10-30T12:00:00Z: where the event time of a specification starts."""


class given(Generic[R]):  # noqa: N801  # read as a word: given(ORDERS, CREATED).when(RESERVED) == [...]
    """A row that has heard `history`, one message a second. What is early waits, and is decided again after each change of the row."""

    def __init__(self, agent: Agent[R], *history: Message | Envelope[Message], key: str = "o-1") -> None:
        """Raises what `when` raises: a history is one that can happen."""
        self.agent = agent
        self.key = key
        self.row: R = agent.table.initial(key)
        self.now: Instant = NOON
        self.said: list[Envelope[Message]] = []
        """All that was spoken so far, as the engine would send it."""
        self.parked: list[Envelope[Message]] = []
        self.orphaned: list[Envelope[Message]] = []
        """What waited longer than the agent's patience."""
        self._heard = 0
        for message in history:
            self.when(message)

    def when(self, message: Message | Envelope[Message], *, at: Instant | None = None, source: str = "") -> Decision:
        """What is said now, or what else came of it; the row has then heard it. Raises Unexpected and Invalid, the row untouched."""
        self._heard += 1
        if isinstance(message, Envelope):
            heard: Envelope[Message] = message
        else:
            heard = Envelope(f"e-{self._heard}", self.now + SECOND_MS if at is None else at, message, f"flow-{self.key}", source=source)
        self.now = max(self.now, heard.at)
        self._lose_patience()
        decision = self._hear(heard)
        if isinstance(decision, Parked):
            self.parked.append(heard)
        return decision

    def when_time_comes(self) -> Decision:
        """The deadline that runs now passes."""
        deadline = self.agent.due(self.row)
        assert deadline is not None, "no deadline is running"
        event_id = due_id(self.key, deadline.name, deadline.at)
        due: Envelope[Message] = Envelope(event_id, deadline.at, Due(self.key, deadline.name), deadline.correlation_id)
        decision = self.when(due)
        assert self.agent.due(self.row) != deadline, "a deadline that changes nothing would come back for ever"
        return decision

    def _hear(self, heard: Envelope[Message]) -> Decision:
        decision = self.agent.decide(self.row, heard)
        if isinstance(decision, Ignored | Repeated | Parked):
            return decision
        before = self.row
        said = [follow(heard, self.agent.name, i, each, after_ms=self.agent.answers_after_ms) for i, each in enumerate(decision)]
        for each in (heard, *said):
            self.row = self.agent.table.evolve(self.row, each)
        spoken = [each for each in said if self.agent.speaks(heard, each.payload)]
        self.said += spoken
        if self.row != before:
            self._wake()
        return [each.payload for each in spoken]

    def _wake(self) -> None:
        """Decides everything that waits again, in the order in which it came, until nothing more can be applied."""
        for early in self.parked:
            try:
                decision = self.agent.decide(self.row, early)
            except Unexpected:
                self.parked.remove(early)
                self.orphaned.append(early)
                return self._wake()
            if not isinstance(decision, Parked):
                self.parked.remove(early)
                self._hear(early)
                return self._wake()
        return None

    def _lose_patience(self) -> None:
        late = [early for early in self.parked if self.now - early.at > self.agent.patience_ms]
        self.orphaned += late
        self.parked = [early for early in self.parked if early not in late]

    @property
    def spoken(self) -> Sequence[Message]:
        """The payloads of all that was said so far."""
        return [each.payload for each in self.said]
