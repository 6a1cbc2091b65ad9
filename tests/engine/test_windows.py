"""Windows through the engine, on the workload of the benchmarks: what closes is gone, what is late is ignored and counted."""

import json
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.spending import FIVE_MINUTES, GRACE_MS, PARTITIONS, THRESHOLD_CENTS, agents, topics
from pipeline.engine.options import Options
from pipeline.engine.plan import make_plan
from pipeline.log.partitioner import partition_of
from pipeline.testing.specs import NOON
from schemas.message import Envelope, Message
from schemas.payments import PaymentProcessed
from tests.engine.tasks import Tasks

LATENESS_MS = 30_000
OPTIONS = Options(lateness_ms=LATENESS_MS)
SIZE_MS = FIVE_MINUTES.size_ms
CLOSES_MS = SIZE_MS + GRACE_MS + LATENESS_MS
"""After its start: when stream time is there, a window is closed."""
START = FIVE_MINUTES.start(NOON)
PLAN = make_plan(agents(), app="spending", topics=topics("payments", "alerts"))


class Paid(NamedTuple):
    """A payment, `at_ms` after the start of a window."""

    number: int
    user: int
    at_ms: int
    cents: int

    @property
    def event(self) -> tuple[str, Envelope[Message]]:
        payment = PaymentProcessed(f"o-{self.number}", Decimal(self.cents).scaleb(-2), f"p-{self.number}", f"u-{self.user}", "USD")
        return payment.user_id, Envelope(f"e-{self.number}", START + self.at_ms, payment)


def played(payments: Sequence[Paid], *, chunk: int = 1_000, every: bool = False) -> Tasks:
    plan = make_plan(agents(every=every), app="spending", topics=topics("payments", "alerts"))
    tasks = Tasks(plan, OPTIONS, chunk=chunk)
    tasks.feed("payments", [payment.event for payment in payments])
    return tasks


def alerts(tasks: Tasks) -> list[tuple[str, int, int, int, str]]:
    """User, start of the window, sum, count and cause of each alert, in some order."""
    said = [json.loads(record.value or b"") for record in tasks.said("alerts")]
    return sorted((a["user_id"], a["window_start"] - START, a["sum_cents"], a["count"], a["event_id"]) for a in said)


class Expected:
    """The same by brute force: every sum is kept for ever, and whether a window is closed is asked of each payment."""

    def __init__(self, payments: Sequence[Paid]) -> None:
        self.alerts: list[tuple[str, int, int, int, str]] = []
        self.late = 0
        sums: Counter[tuple[int, int]] = Counter()
        counts: Counter[tuple[int, int]] = Counter()
        seen: set[int] = set()
        now = 0
        for number, user, at_ms, cents in payments:
            if number in seen:
                continue
            seen.add(number)
            now = max(now, at_ms)
            window = at_ms // SIZE_MS
            if (window + 1) * SIZE_MS + GRACE_MS <= now - LATENESS_MS:
                self.late += 1
                continue
            before = sums[user, window]
            sums[user, window] += cents
            counts[user, window] += 1
            if before <= THRESHOLD_CENTS < before + cents:
                self.alerts.append((f"u-{user}", window * SIZE_MS, before + cents, counts[user, window], f"e-{number}"))
        self.alerts.sort()
        newest = now - LATENESS_MS
        self.open = {
            (f"u-{user}", window * SIZE_MS): (cents, counts[user, window])
            for (user, window), cents in sums.items()
            if (window + 1) * SIZE_MS + GRACE_MS > newest
        }


STEP_MS = 15_000
"""Half of the lateness: what comes just before and just after a window closes is common."""


@st.composite
def payments(draw: st.DrawFn) -> list[Paid]:
    """Of three users, while time goes by; some are late."""
    found, now = list[Paid](), 0
    for number in range(draw(st.integers(0, 40))):
        now += draw(st.integers(0, 4)) * STEP_MS
        late = draw(st.one_of(st.just(0), st.integers(0, 30))) * STEP_MS
        found.append(Paid(number, draw(st.integers(0, 2)), max(0, now - late), draw(st.integers(1, THRESHOLD_CENTS))))
    return found


OTHERS = tuple({partition_of(f"u-{user}".encode(), PARTITIONS): user for user in range(3, 50)}.values())
"""A user in each partition, none of those above."""


def open_panes(tasks: Tasks) -> dict[tuple[str, int], tuple[int, int]]:
    return {(user, pane.start - START): (pane.total, pane.count) for (_, user), row in tasks.rows("users").items() for pane in row.panes}


@given(payments(), st.sampled_from((1, 7, 1_000)))
def test_alerts_are_those_of_brute_force(paid: list[Paid], chunk: int) -> None:
    """In any order of arrival, with late ones, in chunks of any size; and what is open is what could still change."""
    tasks, expected = played(paid, chunk=chunk), Expected(paid)
    assert alerts(tasks) == expected.alerts
    assert tasks.count("late.spending") == expected.late
    newest = max((each.at_ms for each in paid), default=0)
    tasks.feed("payments", [Paid(100 + user, user, newest, 1).event for user in OTHERS])  # all partitions hear how late it is
    assert {place: held for place, held in open_panes(tasks).items() if place[0] in {"u-0", "u-1", "u-2"}} == expected.open


