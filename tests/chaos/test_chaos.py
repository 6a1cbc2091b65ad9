"""A short run under faults keeps every promise; and runs that must not are found out."""

import asyncio
from pathlib import Path

import pytest

from tests.chaos.planted import PLANTED
from tests.chaos.run import AT_LEAST_ONCE, PLANTS, How, Result, run

pytestmark = pytest.mark.broker

CRUEL = {"kill": 6, "zombie": 1}
"""Faults that bring to light what is planted."""
FOUND_BY = {
    "offsets-first": {"every_record_is_accounted_for", "nothing_is_rekeyed_twice_or_never"},
    "store-first": {"folders_are_what_was_committed"},
}
"""The rules that it breaks, whatever else comes of it."""


def lived(how: How) -> Result:
    """What is said on the way is shown where the test fails."""
    return asyncio.run(run(how, print))


def test_every_promise_is_kept(tmp_path: Path) -> None:
    """Killed, frozen, moved, emptied, full: nothing is lost, nothing is said twice, and every sum is right."""
    result = lived(How(seconds=20, rate=150, keep=tmp_path / "run"))
    assert not result.violations
    assert result.faults
    assert not [felt for felt in result.faults if felt.recovered is None]


@pytest.mark.parametrize("plant", FOUND_BY)
def test_what_is_planted_is_found(plant: str, tmp_path: Path) -> None:
    """A checker that finds nothing where something is wrong proves nothing."""
    result = lived(How(plant=plant, wanted=CRUEL, rate=150, keep=tmp_path / "run"))
    assert FOUND_BY[plant] & {violation.rule for violation in result.violations}


def test_at_least_once_is_not_exactly_once(tmp_path: Path) -> None:
    """With exactly once switched off, the same faults make repeats."""
    result = lived(How(guarantee=AT_LEAST_ONCE, wanted=CRUEL, rate=150, keep=tmp_path / "run"))
    assert {"nothing_is_said_twice", "nothing_is_rekeyed_twice_or_never"} & {violation.rule for violation in result.violations}


def test_every_fault_can_be_planted() -> None:
    """The command offers what there is."""
    assert set(PLANTS) == set(PLANTED)
