"""Where nobody keeps tasks in step: deadlines wait for those upstream, who tell how late it is; records find their places in time."""

import pytest
from msgspec.structs import replace

from agents.fraud import fraud
from pipeline.composition import agents, rules
from pipeline.engine.head import IDLE
from pipeline.engine.options import Options
from pipeline.engine.plan import make_plan
from pipeline.engine.task import IDLE_MARK, TICK, Task, Work
from pipeline.log.partitioner import partition_of
from pipeline.log.record import FED, UNPLACED, Headers, Order, Record, TopicPartition
from pipeline.settings import Settings
from pipeline.stores.memory import MemoryStore
from pipeline.testing.specs import NOON
from schemas.codec import decode
from schemas.fraud import FraudAlertRaised
from schemas.message import Envelope
from schemas.notifications import NotificationRequested
from tests.agents.words import ADDED, CREATED, PAID
from tests.engine.agents import SLEEPER
from tests.engine.driver import HOUR_MS, MINUTE_MS, SECOND_MS, line, told

OPTIONS = Options(gated=True)
PLAN = make_plan([SLEEPER], app="shop")
ALARMS, INTAKE = PLAN.groups
PARTITION = partition_of(b"o-1", ALARMS.partitions)
SAME = next(f"o-{n}" for n in range(2, 100) if partition_of(f"o-{n}".encode(), ALARMS.partitions) == PARTITION)
"""Another order of the same task."""
UPSTREAM = b"intake-1-0"
RINGS_MS = MINUTE_MS + OPTIONS.lateness_ms
"""When the watermark passes an alarm that was set at noon."""


class Alone:
    """One task, given its chunks by hand. Times are after noon."""

    def __init__(self, task: Task | None = None) -> None:
        self.store = MemoryStore()
        self.task = task or Task(PLAN, ALARMS, PARTITION, self.store, OPTIONS)
        self._offset = -1

    def record(
        self, topic: str, value: bytes | None, at_ms: int, *, key: bytes | None = None, headers: Headers = (), source: int = FED
    ) -> Record:
        """As it comes from a log that has no order of time."""
        self._offset += 1
        return Record(topic, self.task.partition, key, value, headers, NOON + at_ms, Order(UNPLACED, source, 0), self._offset)

    def created(self, at_ms: int, order: str = "o-1") -> Record:
        return self.record("order.events", line(replace(CREATED, order_id=order), at_ms), at_ms, key=order.encode())

    def postponed(self, at_ms: int, order: str = "o-1") -> Record:
        return self.record("order.events", line(replace(ADDED, order_id=order), at_ms), at_ms, key=order.encode())

    def tick(self, at_ms: int, who: bytes = b"") -> Record:
        return self.record(self.task.group.inbox, None, at_ms, headers=((TICK, who),))

    def work(
        self, *records: Record, horizon_ms: int | None = None, idle: bool = False, today_ms: int = -NOON - 1, left: int | None = None
    ) -> Work:
        horizon = IDLE if horizon_ms is None else NOON + horizon_ms
        work = self.task.work(records, horizon=horizon, left=left, idle={} if idle else None, today=NOON + today_ms)
        self.task.done(work, self.task.head.changelog_end + len(work.outbox.changelog))
        return work

    def rings(self, *records: Record, horizon_ms: int | None = None) -> list[str]:
        """The orders whose alarms ring in this chunk."""
        said = [decode(record.value) for record in self.work(*records, horizon_ms=horizon_ms).outbox.records]
        return [each.payload.order_id for each in said if isinstance(each, Envelope) and isinstance(each.payload, NotificationRequested)]

    def heard(self, order: str = "o-1") -> tuple[str, ...]:
        heard: tuple[str, ...] = self.task.rows.get((0, order)).row.heard
        return tuple(each.partition("-")[0] for each in heard)

    def counts(self) -> dict[str, int]:
        return {name: count for name, count in self.task.head.counts.items() if count}


