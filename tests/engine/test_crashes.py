"""A process may die at any step of any chunk: nothing is lost, nothing is done twice, not a byte is different."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from shutil import rmtree

import pytest
from hypothesis import settings

from agents.agent import AnyAgent
from agents.orders import saga
from agents.standins import standins
from pipeline.embedded import Crash
from pipeline.engine.task import Task
from tests.engine.driver import Line, Trace, play
from tests.engine.histories import LEVELS, OPTIONS, mixed, stories

THOROUGH = settings().max_examples > 100
"""In continuous integration."""
FEW, MANY = 8, 200 if THOROUGH else 60
UNREADABLE = {"malformed", "invalid", "unsupported_version"}
STEPS = ("decided", "committed", "stored")
WORLDS: dict[str, tuple[AnyAgent, ...]] = {
    "recorded": saga("orchestrated"),
    "standin": saga("orchestrated") + standins(LEVELS),
    "recorded-choreographed": saga("choreographed"),
    "standin-choreographed": saga("choreographed") + standins(LEVELS),
}


class Dying:
    """Dies at the given occurrences of each step, and counts them all."""

    def __init__(self, **deaths: Iterable[int]) -> None:
        self.deaths = {step: set(numbers) for step, numbers in deaths.items()}
        self.seen: Counter[str] = Counter()
        self.died = 0

    def __call__(self, step: str, _task: Task) -> None:
        self.seen[step] += 1
        if self.seen[step] in self.deaths.get(step, ()):
            self.died += 1
            raise Crash


def trace(
    lines: Sequence[Line], agents: Sequence[AnyAgent], dying: Dying | None = None, *, batch: int = 2_000, folder: Path | None = None
) -> Trace:
    return play(lines, agents, options=OPTIONS, steps=dying or Dying(), batch=batch, folder=folder).bytes


def same(one: Trace, other: Trace) -> None:
    """Compared part by part, so that a failure says which."""
    assert [each[2:4] for each in one.said] == [each[2:4] for each in other.said]
    assert one.said == other.said
    assert one.letters == other.letters
    assert one.counts == other.counts
    assert one.rows == other.rows


@cache
def calm(world: str, orders: int) -> Trace:
    """What a mixed history comes to when nobody disturbs it."""
    return trace(mixed(orders), WORLDS[world])


# --- One crash. ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("world", "every"), [("recorded", 1 if THOROUGH else 4), ("standin-choreographed", 11 if THOROUGH else 151)])
def test_a_crash_at_any_chunk_leaves_no_trace(step: str, world: str, every: int) -> None:
    """Whichever chunk it is that was decided, committed or stored last."""
    agents = WORLDS[world]
    counting = Dying()
    undisturbed = trace(stories(), agents, counting)
    for number in range(1 + STEPS.index(step) % every, counting.seen[step] + 1, every):
        dying = Dying(**{step: [number]})
        same(trace(stories(), agents, dying), undisturbed)
        assert dying.died == 1


def test_a_crash_at_the_very_last_chunk_leaves_no_trace() -> None:
    """Nothing is left to read then, and the committed chunk is not stored yet."""
    counting = Dying()
    undisturbed = trace(stories(), WORLDS["recorded"], counting)
    same(trace(stories(), WORLDS["recorded"], Dying(committed=[counting.seen["committed"]])), undisturbed)


# --- Many. -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("orders", "batch"), [(MANY, 2_000), (FEW, 13)])
def test_many_crashes_leave_no_trace(world: str, orders: int, batch: int) -> None:
    """A process that dies every few chunks, at one step and another, comes to the same end, only later."""
    dying = Dying(decided=range(3, 10_000, 411), committed=range(1, 10_000, 373), stored=range(2, 10_000, 607))
    same(trace(mixed(orders), WORLDS[world], dying, batch=batch), calm(world, orders))
    assert dying.died >= 3


def test_a_chunk_that_never_gets_through_at_first() -> None:
    """Dying again and again over the same records neither skips nor doubles them."""
    dying = Dying(decided=range(5, 25))
    same(trace(mixed(FEW), WORLDS["recorded"], dying, batch=100), calm("recorded", FEW))
    assert dying.died == 20


# --- On the same folder. ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", ["recorded", "standin-choreographed"])
@pytest.mark.parametrize("lost", [(), ("state",), ("faust",), ("state", "faust")], ids=lambda lost: "+".join(lost) or "nothing")
def test_another_process_goes_on_in_the_same_folder(world: str, lost: Sequence[str], tmp_path: Path) -> None:
    """Whether the local state is there or has to be made again from the changelog, it is the same state."""
    lines, agents = mixed(FEW, 4), WORLDS[world]
    kept, disturbed = _in_parts(lines, agents, tmp_path / "kept", ()), _in_parts(lines, agents, tmp_path / "disturbed", lost)
    same(disturbed, kept)


def _in_parts(lines: Sequence[Line], agents: Sequence[AnyAgent], folder: Path, lost: Sequence[str]) -> Trace:
    """A run in three processes, with folders `lost` between them. Each begins where time stood."""
    whole = Trace([], [], {}, {})
    for part in (lines[:80], lines[80:150], lines[150:]):
        ending = play(part, agents, options=OPTIONS, batch=40, folder=folder, before=sum(_input(whole)))
        for name in lost:
            rmtree(folder / name)
        now = ending.bytes
        whole = Trace([*whole.said, *now.said], [*whole.letters, *now.letters], now.rows, now.counts)
    return whole


def _input(whole: Trace) -> list[int]:
    return [count for name, count in whole.counts.items() if name.startswith("input.")]


def test_the_same_file_again_into_the_same_folder_changes_nothing(tmp_path: Path) -> None:
    """A second run finds duplicates only; what cannot be read is a letter each time, for nobody can know it again."""
    first = play(mixed(40, 5), options=OPTIONS, folder=tmp_path)
    again = play(mixed(40, 5), options=OPTIONS, folder=tmp_path, before=first.fed)
    assert again.rows == first.rows
    assert again.said == []
    unreadable = [letter.value or b"" for letter, reason in zip(first.letters, first.reasons, strict=True) if reason in UNREADABLE]
    assert sorted(letter.value or b"" for letter in again.letters) == sorted(unreadable)


# --- However it is cut. ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("chunk", "batch"), [(1, 2_000), (7, 13), (2_000, 1)])
def test_the_cut_does_not_matter(world: str, chunk: int, batch: int) -> None:
    """Records per chunk and lines per feed change the speed, and no byte of what is said, of a dead letter or of a row."""
    options = replace(OPTIONS, chunk_records=chunk)
    same(play(mixed(FEW), WORLDS[world], options=options, batch=batch).bytes, calm(world, FEW))
