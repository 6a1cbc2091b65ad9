"""Deadlines are event time: they pass before the record that passes them, in their own order, once, and never by themselves."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import pytest
from msgspec import structs

from pipeline.engine.chunk import MOST_DEADLINES
from pipeline.engine.task import Task
from pipeline.testing.specs import NOON
from pipeline.worker import memory
from schemas.message import due_id
from schemas.notifications import NotificationRequested
from tests.agents.words import ADDED, CREATED, RESERVED
from tests.engine.agents import ALONE, DIARIST, SLEEPER
from tests.engine.driver import MINUTE_MS, OPTIONS, SECOND_MS, Ending, Run, line, live, play

LATENESS_MS = OPTIONS.lateness_ms
RINGS_MS = MINUTE_MS + LATENESS_MS
"""When the watermark passes an alarm that was set at noon."""


def created(order: str, at_ms: int) -> bytes:
    return line(structs.replace(CREATED, order_id=order), at_ms)


def postponed(order: str, at_ms: int) -> bytes:
    return line(structs.replace(ADDED, order_id=order), at_ms)


def rung(ending: Ending) -> list[str]:
    return [said.order_id for said in ending.messages if isinstance(said, NotificationRequested)]


# --- When. -----------------------------------------------------------------------------------------------------------


def test_nothing_fires_at_the_end_of_a_file() -> None:
    """Time is what records say it is: the last line passes what is due before it, and no more."""
    assert rung(play([created("o-1", 0)], [SLEEPER])) == []
    assert rung(play([created("o-1", 0), created("o-2", RINGS_MS - 1)], [SLEEPER])) == []


def test_the_watermark_passes_the_deadlines_of_all_keys() -> None:
    """Any record whose time is the lateness later than the deadline."""
    ending = play([created("o-1", 0), created("o-2", RINGS_MS)], [SLEEPER])
    assert rung(ending) == ["o-1"]


def test_a_key_s_own_record_passes_its_own_deadline() -> None:
    """Whatever the watermark: a key that is on time is decided in the order of its own time."""
    for after_ms, expected in ((MINUTE_MS - 1, ()), (MINUTE_MS, ("due",))):
        ending = play([created("o-1", 0), postponed("o-1", after_ms)], [SLEEPER])
        heard = ending.rows["alarms"]["o-1"].heard
        assert heard == (f"OrderCreated-o-1-{0}", *expected, f"ItemAdded-o-1-{after_ms}")


def test_a_deadline_fires_before_the_record_that_passes_it() -> None:
    """In the row and in what is said."""
    ending = play([created("o-1", 0), line(RESERVED, RINGS_MS), postponed("o-1", RINGS_MS)], [SLEEPER, DIARIST])
    assert ending.rows["alarms"]["o-1"].heard == ("OrderCreated-o-1-0", "due", f"ItemAdded-o-1-{RINGS_MS}")


def test_what_is_said_then_bears_the_time_of_the_deadline() -> None:
    """Its cause is the deadline itself: order, name and due time; so firing it again would repeat the same bytes."""
    (said,) = play([created("o-1", 0), created("o-2", 5 * RINGS_MS)], [SLEEPER]).envelopes
    assert said.at == NOON + MINUTE_MS
    assert said.causation_id == due_id("o-1", "alarm", NOON + MINUTE_MS)


def test_deadlines_fire_in_the_order_in_which_they_are_due() -> None:
    """Not in the order of the keys, and not in that in which they were set."""
    lines = [created(f"o-{i}", at * SECOND_MS) for i, at in enumerate((0, 1, 2, 3, 4))]
    lines += [postponed("o-1", 20 * SECOND_MS), postponed("o-0", 10 * SECOND_MS)]
    assert rung(play([*lines, created("o-9", 10 * MINUTE_MS)], [SLEEPER])) == ["o-2", "o-3", "o-4", "o-0", "o-1"]


def test_other_tasks_hear_of_the_time() -> None:
    """A partition without records is not late: its deadlines pass with the time of the others."""
    lines = [created(f"o-{i}", i) for i in range(12)]
    assert rung(play([*lines, line(RESERVED, 10 * MINUTE_MS)], [SLEEPER, DIARIST])) == [f"o-{i}" for i in range(12)]


def test_time_may_pass_without_records() -> None:
    """A clock of the caller's own: everything due by then happens."""

    async def wait(run: Run) -> None:
        await run.feed([created("o-1", 0)])
        await run.advance(RINGS_MS - 1)
        assert run.pipeline.counts()["emitted.NotificationRequested"] == 0
        await run.advance(RINGS_MS)
        assert run.pipeline.counts()["emitted.NotificationRequested"] == 1

    assert rung(live(wait, [SLEEPER])) == ["o-1"]