# --- Waiting for those upstream. -------------------------------------------------------------------------------------


def test_a_deadline_waits_until_those_upstream_are_as_late() -> None:
    """Whatever is read here: what they are about to say may belong before it."""
    alone = Alone()
    assert alone.rings(alone.created(0), alone.created(RINGS_MS, SAME)) == []
    assert alone.rings(alone.tick(RINGS_MS - 1, UPSTREAM)) == []
    assert alone.rings(alone.tick(RINGS_MS, UPSTREAM)) == ["o-1"]


def test_time_that_is_told_moves_no_time_here() -> None:
    """It only lets go on what was read: those upstream may be far ahead."""
    alone = Alone()
    alone.work(alone.created(0), alone.tick(HOUR_MS, UPSTREAM))
    assert alone.task.head.time == NOON
    assert alone.rings(alone.tick(2 * HOUR_MS, UPSTREAM)) == []
    assert alone.rings(alone.created(RINGS_MS, SAME)) == ["o-1"]


def test_nobody_waits_for_a_task_that_has_nothing_to_read() -> None:
    """Until it tells its time again."""
    alone = Alone()
    alone.work(alone.created(0), alone.tick(0, UPSTREAM + IDLE_MARK))
    assert alone.rings(alone.created(RINGS_MS, SAME)) == ["o-1"]
    alone.work(alone.tick(RINGS_MS, UPSTREAM))
    assert alone.rings(alone.tick(3 * RINGS_MS)) == []


def test_a_tick_of_one_s_own_passes_what_is_due() -> None:
    """Where nothing comes, time passes all the same."""
    alone = Alone()
    alone.work(alone.created(0), alone.tick(0, UPSTREAM + IDLE_MARK))
    assert alone.task.next_deadline() == NOON + RINGS_MS
    assert alone.rings(alone.tick(RINGS_MS - 1)) == []
    assert alone.rings(alone.tick(RINGS_MS)) == ["o-1"]
    assert (alone.task.head.time, alone.task.next_deadline()) == (NOON + RINGS_MS, None)


def test_a_deadline_waits_for_what_is_left_to_be_read() -> None:
    """An input that has something earlier is read first."""
    alone = Alone()
    alone.work(alone.created(0), alone.tick(0, UPSTREAM + IDLE_MARK))
    assert alone.rings(alone.created(RINGS_MS, SAME), horizon_ms=RINGS_MS - 1) == []
    assert alone.rings(alone.tick(RINGS_MS), horizon_ms=RINGS_MS) == ["o-1"]


@pytest.mark.parametrize(
    ("who", "expected"), [(UPSTREAM + IDLE_MARK, ("OrderCreated", "due", "ItemAdded")), (b"", ("OrderCreated", "ItemAdded"))]
)
def test_a_deadline_of_the_own_key_waits_too(who: bytes, expected: tuple[str, ...]) -> None:
    """A record of the key passes it where nothing earlier can come; where something can, it is decided first."""
    alone = Alone()
    alone.work(alone.created(0), alone.tick(0, who))
    alone.work(alone.postponed(MINUTE_MS))
    assert alone.heard() == expected


def test_the_gate_is_the_lateness_ahead_of_those_upstream() -> None:
    """What is later than that is not read yet; the inbox is, or nobody would hear how late it is."""
    alone = Alone()
    assert alone.task.gate({}) == OPTIONS.lateness_ms - 1
    alone.work(alone.tick(SECOND_MS, UPSTREAM))
    assert alone.task.gate({}) == NOON + SECOND_MS + OPTIONS.lateness_ms
    alone.work(alone.tick(SECOND_MS, UPSTREAM + IDLE_MARK))
    assert alone.task.gate({}) > NOON + 1_000_000 * HOUR_MS


def test_what_was_told_is_kept_with_the_state() -> None:
    """Whoever takes the task over waits as it did."""
    alone = Alone()
    alone.work(alone.tick(SECOND_MS, UPSTREAM))
    assert Task(PLAN, ALARMS, PARTITION, alone.store, OPTIONS).gate({}) == alone.task.gate({})


