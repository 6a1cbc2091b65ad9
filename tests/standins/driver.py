"""What the engine does with one agent, without chunks, stores and dedup: load the rows, decide, fold what was heard and said."""

from collections.abc import Mapping
from typing import Any

from agents.agent import AnyAgent, Ignored, Parked, Repeated
from agents.standins import standins
from schemas.message import Envelope, Message, follow
from schemas.orders import Line

NOON = 1_761_825_600_000
"""2025-10-30T12:00:00Z."""


def lines(**quantity_by_sku: int) -> tuple[Line, ...]:
    return tuple(Line(sku, quantity) for sku, quantity in quantity_by_sku.items())


class Service:
    """One stand-in and its rows. Every message has an id of its own unless one is given."""

    def __init__(self, name: str, levels: Mapping[str, int] | None = None) -> None:
        self.agent: AnyAgent = next(agent for agent in standins(levels or {}) if agent.name == name)
        self.rows: dict[str, Any] = {}
        self._heard = 0

    def row(self, key: str) -> Any:  # each agent has rows of its own type
        return self.rows[key] if key in self.rows else self.agent.table.initial(key)

    def hears(self, message: Message, event_id: str = "") -> list[Message] | Ignored:
        """What is said because of this message."""
        said = self._told(message, event_id)
        return said if isinstance(said, Ignored) else [each.payload for each in said]

    def answers(self, message: Message, event_id: str = "") -> list[Envelope[Message]]:
        """The envelopes of what is said because of this message."""
        said = self._told(message, event_id)
        assert not isinstance(said, Ignored), said.because
        return said

    def _told(self, message: Message, event_id: str) -> list[Envelope[Message]] | Ignored:
        self._heard += 1
        heard: Envelope[Message] = Envelope(event_id or f"e-{self._heard}", NOON, message, "flow-1")
        keys = self.agent.keys(message) if self.agent.keys else (getattr(message, self.agent.table.key),)
        rows = {key: self.row(key) for key in keys}
        decision = self.agent.decide(rows if self.agent.keys else rows[keys[0]], heard)
        if isinstance(decision, Ignored):
            return decision
        assert not isinstance(decision, Parked | Repeated), "a stand-in answers at once"
        said = [follow(heard, self.agent.name, i, each, after_ms=self.agent.answers_after_ms) for i, each in enumerate(decision)]
        assert all(type(each.payload) in self.agent.says for each in said), "only what is declared is said"
        for key, row in rows.items():
            for each in (heard, *said):
                row = self.agent.table.evolve(row, each)  # noqa: PLW2901  # a fold
            self.rows[key] = row
        return said
