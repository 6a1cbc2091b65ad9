"""The four kinds of windows: where an event's pane goes, and which windows it changes."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator
from math import gcd
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from schemas.message import Instant
from tables.windows.panes import Pane, Panes, join, joined

MOST_PANES = 256
"""That a sliding window keeps of one key, event by event; with more, old ones are joined."""
_NEWEST = 64
SLICES = MOST_PANES - _NEWEST - 2
"""Of the time that is kept, twice the window's and the lateness, then: its far edge is sharp to one of them."""

_start = attrgetter("start")
_last = attrgetter("last")
Over: TypeAlias = Callable[[Panes], bool]
"""Whether what a window holds, in one pane or in several, is over the limit."""


class Crossing(NamedTuple):
    """A window that is over the limit now, and was not before. The end does not belong to it; the start does, but not to a sliding one."""

    start: Instant
    end: Instant
    holds: Pane


class _Kind(Struct, frozen=True):
    """Where each pane is a window, and closes when nothing on time can change it."""

    def expires(self, pane: Pane) -> Instant:
        """When nothing on time can change it, or what it is part of."""
        raise NotImplementedError

    def closed(self, panes: Panes, since: Instant, now: Instant) -> Iterator[Crossing]:
        """The windows that end after `since`, and not after `now`."""
        for pane in panes:
            end = self.expires(pane)
            if since < end <= now:
                yield Crossing(pane.start, end, pane)

    def next_end(self, panes: Panes, now: Instant) -> Instant | None:
        """When the next window closes."""
        return min((end for pane in panes if (end := self.expires(pane)) > now), default=None)


class _Aligned(_Kind, frozen=True):
    """Windows of one size, whose starts are counted from the epoch."""

    size_ms: int

    @property
    def _pane_ms(self) -> int:
        return self.size_ms

    def add(self, panes: Panes, new: Pane, horizon: Instant) -> Panes:
        """With `new`, and without what nothing from `horizon` on can change."""
        return _add_aligned(panes, new, new.start - new.start % self._pane_ms, horizon - self.size_ms)

    def expires(self, pane: Pane) -> Instant:
        return pane.start + self.size_ms

    def remembered(self, raised: Collection[Instant], _panes: Panes, horizon: Instant) -> tuple[Instant, ...]:
        """Of the windows that were raised, those that something from `horizon` on can still change."""
        return tuple(start for start in raised if start + self.size_ms > horizon)


class Tumbling(_Aligned, frozen=True):
    """Windows one after the other."""

    def start(self, at: Instant) -> Instant:
        """The start of the window that `at` belongs to."""
        return at - at % self.size_ms

    def crossings(self, _before: Panes, panes: Panes, new: Pane, over: Over, raised: Collection[Instant]) -> list[Crossing]:
        """Of the windows that `new` has changed, those that are over and were not yet `raised`, as the starts say."""
        start = self.start(new.start)
        if start in raised:
            return []
        holds = panes[bisect_left(panes, start, key=_start)]
        return [Crossing(start, start + self.size_ms, holds)] if over((holds,)) else []


class Hopping(_Aligned, frozen=True):
    """Windows of one size, one beginning `every_ms`. An event is kept once, in a pane that all its windows share."""

    every_ms: int

    @property
    def _pane_ms(self) -> int:
        return gcd(self.size_ms, self.every_ms)

    def crossings(self, _before: Panes, panes: Panes, new: Pane, over: Over, raised: Collection[Instant]) -> list[Crossing]:
        at = new.start
        return [
            crossing
            for crossing in self._holding(panes, range(at - at % self.every_ms, at - self.size_ms, -self.every_ms))
            if crossing.start not in raised and over((crossing.holds,))
        ][::-1]

    def _holding(self, panes: Panes, starts: range) -> Iterator[Crossing]:
        """What windows hold, from the latest start to the earliest: with neither pane visited twice where nothing follows."""
        if not starts:
            return
        own = bisect_left(panes, starts[0], key=_start)
        left, low, high = None, own, own
        while high < len(panes) and panes[high].start < starts[0] + self.size_ms:
            high += 1
        if high > own:
            left = joined(panes[own:high])
        for start in starts:
            end = start + self.size_ms
            again = False
            while high > low and panes[high - 1].start >= end:
                high -= 1
                again = True
            if again:
                left = joined(panes[low:high]) if high > low else None
            while low > 0 and panes[low - 1].start >= start:
                low -= 1
                left = panes[low] if left is None else join(panes[low], left)
            if left is not None:
                yield Crossing(start, end, left)

    def closed(self, panes: Panes, since: Instant, now: Instant) -> Iterator[Crossing]:
        if not panes:
            return
        first, last = panes[0].start - self.size_ms + 1, panes[-1].start
        first, last = max(first, since - self.size_ms + 1), min(last, now - self.size_ms)
        starts = range(last - last % self.every_ms, first - 1, -self.every_ms)
        yield from list(self._holding(panes, starts))[::-1]

    def next_end(self, panes: Panes, now: Instant) -> Instant | None:
        if not panes or now >= panes[-1].start + self.size_ms:
            return None
        first = max(panes[0].start - self.size_ms + 1, now - self.size_ms + 1)
        return first + -first % self.every_ms + self.size_ms


