"""Windows in event time, held against references that keep every event and count again each time."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.message import Instant
from tables.windows import (
    EXACT,
    MOST_IDS,
    Crossing,
    Hopping,
    Pane,
    Panes,
    Session,
    Sliding,
    Tumbling,
    WindowKind,
    distinct,
    join,
    joined,
    single,
)
from tables.windows.kinds import MOST_PANES

LATENESS = 15
LIMIT = 10


class Happened(NamedTuple):
    """An event, as it came."""

    at: Instant
    value: int
    id: str


@st.composite
def histories(draw: st.DrawFn) -> list[Happened]:
    """Time goes by; some come late, none so late that it would be turned away."""
    found, now = list[Happened](), 100
    for number in range(draw(st.integers(0, 25))):
        now += draw(st.integers(0, 6))
        late = draw(st.one_of(st.just(0), st.integers(0, LATENESS)))
        found.append(Happened(now - late, draw(st.integers(0, 6)), f"e{number}"))
    return found


ALIGNED = st.one_of(
    st.builds(Tumbling, st.integers(1, 20)),
    st.builds(lambda every, hops, off: Hopping(every * hops + off % every, every), st.integers(1, 8), st.integers(1, 5), st.integers(0, 7)),
)


def spans(window: WindowKind, times: Sequence[Instant]) -> list[tuple[Instant, Instant]]:
    """Every window that could hold one of these times, found by counting up from zero."""
    if isinstance(window, Tumbling):
        return [(start, start + window.size_ms) for start in range(0, max(times, default=0) + 1, window.size_ms)]
    if isinstance(window, Hopping):
        first = -(window.size_ms // window.every_ms + 1) * window.every_ms
        return [(start, start + window.size_ms) for start in range(first, max(times, default=0) + 1, window.every_ms)]
    assert isinstance(window, Session)
    found: list[tuple[Instant, Instant]] = []
    for at in sorted(times):
        if found and at - (found[-1][1] - window.gap_ms - 1) <= window.gap_ms:
            found[-1] = (found[-1][0], at + window.gap_ms + 1)
        else:
            found.append((at, at + window.gap_ms + 1))
    return found


def sums(window: WindowKind, events: Sequence[Happened]) -> dict[tuple[Instant, Instant], int]:
    """What each window that holds something sums to."""
    inside = {span: [e.value for e in events if span[0] <= e.at < span[1]] for span in spans(window, [e.at for e in events])}
    return {span: sum(values) for span, values in inside.items() if values}


class Played:
    """A window kind over a history, with what it raised and what it closed on the way."""

    def __init__(
        self, window: WindowKind, over: Callable[[Panes], bool] = lambda panes: joined(panes).total > LIMIT, *, lateness: int = LATENESS
    ) -> None:
        self.window, self.over, self.lateness = window, over, lateness
        self.panes: tuple[Pane, ...] = ()
        self.raised: tuple[Instant, ...] = ()
        self.crossings: list[tuple[Crossing, str]] = []
        self.newest = -1

    def play(self, events: Sequence[Happened]) -> "Played":
        for event in events:
            self.newest = max(self.newest, event.at)
            new, horizon, before = single(event.at, event.id, event.value), self.newest - self.lateness, self.panes
            self.panes = self.window.add(before, new, horizon)
            found = self.window.crossings(before, self.panes, new, self.over, self.raised)
            self.raised = self.window.remembered((*self.raised, *(each.start for each in found)), self.panes, horizon)
            self.crossings += [(each, event.id) for each in found]
        return self


@given(ALIGNED, histories())
def test_an_aligned_window_is_raised_once_and_when_it_crosses(window: WindowKind, events: list[Happened]) -> None:
    """By the event that takes it over the limit, in whatever order events come."""
    expected = []
    told: set[tuple[Instant, Instant]] = set()
    for i, event in enumerate(events):
        now = {span: total for span, total in sums(window, events[: i + 1]).items() if total > LIMIT and span not in told}
        told.update(now)
        expected += [(span, total, event.id) for span, total in sorted(now.items())]
    played = Played(window).play(events)
    assert [((each.start, each.end), each.holds.total, cause) for each, cause in played.crossings] == expected


@given(st.builds(Session, st.integers(0, 12)), histories())
def test_a_session_is_raised_once_however_it_grows(window: Session, events: list[Happened]) -> None:
    """One that is joined to a session that had its alert has had it, too."""
    raised: set[str] = set()
    expected = []
    for i, event in enumerate(events):
        for (start, end), total in sums(window, events[: i + 1]).items():
            members = {e.id for e in events[: i + 1] if start <= e.at < end}
            if event.id in members and total > LIMIT and not members & raised:
                expected.append((start, end, event.id))
                raised |= members
            elif members & raised:
                raised |= members
    assert [(each.start, each.end, cause) for each, cause in Played(window).play(events).crossings] == expected


@given(st.builds(Sliding, st.integers(1, 25)), histories(), st.sampled_from(("sum", "average")))
def test_a_sliding_window_is_raised_where_a_run_begins(window: Sliding, events: list[Happened], what: str) -> None:
    """All windows are counted again after each event; a run of them that are over is told once, unless one of it was over before."""

    def over(values: Sequence[int]) -> bool:
        return sum(values) > LIMIT if what == "sum" else len(values) > 1 and sum(values) > 3 * len(values)

    def runs(known: Sequence[Happened]) -> list[list[Happened]]:
        found: list[list[Happened]] = [[]]
        for i, event in enumerate(known):
            if i and known[i - 1].at <= event.at - window.size_ms:
                found.append([])
            if over([e.value for e in known[: i + 1] if e.at > event.at - window.size_ms]):
                found[-1].append(event)
            else:
                found.append([])
        return [run for run in found if run]

    expected: list[tuple[Instant, str]] = []
    for i, event in enumerate(events):
        before = {e.id for run in runs(sorted(events[:i], key=lambda e: e.at)) for e in run}
        for run in runs(sorted(events[: i + 1], key=lambda e: e.at)):
            if not before & {e.id for e in run} and run[0].at not in {at for at, _ in expected}:
                expected.append((run[0].at, event.id))

    def judge(panes: Panes) -> bool:
        held = joined(panes)
        return held.total > LIMIT if what == "sum" else held.count > 1 and held.total > 3 * held.count

    assert [(each.end - 1, cause) for each, cause in Played(window, judge).play(events).crossings] == expected


@given(st.one_of(ALIGNED, st.builds(Session, st.integers(0, 12))), histories())
def test_every_window_closes_once_with_all_that_it_holds(window: WindowKind, events: list[Happened]) -> None:
    """`next_end` says when the next one does, and not a moment before that does one."""
    panes: tuple[Pane, ...] = ()
    for event in events:
        panes = window.add(panes, single(event.at, event.id, event.value), -1_000)
    found: dict[tuple[Instant, Instant], int] = {}
    closed = -1_000
    while (end := window.next_end(panes, closed)) is not None:
        assert end > closed
        assert not list(window.closed(panes, closed, end - 1))
        for each in window.closed(panes, closed, end):
            assert (each.start, each.end) not in found
            found[each.start, each.end] = each.holds.total
        closed = end
    assert found == sums(window, events)


@given(st.one_of(ALIGNED, st.builds(Session, st.integers(0, 12)), st.builds(Sliding, st.integers(1, 25))), histories())
def test_what_is_let_go_could_not_be_reached(window: WindowKind, events: list[Happened]) -> None:
    """Where panes are dropped as time passes, the same is raised as where all of them are kept."""
    dropping, keeping = Played(window), Played(window, lateness=10_000)
    for event in events:
        dropping.play([event])
        dropping.panes = tuple(pane for pane in dropping.panes if window.expires(pane) > dropping.newest - LATENESS)
        keeping.play([event])
    assert [(each.start, each.end, cause) for each, cause in dropping.crossings] == [
        (each.start, each.end, cause) for each, cause in keeping.crossings
    ]


@pytest.mark.parametrize("step", [0, 1, 7])
def test_a_sliding_window_of_many_events_is_bounded_and_nothing_is_lost(step: int) -> None:
    """More than its panes have room for: sums stay exact in the middle, and the far edge is sharp to a part of the reach."""
    window = Sliding(2_000)
    panes: tuple[Pane, ...] = ()
    for number in range(5_000):
        at = number * step
        panes = window.add(panes, single(at, f"e{number}", 1), at - LATENESS)
        assert len(panes) <= MOST_PANES
    held = joined(tuple(pane for pane in panes if pane.last > 4_999 * step - window.size_ms))
    exact = 5_000 if step == 0 else 2_000 // step
    assert exact <= held.count <= exact + (window.size_ms // 90 // step if step else 0) + 1
    assert len(held.ids) == MOST_IDS
    assert held.ids[-1] == "e4999"


@given(st.lists(st.integers(0, 60), max_size=60))
def test_few_different_things_are_counted_exactly(things: list[int]) -> None:
    """However they are cut into panes."""
    panes = tuple(single(0, f"e{i}", mark=f"thing-{thing}") for i, thing in enumerate(things))
    if panes:
        assert distinct(joined(panes).marks) == len(set(things))


@pytest.mark.parametrize("count", [EXACT + 1, 1_000, 20_000])
def test_many_different_things_are_estimated(count: int) -> None:
    """Within four standard errors of 2.3 %; repeats and the way they are cut do not matter; in a bounded number of bytes."""
    one = joined(tuple(single(0, "e", mark=f"thing-{n}") for n in range(count)))
    halves = [joined(tuple(single(0, "e", mark=f"thing-{n}") for n in range(first, count, 2))) for first in (0, 1)]
    both = join(join(*halves), one)
    assert distinct(both.marks) == distinct(one.marks)
    assert abs(distinct(one.marks) - count) <= count * 4 * 0.023
    assert len(one.marks) <= 2_048