def test_a_deadline_that_was_postponed_fires_once() -> None:
    """At its newest time: the earlier entries of the index are gone."""
    lines = [created("o-1", 0), *(postponed("o-1", i * 10 * SECOND_MS) for i in range(1, 20))]
    ending = play([*lines, created("o-2", 30 * MINUTE_MS)], [SLEEPER], batch=1)
    assert rung(ending) == ["o-1"]
    assert ending.envelopes[0].at == NOON + 190 * SECOND_MS + MINUTE_MS


# --- Many. -----------------------------------------------------------------------------------------------------------


class Chunks:
    """Counts the chunks of each task."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def __call__(self, step: str, task: Task) -> None:
        self.seen[task.name] += step == "decided"


def test_many_at_once_are_cut_into_several_chunks() -> None:
    """No transaction grows without bound: the record that passes them waits until the last of them has fired."""
    orders = [f"o-{i:04}" for i in range(4 * MOST_DEADLINES)]
    lines = [created(order, i % 50) for i, order in enumerate(orders)]
    before, after = Chunks(), Chunks()
    play(lines, [ALONE], steps=before)
    ending = play([*lines, postponed("o-0000", RINGS_MS + 50)], [ALONE], steps=after)
    assert rung(ending) == sorted(orders, key=lambda order: (int(order[2:]) % 50, order))
    assert ending.rows["alarms"]["o-0000"].heard[1:] == ("due", f"ItemAdded-o-0000-{RINGS_MS + 50}")
    assert after.seen["alarms-0"] - before.seen["alarms-0"] >= 2


def test_many_outputs_are_cut_too() -> None:
    """A chunk that has said enough ends, whatever it has still to fire."""
    small = replace(OPTIONS, chunk_outputs=10)
    lines = [created(f"o-{i:02}", 0) for i in range(55)]
    chunks = Chunks()
    ending = play([*lines, line(ADDED, RINGS_MS)], [ALONE], options=small, steps=chunks)
    assert rung(ending) == [f"o-{i:02}" for i in range(55)]
    assert chunks.seen["alarms-0"] >= 6


# --- Restarts. -------------------------------------------------------------------------------------------------------


def in_two(first: Sequence[bytes], then: Sequence[bytes], folder: Path, lost: Iterable[str]) -> tuple[Ending, Ending]:
    one = play(first, [ALONE], folder=folder, batch=1)
    for name in lost:
        rmtree(folder / name)
    return one, play(then, [ALONE], folder=folder, batch=1, before=one.fed)


def test_a_deadline_survives_a_restart(tmp_path: Path) -> None:
    """It is part of the row: nobody has to set it again, whether the state was kept or recovered."""
    for lost in ([], ["state"]):
        folder = tmp_path / "-".join(["kept", *lost])
        before, after = in_two([created("o-1", 0)], [created("o-2", RINGS_MS)], folder, lost)
        assert (rung(before), rung(after)) == ([], ["o-1"])


def test_a_deadline_that_has_fired_does_not_fire_again(tmp_path: Path) -> None:
    """Not after a restart either."""
    for lost in ([], ["state"]):
        folder = tmp_path / "-".join(["fired", *lost])
        before, after = in_two([created("o-1", 0), created("o-2", RINGS_MS)], [created("o-3", RINGS_MS + SECOND_MS)], folder, lost)
        assert (rung(before), rung(after)) == (["o-1"], [])


def test_stale_entries_of_the_index_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery finds the deadlines of older values that it reads apart: they are looked at once, fire nothing, and are deleted."""
    monkeypatch.setattr(memory, "RECOVERY_RECORDS", 1)
    lines = [created("o-1", 0), *(postponed("o-1", i * SECOND_MS) for i in range(1, 30))]
    play(lines, [ALONE], folder=tmp_path, batch=1)
    rmtree(tmp_path / "state")

    async def later() -> Ending:
        async with Run([ALONE], folder=tmp_path, before=len(lines)) as run:
            (task,) = [task for (name, _), task in run.pipeline.worker.tasks.items() if name == "alarms"] if run.pipeline.worker else []
            assert task.next_deadline() == NOON + RINGS_MS, "an older value's"
            await run.feed([created("o-2", RINGS_MS + 10 * SECOND_MS)])
            assert task.next_deadline() == NOON + RINGS_MS + 11 * SECOND_MS, "the next of them"
            await run.advance(RINGS_MS + 28 * SECOND_MS)
            assert task.next_deadline() == NOON + RINGS_MS + 29 * SECOND_MS, "the row's own"
            await run.advance(RINGS_MS + 29 * SECOND_MS)
            return await run.end()

    assert rung(asyncio.run(later())) == ["o-1"]
