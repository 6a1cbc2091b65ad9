"""Windows in event time, as values inside rows: what a pane holds is its agent's, when it opens and closes is said here.

A window closes when the watermark passes its end and the grace; what belongs to a closed one is late. No wall clock, no timers: the row's
next deadline is the end of its oldest pane.
"""

from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct

from schemas.message import Instant

V = TypeVar("V")
Panes: TypeAlias = tuple[tuple[Instant, V], ...]
"""Open windows of one key: start and value, oldest first."""


class Tumbling(Struct, Generic[V], frozen=True):
    """Windows of one size, one after the other, aligned to the epoch. A start belongs to its window, an end to the next one."""

    size_ms: int
    grace_ms: int = 0
    """How long a window stays open behind its end, besides the lateness of the watermark."""

    def start(self, at: Instant) -> Instant:
        """The start of the window that `at` belongs to."""
        return at - at % self.size_ms

    def closes(self, at: Instant) -> Instant:
        """When the window that `at` belongs to closes."""
        return at - at % self.size_ms + self.size_ms + self.grace_ms

    def get(self, panes: Panes[V], at: Instant) -> V | None:
        """What the window of `at` holds; None where it holds nothing yet."""
        start = at - at % self.size_ms
        for opened, value in panes:
            if opened == start:
                return value
        return None

    def put(self, panes: Panes[V], at: Instant, change: Callable[[V | None], V]) -> Panes[V]:
        """The panes with that of `at` changed, or opened."""
        start = at - at % self.size_ms
        for i, (opened, value) in enumerate(panes):
            if opened == start:
                return (*panes[:i], (start, change(value)), *panes[i + 1 :])
            if opened > start:
                return (*panes[:i], (start, change(None)), *panes[i:])
        return (*panes, (start, change(None)))

    def due(self, panes: Panes[V]) -> Instant | None:
        """When the oldest pane closes; None without any."""
        return self.closes(panes[0][0]) if panes else None

    def closed(self, panes: Panes[V], now: Instant) -> Panes[V]:
        """The panes that are closed by `now`."""
        return tuple(pane for pane in panes if self.closes(pane[0]) <= now)

    def still_open(self, panes: Panes[V], now: Instant) -> Panes[V]:
        """The panes that are not."""
        return tuple(pane for pane in panes if self.closes(pane[0]) > now)