# --- Telling those downstream. ---------------------------------------------------------------------------------------


def ticks(work: Work) -> list[tuple[str, int, bytes, int]]:
    """Inbox, partition, who tells it and the time after noon, of each tick in the transaction."""
    said = [record for record in work.outbox.records if record.headers[:1] and record.headers[0][0] == TICK]
    return [(record.topic, record.partition, record.headers[0][1], record.timestamp - NOON) for record in said]


def intake() -> Alone:
    return Alone(Task(PLAN, INTAKE, 0, MemoryStore(), OPTIONS))


def test_every_task_downstream_is_told_how_late_it_is() -> None:
    """In the transaction of what it may not overtake, and behind that."""
    alone = intake()
    work = alone.work(alone.record(PLAN.unread, line(CREATED, 5), 5, key=b"o-1"))
    assert ticks(work) == [(ALARMS.inbox, p, UPSTREAM, 5) for p in range(ALARMS.partitions)]
    assert (work.outbox.records[0].value, len(work.outbox.records)) == (line(CREATED, 5), 1 + ALARMS.partitions)


def test_it_is_told_once_a_second() -> None:
    """Of stream time: not with every chunk."""
    alone = intake()
    times = (0, OPTIONS.told_every_ms - 1, OPTIONS.told_every_ms, OPTIONS.told_every_ms + 1)
    told_at = [at for at in times if ticks(alone.work(alone.record(PLAN.unread, line(CREATED, at, f"e-{at}"), at, key=b"o-1")))]
    assert told_at == [0, OPTIONS.told_every_ms]


def test_a_task_with_nothing_to_read_says_so_once() -> None:
    """And tells its time again as soon as it has something, however soon that is."""
    alone = intake()
    alone.work(alone.record(PLAN.unread, line(CREATED, 5), 5, key=b"o-1"))
    idles = [alone.task.idles]
    assert {who for _, _, who, _ in ticks(alone.work(idle=True))} == {UPSTREAM + IDLE_MARK}
    idles.append(alone.task.idles)
    assert ticks(alone.work(idle=True)) == []
    assert {who for _, _, who, _ in ticks(alone.work(alone.record(PLAN.unread, line(CREATED, 6, "e-6"), 6, key=b"o-1")))} == {UPSTREAM}
    assert [*idles, alone.task.idles] == [False, True, False]


def test_who_has_nobody_downstream_tells_nobody() -> None:
    """It always idles."""
    alone = Alone()
    assert alone.task.idles
    assert ticks(alone.work(alone.created(0), idle=True)) == []


# --- Ticks and other records. ----------------------------------------------------------------------------------------


def test_ticks_are_no_records_of_anybody() -> None:
    """They are read once, and counted nowhere."""
    alone = Alone()
    alone.work(alone.tick(0, UPSTREAM), alone.tick(1))
    assert alone.counts() == {}
    assert alone.task.head.offsets == {ALARMS.inbox: 2}


def test_only_an_inbox_has_ticks() -> None:
    """What bears their header elsewhere, or says something, is a record as any other: it moves no time and opens no gate."""
    alone = Alone()
    gate = alone.task.gate({})
    alone.work(
        alone.record("order.events", None, HOUR_MS, headers=((TICK, UPSTREAM),)),
        alone.record(ALARMS.inbox, b"rubbish", HOUR_MS, headers=((TICK, UPSTREAM),)),
    )
    assert alone.counts() == {"input.dead.malformed": 2}
    assert (alone.task.head.time, alone.task.gate({})) == (-1, gate)