@given(payments())
def test_repeats_change_nothing(paid: list[Paid]) -> None:
    """A payment that comes twice is counted once."""
    tasks = played([each for each in paid for _ in range(2)])
    assert alerts(tasks) == Expected(paid).alerts
    assert tasks.count("input.duplicate") == len(paid)


@pytest.mark.parametrize(("now_ms", "late"), [(CLOSES_MS - 1, 0), (CLOSES_MS, 1)])
def test_a_record_of_a_closed_window_is_ignored_and_counted(now_ms: int, late: int) -> None:
    """To the millisecond, by the watermark; the other agent of its task hears it all the same."""
    tasks = played([Paid(1, 1, 0, 500), Paid(2, 1, now_ms, 1), Paid(3, 1, SIZE_MS - 1, 500)])
    assert tasks.count("late.spending") == late
    assert open_panes(tasks).get(("u-1", 0)) == (None if late else (1_000, 2))
    assert [dict(record.headers)["orderflow-late"] for record in tasks.said("late-events")] == [b"spending"] * late
    assert tasks.rows("orders")[partition_of(b"u-1", PARTITIONS), "o-3"].event_id == "e-3"
    assert tasks.count("input.applied") == 3


def test_a_row_lives_beside_those_of_the_field_that_spreads_it() -> None:
    """Orders are keyed by order and lie with their user; another user's order of the same name is another row."""
    payment = Paid(1, 1, 0, 500).event[1].payload
    users = [f"u-{n}" for n in range(8)]
    tasks = played([])
    tasks.feed("payments", [(user, Envelope(user, START, replace(payment, user_id=user))) for user in users])
    partitions = {partition_of(user.encode(), PARTITIONS) for user in users}
    assert set(tasks.rows("orders")) == {(p, "o-1") for p in partitions}
    assert len(partitions) > 1
    assert [group.key for group in PLAN.groups if group.agents] == ["user_id"]


def test_an_empty_row_is_a_tombstone() -> None:
    """In the changelog and in the store; whoever recovers does not have it either, and it may come again."""
    tasks = played([Paid(1, 1, 0, 500), Paid(2, 1, CLOSES_MS + SIZE_MS, 700)])
    place = (partition_of(b"u-1", PARTITIONS), "u-1")
    tasks.feed("payments", [Paid(3, 1, 4 * CLOSES_MS, 1).event])
    (pane,) = tasks.rows("users")[place].panes
    assert (pane.start, pane.total, pane.count) == (START + 4 * CLOSES_MS // SIZE_MS * SIZE_MS, 1, 1)
    other = next(user for user in OTHERS if partition_of(f"u-{user}".encode(), PARTITIONS) == place[0])
    tasks.feed("payments", [Paid(4, other, 9 * CLOSES_MS, 1).event])
    assert place not in tasks.rows("users")
    newest = [value for key, value in tasks.changelog(f"orders-{place[0]}") if key == b"rusers\0u-1"]
    assert newest[-1] is None
    assert newest[0] is not None
    assert tasks.recovered("users") == tasks.rows("users")
    assert tasks.recovered("orders") == tasks.rows("orders")
    tasks.feed("payments", [Paid(5, 1, 9 * CLOSES_MS, 3).event])
    assert [(pane.total, pane.count) for pane in tasks.rows("users")[place].panes] == [(3, 1)]


@given(payments())
def test_closed_windows_leave_nothing_behind(paid: list[Paid]) -> None:
    """When all of them have passed, there is no row of a user but those of whom it was heard."""
    tasks = played(paid)
    tasks.feed("payments", [Paid(100 + user, user, 20 * CLOSES_MS, 1).event for user in OTHERS])
    assert {key for _, key in tasks.rows("users")} == {f"u-{user}" for user in OTHERS}
    assert tasks.recovered("users") == tasks.rows("users")


def test_a_bare_topic_carries_payloads_alone() -> None:
    """Keyed and cut as declared, without an envelope; the event time is the record's."""
    tasks = played([Paid(1, 1, 5, 500)], every=True)
    (record,) = tasks.said("alerts")
    assert json.loads(record.value or b"") == {
        "user_id": "u-1",
        "window_start": START,
        "sum_cents": 500,
        "count": 1,
        "event_id": "e-1",
    }
    assert (record.key, record.partition, record.timestamp, record.headers) == (b"u-1", partition_of(b"u-1", PARTITIONS), START + 5, ())


def test_topics_of_one_s_own_are_planned_as_ours_are() -> None:
    """Read in place where key and partitions fit; those of the registry are not there, and no other topic carries the type."""
    (group, intake) = PLAN.groups
    assert (group.reads, group.key, group.partitions) == (("payments",), "user_id", PARTITIONS)
    assert intake.reads == (PLAN.unread,)
    assert set(PLAN.topics) == {"payments", "alerts", "dead-letter-queue", "late-events", PLAN.unread, group.inbox, intake.inbox}
    assert PLAN.carrier[PaymentProcessed].name == "payments"
