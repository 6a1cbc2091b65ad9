"""Windows in event time, held against a reference that keeps every record and counts again each time."""

from collections import defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.message import Instant
from tables.windows import Panes, Tumbling

WINDOWS = st.builds(Tumbling[int], size_ms=st.integers(1, 20), grace_ms=st.integers(0, 30))
TIMES = st.lists(st.integers(0, 200), max_size=40)


def reference(window: Tumbling[int], times: Sequence[Instant]) -> dict[Instant, int]:
    """How many of these times are in each window, by its start: found by counting up to it."""
    counts: dict[Instant, int] = defaultdict(int)
    for at in times:
        start = 0
        while start + window.size_ms <= at:
            start += window.size_ms
        counts[start] += 1
    return dict(counts)


def folded(window: Tumbling[int], times: Sequence[Instant]) -> Panes[int]:
    panes: Panes[int] = ()
    for at in times:
        panes = window.put(panes, at, lambda count: (count or 0) + 1)
    return panes


@given(WINDOWS, TIMES)
def test_panes_hold_what_was_put_into_them_in_any_order(window: Tumbling[int], times: list[Instant]) -> None:
    """One pane per window, oldest first, whatever came first."""
    panes = folded(window, times)
    assert dict(panes) == reference(window, times)
    assert [start for start, _ in panes] == sorted(start for start, _ in panes)
    assert panes == folded(window, sorted(times))


@given(WINDOWS, TIMES, st.integers(0, 220))
def test_a_pane_is_got_by_any_time_in_its_window(window: Tumbling[int], times: list[Instant], at: Instant) -> None:
    """None where nothing was put."""
    inside = [other for other in times if 0 <= at - window.start(other) < window.size_ms]
    assert window.get(folded(window, times), at) == (len(inside) or None)


@given(WINDOWS, TIMES, st.integers(-5, 300))
def test_every_pane_is_closed_or_still_open(window: Tumbling[int], times: list[Instant], now: Instant) -> None:
    """Closed where its end and its grace have passed; nothing is lost between the two, and nothing is in both."""
    panes = folded(window, times)
    closed, still_open = window.closed(panes, now), window.still_open(panes, now)
    assert closed + still_open == panes
    assert [start for start, _ in closed] == [start for start, _ in panes if start + window.size_ms + window.grace_ms <= now]


@given(WINDOWS, TIMES)
def test_what_is_due_is_the_oldest_pane(window: Tumbling[int], times: list[Instant]) -> None:
    """Then, and not a moment before, it is closed; one after the other all of them are."""
    panes = folded(window, times)
    passed = -1
    while (due := window.due(panes)) is not None:
        assert due > passed
        assert window.closed(panes, due - 1) == ()
        assert window.closed(panes, due) == panes[:1]
        panes, passed = window.still_open(panes, due), due
    assert panes == ()


@given(WINDOWS, st.integers(0, 10_000))
def test_a_time_belongs_to_one_window(window: Tumbling[int], at: Instant) -> None:
    """Aligned to the epoch; a start belongs to its window, an end to the next one."""
    start = window.start(at)
    assert start % window.size_ms == 0
    assert start <= at < start + window.size_ms
    assert window.closes(at) == start + window.size_ms + window.grace_ms == window.closes(start)
    assert window.start(start + window.size_ms) == start + window.size_ms


@given(WINDOWS, st.lists(st.integers(0, 3), max_size=300))
def test_open_panes_are_bounded_where_closed_ones_are_dropped(window: Tumbling[int], steps: list[int]) -> None:
    """However long it goes on: as many as a window's size and grace have room for, and the one that is being filled."""
    panes: Panes[int] = ()
    at = 0
    for step in steps:
        at += step
        panes = window.still_open(window.put(panes, at, lambda count: (count or 0) + 1), at)
        assert len(panes) <= 2 + window.grace_ms // window.size_ms


@pytest.mark.parametrize(("late", "expected"), [(0, ((0, 1), (10, 1))), (9, ((0, 1), (10, 1))), (10, ((10, 2),)), (25, ((10, 1), (20, 1)))])
def test_a_late_record_opens_or_changes_its_own_pane_only(late: Instant, expected: Panes[int]) -> None:
    """Panes know no lateness: who is too late is told by `Agent.closes`, before a row is touched."""
    window = Tumbling[int](size_ms=10)
    assert folded(window, [15, late]) == expected