def test_records_find_their_places_in_time() -> None:
    """The greatest event time so far: late ones, those without a time and unbelievable clocks move nothing."""
    alone = Alone()
    records = [
        alone.created(0),
        alone.created(10 * SECOND_MS, SAME),
        alone.record("order.events", b"rubbish", HOUR_MS),
        alone.postponed(5 * SECOND_MS),
        alone.postponed(OPTIONS.jump_ms + 10 * SECOND_MS + 1),
        alone.postponed(11 * SECOND_MS),
    ]
    work = alone.work(*records)
    assert [record.order.at - NOON for record in records] == [0, 10_000, 10_000, 10_000, 10_000, 11_000]
    assert alone.counts() == {"input.applied": 4, "input.dead.malformed": 1, "input.dead.invalid": 1}
    letters = [record for record in work.outbox.records if record.topic == "dead-letter-queue"]
    assert [told(each, "orderflow-reason") for each in letters] == ["malformed", "invalid"]


def test_the_first_record_is_believed_whatever_it_says() -> None:
    """Nothing came before it."""
    alone = Alone()
    alone.work(alone.created(400 * 24 * HOUR_MS))
    assert alone.task.head.time == NOON + 400 * 24 * HOUR_MS


def test_a_record_of_one_s_own_moves_time_by_its_timestamp() -> None:
    """It is not decoded: who said it has folded it already."""
    alone = Alone()
    own = 1 + ALARMS.first_task + PARTITION
    alone.work(alone.record("order.events", b"not even read", SECOND_MS, key=b"o-1", source=own))
    assert alone.task.head.time == NOON + SECOND_MS
    assert alone.counts() == {"internal.ignored": 1}


def test_without_a_gate_nobody_waits_and_nobody_tells() -> None:
    """In one process, somebody else keeps tasks in step."""
    alone = Alone(Task(PLAN, ALARMS, PARTITION, MemoryStore(), Options()))
    assert alone.rings(alone.created(0), alone.created(RINGS_MS, SAME)) == ["o-1"]
    free = Alone(Task(PLAN, INTAKE, 0, MemoryStore(), Options()))
    assert ticks(free.work(free.record(PLAN.unread, line(CREATED, 5), 5, key=b"o-1"))) == []


# --- Unbelievable clocks. --------------------------------------------------------------------------------------------

JUMP_MS = OPTIONS.jump_ms


@pytest.mark.parametrize(("at_ms", "refused"), [(JUMP_MS, 0), (JUMP_MS + 1, 1)])
def test_nobody_is_believed_who_is_far_ahead(at_ms: int, refused: int) -> None:
    """Of everything before him, where nobody knows what day it is."""
    alone = Alone()
    alone.work(alone.created(0), alone.created(at_ms, SAME))
    assert alone.counts().get("input.dead.invalid", 0) == refused


def test_after_quiet_months_an_event_of_today_is_believed() -> None:
    """And one that is a little ahead of it; or one quiet partition would refuse everything from then on."""
    alone = Alone()
    alone.work(alone.created(0), today_ms=0)
    alone.work(alone.created(100 * JUMP_MS, SAME), today_ms=99 * JUMP_MS)
    assert alone.counts() == {"input.applied": 2}
    assert alone.task.head.time == NOON + 100 * JUMP_MS
    alone.work(alone.postponed(102 * JUMP_MS, SAME), today_ms=100 * JUMP_MS)
    assert alone.counts()["input.dead.invalid"] == 1


def test_the_first_event_is_not_believed_whatever_it_says() -> None:
    """Where it is known what day it is."""
    alone = Alone()
    alone.work(alone.created(2 * JUMP_MS), today_ms=0)
    assert alone.counts() == {"input.dead.invalid": 1}
    assert alone.task.head.time < NOON


# --- Windows. --------------------------------------------------------------------------------------------------------


class Paying(Alone):
    """A task of the fraud rules, which hears one customer's payments in its inbox."""

    def __init__(self) -> None:
        plan, store = make_plan(fraud(rules(None)), app="shop"), MemoryStore()
        task = Task(plan, plan.groups[0], partition_of(b"customer-7", plan.groups[0].partitions), store, OPTIONS)
        super().__init__(task)

    def paid(self, number: int, at_s: int) -> Record:
        payment = replace(PAID, user_id="customer-7", order_id=f"o-{number}", payment_id=f"p-{number}")
        return self.record(self.task.group.inbox, line(payment, at_s * SECOND_MS, f"e-{number}"), at_s * SECOND_MS)

    def told_by_all(self, at_s: int) -> list[Record]:
        return [self.tick(at_s * SECOND_MS, name.encode()) for name in self.task.upstream]


