"""A process may die at any step of any chunk: nothing is lost, nothing is done twice, not a byte is different."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from shutil import rmtree

import pytest

from agents.agent import AnyAgent
from agents.orders import saga
from agents.sales import sales
from agents.standins import standins
from pipeline.embedded import Crash
from pipeline.engine.task import Task
from tests.engine.driver import Line, Trace, play
from tests.engine.histories import LEVELS, OPTIONS, THOROUGH, mixed, stories

FEW, MANY = 8, 200 if THOROUGH else 24  # orders
UNREADABLE = {"malformed", "invalid", "unsupported_version"}
STEPS = ("decided", "committed", "stored")
WORLDS: dict[str, tuple[AnyAgent, ...]] = {
    "recorded": saga("orchestrated"),
    "standin": saga("orchestrated") + sales() + standins(LEVELS),
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


@cache
def calm_stories(world: str) -> tuple[Trace, int]:
    """What the stories come to, and in how many chunks."""
    counting = Dying()
    return trace(stories(), WORLDS[world], counting), counting.seen["stored"]


# --- One crash. ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("world", ["recorded", "standin-choreographed"])
def test_a_crash_at_any_chunk_leaves_no_trace(step: str, world: str) -> None:
    """Whichever chunk it is that was decided, committed or stored last; one here and there while one works."""
    undisturbed, chunks = calm_stories(world)
    every = (1 if chunks < 100 else 11) if THOROUGH else 4 if chunks < 100 else 229
    for number in range(1 + STEPS.index(step) % every, chunks + 1, every):
        dying = Dying(**{step: [number]})
        same(trace(stories(), WORLDS[world], dying), undisturbed)
        assert dying.died == 1


def test_a_crash_at_the_very_last_chunk_leaves_no_trace() -> None:
    """Nothing is left to read then, and the committed chunk is not stored yet."""
    undisturbed, chunks = calm_stories("recorded")
    dying = Dying(committed=[chunks])
    same(trace(stories(), WORLDS["recorded"], dying), undisturbed)
    assert dying.died == 1


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


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trace]:
    """A world's history in three processes that lose nothing."""
    return cache(lambda world: _in_parts(mixed(FEW, 4), WORLDS[world], tmp_path_factory.mktemp("kept"), ()))


@pytest.mark.parametrize("world", ["recorded", "standin-choreographed"])
@pytest.mark.parametrize("lost", [(), ("state",), ("faust",), ("state", "faust")], ids=lambda lost: "+".join(lost) or "nothing")
def test_another_process_goes_on_in_the_same_folder(world: str, lost: Sequence[str], tmp_path: Path, kept: Callable[[str], Trace]) -> None:
    """Whether the local state is there or has to be made again from the changelog, it is the same state."""
    same(_in_parts(mixed(FEW, 4), WORLDS[world], tmp_path, lost), kept(world))


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


@pytest.mark.parametrize("world", WORLDS if THOROUGH else ["recorded", "standin-choreographed"])
@pytest.mark.parametrize(("chunk", "batch"), [(1, 2_000), (7, 13), (2_000, 1)])
def test_the_cut_does_not_matter(world: str, chunk: int, batch: int) -> None:
    """Records per chunk and lines per feed change the speed, and no byte of what is said, of a dead letter or of a row."""
    options = replace(OPTIONS, chunk_records=chunk)
    same(play(mixed(FEW), WORLDS[world], options=options, batch=batch).bytes, calm(world, FEW))
