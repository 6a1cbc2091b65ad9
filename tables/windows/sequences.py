"""Sequences of events of one key: steps that follow one another within a time.

Only events that fit some step are kept. Matching is greedy: from the earliest event that fits the first step, each step takes the earliest
event that fits it. A match uses up everything up to its last event, so that no event is in two.
"""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Literal, TypeAlias

from msgspec import Struct

from schemas.message import Instant

MOST_MARKS = 256
"""That are kept of one key and sequence; beyond, the oldest are let go."""
_at = attrgetter("at")


class Mark(Struct, frozen=True, array_like=True, gc=False):
    """An event that fits some step."""

    at: Instant
    id: str
    fits: int
    """A bit for each step, the first one's is 1."""
    about: tuple[str, ...] = ()
    """For whoever is told of a match."""


Marks: TypeAlias = tuple[Mark, ...]


class Step(Struct, frozen=True):
    """What must come, how often, and what may come before it."""

    times: int = 1
    """So often, at least."""
    follows: Literal["next", "later", "never"] = "later"
    """next: no other event that the sequence knows comes in between. never: from here to the next step, or to the end, none that fits."""


def add_mark(marks: Marks, new: Mark, horizon: Instant, within_ms: int) -> Marks:
    """In the order of time, those of one moment as they came; without what nothing from `horizon` on can complete."""
    place = bisect_right(marks, new.at, key=_at)
    return reachable((*marks[:place], new, *marks[place:]), horizon, within_ms)[-MOST_MARKS:]


def reachable(marks: Marks, horizon: Instant, within_ms: int) -> Marks:
    """Those that something from `horizon` on can still follow, or begin."""
    kept = [mark for mark in marks if mark.at + within_ms > horizon]
    while kept and not kept[0].fits & 1 and kept[0].at < horizon:
        del kept[0]
    return tuple(kept)


def first_match(marks: Marks, steps: Sequence[Step], within_ms: int, now: Instant) -> tuple[Mark, ...]:
    """The first match, all before `within_ms` from its first event are over; empty without one. `now`: nothing earlier comes any more."""
    for i, mark in enumerate(marks):
        if mark.fits & 1 and (found := _follow(marks[i:], steps, mark.at + within_ms, now)):
            return found
    return ()


def unanswered(marks: Marks, steps: Sequence[Step], within_ms: int) -> Instant | None:
    """When the earliest one is over that could end with an event that did not come."""
    if steps[-1].follows != "never":
        return None
    return min((mark.at + within_ms for mark in marks if mark.fits & 1), default=None)


def _follow(marks: Marks, steps: Sequence[Step], until: Instant, now: Instant) -> tuple[Mark, ...]:
    taken: list[Mark] = []
    number = had = 0
    never = 0
    for mark in marks:
        if mark.at >= until:
            break
        if mark.fits >> number & 1:
            taken.append(mark)
            had += 1
            if had < steps[number].times:
                continue
            number, had, never = number + 1, 0, 0
            if number < len(steps) and steps[number].follows == "never":
                never = 1 << number
                number += 1
                if number == len(steps):
                    break
            if number == len(steps):
                return tuple(taken)
        elif mark.fits & never or steps[number].follows == "next":
            return ()
    if not never or number < len(steps) or now < until:
        return ()
    last = taken[-1]
    after = marks[marks.index(last) + 1 :]
    return () if any(mark.fits & never and mark.at < until for mark in after) else tuple(taken)