def test_what_has_closed_stays_closed() -> None:
    """The watermark says whether a payment is too late; it waits for those upstream, and does not fall back with them."""
    alone = Paying()
    alone.work(*alone.told_by_all(10), alone.paid(1, 100), alone.paid(2, 50))
    assert "late.fraud" not in alone.counts(), "those upstream are as late as that"
    alone.work(*alone.told_by_all(100), alone.paid(3, 100))
    alone.work(alone.paid(4, 69), alone.paid(5, 70))
    assert alone.counts()["late.fraud"] == 1
    alone.work(*alone.told_by_all(20), alone.paid(6, 69), alone.paid(7, 70))
    assert alone.counts()["late.fraud"] == 2
    alone.task.reset(alone.task.head.changelog_end + 1)
    alone.work(alone.paid(8, 69), alone.paid(9, 70))
    assert alone.counts()["late.fraud"] == 3


def test_what_is_behind_in_the_same_chunk_is_not_too_late() -> None:
    """Those upstream have told that they are further; but one of them comes after the other in the inbox, with what happened meanwhile."""
    alone = Paying()
    first, second = ([alone.paid(number, at_s) for number, at_s in ((10 * n, 0), (10 * n + 1, 500), (10 * n + 2, 1_000))] for n in (1, 2))
    alone.work(*alone.told_by_all(1_000), *first, *second)
    assert "late.fraud" not in alone.counts()
    alone.work(alone.paid(30, 969))
    assert alone.counts()["late.fraud"] == 1


def test_deadlines_wait_for_what_is_behind_in_the_same_chunk() -> None:
    """An inbox is in order by each of those that write to it: an answer that came in time is there, behind what happened later."""
    alone = Alone()
    alone.work(alone.created(0))
    told_ = alone.tick(HOUR_MS, UPSTREAM)
    assert alone.rings(told_, alone.created(HOUR_MS, SAME), alone.postponed(30 * SECOND_MS)) == []
    assert alone.heard()[-1] == "ItemAdded"


@pytest.mark.parametrize("ahead_s", [35, 100, 200, 1_000])
def test_who_is_ahead_makes_nobody_s_window_forget(ahead_s: int) -> None:
    """A payment of a fast task upstream comes before those of a slow one: what these need is still there."""
    alone = Paying()
    payments = [alone.paid(number, 5) for number in range(10)]
    work = alone.work(*alone.told_by_all(10), *payments, alone.paid(50, ahead_s), alone.paid(60, 6))
    said = [decode(record.value) for record in work.outbox.records if record.topic == "fraud.alerts"]
    assert [each.payload.rule for each in said if isinstance(each, Envelope) and isinstance(each.payload, FraudAlertRaised)] == ["velocity"]


def test_ticks_alone_are_nothing_to_be_waited_for() -> None:
    """Who has nothing to read but the time of others says nothing new; what comes with them ends its silence."""
    alone = Alone(Task(PLAN, INTAKE, 0, MemoryStore(), OPTIONS))
    alone.work(alone.record(PLAN.unread, line(CREATED, 5), 5, key=b"o-1"))
    alone.work(idle=True)
    assert alone.work(alone.tick(9, b"somebody")).outbox.records == []
    assert alone.task.idles
    alone.work(alone.record(PLAN.unread, line(CREATED, 6, "e-6"), 6, key=b"o-1"))
    assert not alone.task.idles


