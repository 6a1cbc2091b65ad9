"""Sequences of marks, held against all choices of events that could be meant."""

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.windows import MOST_MARKS, Mark, Step, add_mark, first_match, reachable, unanswered

WITHIN = 10
AFTERWARDS = 1_000


def marks(written: str) -> tuple[Mark, ...]:
    """One a moment: `a` fits the first step, `b` the second, `c` the third, `x` the first two, `-` none."""
    bits = {"a": 1, "b": 2, "c": 4, "x": 3, "-": 0}
    return tuple(Mark(at, f"{at}", bits[letter]) for at, letter in enumerate(written) if bits[letter])


def found(written: str, *steps: Step, now: int = AFTERWARDS) -> str:
    """Where its events are, one after the other."""
    return ",".join(mark.id for mark in first_match(marks(written), steps, WITHIN, now))


ONE, NEXT, NEVER = Step(), Step(follows="next"), Step(follows="never")


@pytest.mark.parametrize(
    ("written", "steps", "expected"),
    [
        ("ab", (ONE, ONE), "0,1"),
        ("a-a--b", (ONE, ONE), "0,5"),
        ("ba", (ONE, ONE), ""),
        ("a---------b", (ONE, ONE), ""),
        ("aa--------b", (ONE, ONE), "1,10"),
        ("aaab", (Step(3), ONE), "0,1,2,3"),
        ("aaaab", (Step(3), ONE), "0,1,2,4"),
        ("aab", (Step(3), ONE), ""),
        ("ab", (ONE, NEXT), "0,1"),
        ("acb", (ONE, NEXT, ONE), ""),
        ("acab", (ONE, NEXT), "2,3"),
        ("abc", (ONE, NEVER, ONE), ""),
        ("ac", (ONE, NEVER, ONE), "0,1"),
        ("abac", (ONE, NEVER, ONE), "2,3"),
        ("a", (ONE, NEVER), "0"),
        ("ab", (ONE, NEVER), ""),
        ("a---------b", (ONE, NEVER), "0"),
        ("xx", (ONE, ONE), "0,1"),
        ("x", (ONE, ONE), ""),
    ],
)
def test_steps_follow_one_another(written: str, steps: tuple[Step, ...], expected: str) -> None:
    """The earliest event that can begin, and then the earliest one for each step, all before the time is over."""
    assert found(written, *steps) == expected


@pytest.mark.parametrize(("now", "expected"), [(9, ""), (10, "0")])
def test_what_did_not_come_is_known_when_the_time_is_over(now: int, expected: str) -> None:
    """And `unanswered` says when that is."""
    assert found("a", ONE, NEVER, now=now) == expected
    assert unanswered(marks("a"), (ONE, NEVER), WITHIN) == 10
    assert unanswered(marks("a"), (ONE, ONE), WITHIN) is None
    assert unanswered(marks("b"), (ONE, NEVER), WITHIN) is None


@given(st.text("abcx-", max_size=14), st.integers(1, 3), st.integers(2, 3))
def test_a_match_is_found_where_there_is_one(written: str, times: int, length: int) -> None:
    """Of all choices of events that fit: the one that begins first, and then goes on first."""
    steps = (Step(times), *([ONE] * (length - 1)))
    wanted = [0] * times + list(range(1, length))

    def fits(chosen: Sequence[Mark]) -> bool:
        return all(mark.fits >> step & 1 for mark, step in zip(chosen, wanted, strict=True)) and chosen[-1].at < chosen[0].at + WITHIN

    choices = [chosen for chosen in combinations(marks(written), len(wanted)) if fits(chosen)]
    assert found(written, *steps) == ",".join(mark.id for mark in min(choices, key=lambda chosen: [m.at for m in chosen], default=()))


@given(st.permutations(range(12)), st.lists(st.integers(1, 3), min_size=12, max_size=12))
def test_marks_are_kept_in_the_order_of_time(order: list[int], fits: list[int]) -> None:
    """However they come; and those that only late events could complete go with the horizon."""
    kept: tuple[Mark, ...] = ()
    for at in order:
        kept = add_mark(kept, Mark(at, f"{at}", fits[at]), -1, WITHIN)
    assert [mark.at for mark in kept] == list(range(12))
    left = reachable(kept, 8, 5)
    starts = [mark.at for mark in kept if mark.fits & 1 and mark.at > 3]
    assert [mark.at for mark in left] == [at for at in range(4, 12) if at >= min([8, *starts])]


def test_marks_are_bounded() -> None:
    """The oldest are let go."""
    kept: tuple[Mark, ...] = ()
    for number in range(2 * MOST_MARKS):
        kept = add_mark(kept, Mark(0, f"{number}", 1), -1, WITHIN)
    assert [mark.id for mark in kept] == [f"{number}" for number in range(MOST_MARKS, 2 * MOST_MARKS)]