class Sliding(_Kind, frozen=True):
    """One window per event, which ends with it and reaches back: from `at - size_ms`, which is not part of it, to the event itself.

    Exact up to `MOST_PANES` events in reach; of a key with more, the far edge is sharp to a hundredth of the
    window or so, and nothing is lost.
    """

    size_ms: int

    def add(self, panes: Panes, new: Pane, horizon: Instant) -> Panes:
        out = horizon - 2 * self.size_ms  # what the window of the event before needs, too
        drop = 0
        while drop < len(panes) and panes[drop].last <= out:
            drop += 1
        if not panes or panes[-1].last <= new.last:
            panes = (*panes[drop:], new)
        else:
            place = bisect_right(panes, new.last, key=_last)
            panes = (*panes[drop:place], new, *panes[place:])
        return panes if len(panes) <= MOST_PANES else self._sliced(panes, new.last - out)

    @staticmethod
    def _sliced(panes: Panes, reach_ms: int) -> Panes:
        width = -(-reach_ms // SLICES)
        sliced: list[Pane] = []
        for pane in panes[:-_NEWEST]:
            if sliced and sliced[-1].last // width == pane.last // width:
                sliced[-1] = join(sliced[-1], pane)
            else:
                sliced.append(pane)
        return (*sliced, *panes[-_NEWEST:])

    def crossings(self, before: Panes, panes: Panes, new: Pane, over: Over, raised: Collection[Instant]) -> list[Crossing]:
        """The events at which a run of windows over the limit begins, none of which was over before.

        A run is of events each of which is in the window of the next one. `new` changes its own window and those of what came earlier and
        happened later, as far as they reach back to it.
        """
        if panes[-1].last == new.last:  # the usual case: nothing happened later
            holds, start = self._holds(panes, len(panes) - 1), new.last - self.size_ms
            if not over(holds) or start in raised:
                return []
            if len(panes) > 1 and self._reached(panes, len(panes) - 1) and over(self._holds(panes, len(panes) - 2)):
                return []
            return [Crossing(start, new.last + 1, joined(holds))]
        return [crossing for crossing in self._run_starts(before, panes, new, over) if crossing.start not in raised]

    def _run_starts(self, before: Panes, panes: Panes, new: Pane, over: Over) -> list[Crossing]:
        place = bisect_right(panes, new.last, key=_last) - 1
        found: list[Crossing] = []
        begun: Crossing | None = None
        known = self._reached(panes, place) and over(self._holds(panes, place - 1))
        for i in range(place, len(panes)):
            holds = self._holds(panes, i)
            goes_on = over(holds) and (begun is None or self._reached(panes, i))
            if not goes_on:
                if begun is not None and not known:
                    found.append(begun)
                begun, known = None, False
            if over(holds):
                begun = begun or Crossing(panes[i].last - self.size_ms, panes[i].last + 1, joined(holds))
                known = known or (i > place and over(self._holds(before, i - 1 - (len(panes) - len(before) - 1))))
            if panes[i].last >= new.last + self.size_ms:
                break  # nothing from here on has changed
        if begun is not None and not known:
            found.append(begun)
        return found

    def _reached(self, panes: Panes, i: int) -> bool:
        """The event before is in its window."""
        return i > 0 and panes[i - 1].last > panes[i].last - self.size_ms

    def _holds(self, panes: Panes, i: int) -> Panes:
        """What the window that ends with the pane at `i` holds."""
        return panes[bisect_right(panes, panes[i].last - self.size_ms, 0, i, key=_last) : i + 1]

    def expires(self, pane: Pane) -> Instant:
        return pane.last + 2 * self.size_ms

    def remembered(self, raised: Collection[Instant], _panes: Panes, horizon: Instant) -> tuple[Instant, ...]:
        """An average may fall and rise again as late events come: each window is raised once."""
        return tuple(start for start in raised if start + 2 * self.size_ms > horizon)[-MOST_PANES:]

    def closed(self, _panes: Panes, _since: Instant, _now: Instant) -> Iterator[Crossing]:
        """Each window ends with an event: there is nothing to wait for."""
        return iter(())

    def next_end(self, _panes: Panes, _now: Instant) -> Instant | None:
        return None


class Session(_Kind, frozen=True):
    """Windows that last as long as something happens: events no further apart than `gap_ms` are in the same one."""

    gap_ms: int

    def add(self, panes: Panes, new: Pane, horizon: Instant) -> Panes:
        kept: list[Pane] = []
        for pane in panes:
            if pane.start - self.gap_ms <= new.last and new.start <= pane.last + self.gap_ms:
                new = join(pane, new)
            elif pane.last + self.gap_ms >= horizon:
                kept.append(pane)
        kept.insert(bisect_left(kept, new.start, key=_start), new)
        return tuple(kept)

    def crossings(self, _before: Panes, panes: Panes, new: Pane, over: Over, raised: Collection[Instant]) -> list[Crossing]:
        """`raised`: where the sessions that were raised began then; one that is joined to such a one was raised, too."""
        holds = panes[bisect_right(panes, new.start, key=_start) - 1]
        if any(holds.start <= start <= holds.last for start in raised) or not over((holds,)):
            return []
        return [Crossing(holds.start, holds.last + self.gap_ms + 1, holds)]

    def expires(self, pane: Pane) -> Instant:
        return pane.last + self.gap_ms + 1

    def remembered(self, raised: Collection[Instant], panes: Panes, _horizon: Instant) -> tuple[Instant, ...]:
        return tuple(start for start in raised if any(pane.start <= start <= pane.last for pane in panes))


WindowKind: TypeAlias = Tumbling | Hopping | Sliding | Session


def _add_aligned(panes: Panes, new: Pane, start: Instant, out: Instant) -> Panes:
    drop = 0
    while drop < len(panes) and panes[drop].start <= out:
        drop += 1
    place = len(panes)
    while place > drop and panes[place - 1].start > start:
        place -= 1
    if place > drop and panes[place - 1].start == start:
        old = panes[place - 1]
        return (*panes[drop : place - 1], join(old, new), *panes[place:])
    opened = Pane(start, new.last, new.count, new.total, new.least, new.most, new.ids, new.marks)
    return (*panes[drop:place], opened, *panes[place:])