def test_an_inbox_waits_for_those_that_do_not_wait_for_it() -> None:
    """Two that hear one another would wait for ever."""
    standins = make_plan(agents(Settings(services="standin")), app="shop")
    named = {group.name: group for group in standins.groups}
    assert standins.hears_of(named["stock"], named["orders"])
    assert standins.hears_of(named["orders"], named["orders"])
    assert not standins.hears_of(named["intake-3"], named["orders"])
    orders, stock = (Task(standins, named[name], 0, MemoryStore(), OPTIONS) for name in ("orders", "stock"))
    for task in (orders, stock):
        told = {name: NOON if name.startswith("intake") else -1 for name in task.upstream}
        assert task.inbox_gate(told) == NOON + OPTIONS.lateness_ms
        assert task.gate(told) < NOON


# --- What is heard of an inbox before what lies in front of it. ------------------------------------------------------


def at_inbox(alone: Alone) -> tuple[int, list[tuple[int, int]]]:
    """Where it goes on, and what was heard beyond."""
    return alone.task.head.offsets[ALARMS.inbox], alone.task.head.ahead


def test_an_inbox_is_committed_up_to_what_is_left_of_it() -> None:
    """What was heard beyond is part of the state, until what lies in front of it was heard, too."""
    alone = Alone()
    first, second, third, fourth, fifth = (alone.tick(at) for at in range(5))
    assert alone.work(second, third, fifth, left=0).outbox.offsets == {TopicPartition(ALARMS.inbox, PARTITION): 0}
    assert at_inbox(alone) == (0, [(1, 3), (4, 5)])
    alone.work(first, left=3)
    assert at_inbox(alone) == (3, [(4, 5)])
    alone.work(fourth, left=5)
    assert at_inbox(alone) == (5, [])


def test_a_marker_in_an_inbox_holds_nothing_up() -> None:
    """Offsets that no record has are passed as soon as all in front of them was heard."""
    alone = Alone()
    first, _marker, third, _marker, fifth = (alone.tick(at) for at in range(5))
    alone.work(third, left=0)
    alone.work(first, left=4)
    assert at_inbox(alone) == (4, [])
    alone.work(fifth)
    assert at_inbox(alone) == (5, [])


def test_what_was_heard_ahead_may_lie_behind_what_was_not_read() -> None:
    """After a restart an inbox is read in parts: where one part ends, the next one may have more that was not heard."""
    alone = Alone()
    first, second, third = (alone.tick(at) for at in range(3))
    alone.work(third, left=first.offset)
    alone.work(first, left=second.offset)
    assert at_inbox(alone) == (second.offset, [(third.offset, third.offset + 1)])


def test_what_was_heard_ahead_is_recovered() -> None:
    """From the changelog, and from the store: or it would be heard again."""
    alone = Alone()
    first, second = alone.tick(0), alone.tick(1)
    lines = enumerate(alone.work(second, left=first.offset).outbox.changelog)
    said = [Record(ALARMS.changelog, PARTITION, key, value, (), 0, Order(0, FED, 0), n) for n, (key, value) in lines]
    recovered, stored = Task(PLAN, ALARMS, PARTITION, MemoryStore(), OPTIONS), Task(PLAN, ALARMS, PARTITION, alone.store, OPTIONS)
    recovered.recover(said)
    assert recovered.head.ahead == stored.head.ahead == [(1, 2)]


def test_a_chunk_that_ends_early_leaves_what_is_not_decided() -> None:
    """The lowest of the rest of its records is where the inbox goes on."""
    alone = Alone(Task(PLAN, ALARMS, PARTITION, MemoryStore(), Options(gated=True, chunk_outputs=1)))
    alone.work(alone.created(0), alone.created(0, SAME))
    alone.work(alone.tick(RINGS_MS, UPSTREAM))
    last, first, rings = alone.tick(RINGS_MS, UPSTREAM), alone.tick(RINGS_MS, UPSTREAM), alone.postponed(RINGS_MS)
    assert alone.work(first, rings, last).taken == 1
    assert at_inbox(alone) == (last.offset, [(first.offset, first.offset + 1)])
