"""What waits: early facts, holds, deadlines, retries."""

import pytest

from agents.agent import MINUTE_MS, Agent, Ignored, Parked, Unexpected
from agents.orders import ORDERS, Timeouts, saga
from pipeline.testing.specs import NOON, given
from schemas.fraud import FraudAlertRaised
from schemas.message import Due, Envelope, Message
from tables.orders import Order, Status
from tests.agents.words import (
    ADDED,
    ALERT,
    CANCELLED,
    CONFIRMED,
    CREATED,
    DECLINED,
    DELIVERED,
    DISPUTED,
    FRAUD,
    HISTORIES,
    HOLD,
    LET_GO,
    NOT_SHIPPED,
    PAID,
    REFUNDED,
    RELEASED,
    RESERVED,
    RESOLVED,
    SCHEDULE,
    SCHEDULED,
    SHIPPED,
    SHORTAGE,
    STOPPED,
    TO_CANCELLED,
    TO_COMPENSATING,
    TO_COMPLETED,
    TO_PAID,
    TO_RESERVED,
    TO_SHIPPED,
    cancelled,
    charge,
    mail,
    refund,
    release,
    stop,
)

HOUR_MS = 60 * MINUTE_MS

# --- Early facts. --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "early",
    [
        ADDED, CANCELLED, CONFIRMED, SHIPPED, RESOLVED, RESERVED, SHORTAGE, RELEASED, PAID, DECLINED, REFUNDED, DISPUTED,
        SCHEDULED, NOT_SHIPPED, STOPPED, DELIVERED, HOLD, FRAUD, LET_GO,
    ],
)  # fmt: skip
def test_anything_for_an_order_not_seen_yet_waits(early: Message) -> None:
    """UNKNOWN: parked, the row untouched and not counted as an order."""
    order = given(ORDERS)
    assert isinstance(order.when(early), Parked)
    assert order.row == Order(id="o-1")
    assert not order.row.created


@pytest.mark.parametrize(
    ("status", "early"),
    [
        *(("PENDING", fact) for fact in (DECLINED, REFUNDED, SCHEDULED, NOT_SHIPPED, STOPPED, DELIVERED, RELEASED)),
        *(("RESERVED", fact) for fact in (SCHEDULED, NOT_SHIPPED, STOPPED, DELIVERED, RELEASED)),
        *(("PAID", fact) for fact in (STOPPED, DELIVERED, RELEASED)),
        *(("SHIPPED", fact) for fact in (STOPPED, RELEASED)),
    ],
)
def test_what_belongs_to_a_later_state_waits_for_it(status: str, early: Message) -> None:
    """Payment answers while PENDING, shipment facts before PAID, answers to compensations not yet asked for."""
    assert isinstance(given(ORDERS, *HISTORIES[status]).when(early), Parked)


def test_early_facts_are_applied_when_their_state_arrives() -> None:
    """All facts backwards lead where they lead forwards."""
    order = given(ORDERS, DELIVERED, SCHEDULED, PAID, RESERVED)
    order.when(CREATED)
    assert (order.row.status, order.parked, order.orphaned) == (Status.COMPLETED, [], [])


def test_an_early_refusal_undoes_when_its_question_is_asked() -> None:
    """PENDING, PaymentFailed waits; RESERVED applies it."""
    order = given(ORDERS, CREATED, DECLINED)
    order.when(RESERVED)
    assert list(order.spoken)[-1] == release("payment_failed")


def test_what_waits_in_vain_is_orphaned() -> None:
    """After 15 minutes of event time the early fact is given up."""
    order = given(ORDERS, PAID)
    order.when(CREATED, at=NOON + 16 * MINUTE_MS)
    assert [each.payload for each in order.orphaned] == [PAID]
    assert order.row.payments == ()


# --- Holds. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "fact", "now", "then"),
    [
        ((CREATED,), RESERVED, [], [charge()]),
        (TO_RESERVED, PAID, [CONFIRMED, mail("payment_confirmation")], [SCHEDULE]),
        ((CREATED, PAID), RESERVED, [CONFIRMED, mail("payment_confirmation")], [SCHEDULE]),
    ],
)
def test_a_held_order_records_facts_and_its_next_command_waits(
    history: tuple[Message, ...], fact: Message, now: list[Message], then: list[Message]
) -> None:
    """FraudAlertRaised hold: the next command is given on HoldReleased."""
    order = given(ORDERS, *history)
    assert order.when(HOLD) == []
    assert order.row.held
    assert order.when(fact) == now
    assert order.when(LET_GO) == then
    assert not order.row.held


@pytest.mark.parametrize("history", [(CREATED,), TO_RESERVED, TO_PAID])
def test_an_order_held_for_a_day_is_undone(history: tuple[Message, ...]) -> None:
    """24 h after the hold: undo; facts in between do not lengthen it."""
    order = given(ORDERS, *history, HOLD)
    order.when(SHIPPED)
    deadline = ORDERS.due(order.row)
    assert deadline is not None
    assert deadline.at == NOON + (len(history) + 1) * 1000 + 24 * HOUR_MS
    order.when_time_comes()
    assert (order.row.undone_for, order.row.held) == ("hold_timeout", False)


def test_a_second_hold_does_not_lengthen_the_first() -> None:
    """Held already: ignored by name."""
    assert isinstance(given(ORDERS, CREATED, HOLD).when(HOLD), Ignored)


def test_a_fraudulent_order_is_undone() -> None:
    """FraudAlertRaised cancel: undo, reason fraud; held or not."""
    assert given(ORDERS, *TO_RESERVED, HOLD).when(FRAUD) == [release("fraud")]
    assert given(ORDERS, *TO_PAID).when(FRAUD) == [refund("fraud"), release("fraud")]


@pytest.mark.parametrize("history", [TO_SHIPPED, TO_COMPLETED, TO_COMPENSATING, TO_CANCELLED])
@pytest.mark.parametrize("late", [HOLD, FRAUD, LET_GO])
def test_it_is_too_late_to_hold_what_is_shipped_or_undone(history: tuple[Message, ...], late: Message) -> None:
    """From SHIPPED on, fraud decisions are ignored by name."""
    assert isinstance(given(ORDERS, *history).when(late), Ignored)


def test_an_alert_only_informs() -> None:
    """The action `alert`, and an alert that names no order, are ignored in every state."""
    nameless = FraudAlertRaised("c-1", "rule", action="hold")
    for history in ((), (CREATED,), TO_PAID, TO_CANCELLED):
        assert isinstance(given(ORDERS, *history).when(ALERT), Ignored)
        assert isinstance(given(ORDERS, *history).when(nameless), Ignored)


def test_letting_go_what_is_not_held_is_ignored() -> None:
    """HoldReleased without a hold."""
    assert isinstance(given(ORDERS, CREATED).when(LET_GO), Ignored)


def test_a_hold_stops_the_clock_of_the_state() -> None:
    """The payment deadline counts anew from HoldReleased."""
    order = given(ORDERS, *TO_RESERVED, HOLD)
    order.when(LET_GO, at=NOON + HOUR_MS)
    deadline = ORDERS.due(order.row)
    assert deadline is not None
    assert (deadline.name, deadline.at) == ("payment", NOON + HOUR_MS + 15 * MINUTE_MS)


def test_a_disputed_order_is_held_until_somebody_lets_it_go() -> None:
    """PAID, PaymentDisputed: held for a day; what the carrier does in between is a fact."""
    order = given(ORDERS, *TO_PAID, DISPUTED)
    assert order.when_time_comes() == [refund("hold_timeout"), release("hold_timeout")]
    taken = given(ORDERS, *TO_PAID, DISPUTED)
    assert taken.when(SCHEDULED) == [SHIPPED, mail("tracking")]
    assert not taken.row.held


# --- Deadlines. ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "after_ms", "follows"),
    [
        ((CREATED,), 5 * MINUTE_MS, [cancelled("reservation_timeout")]),
        ((CREATED, PAID), 5 * MINUTE_MS - 1000, [refund("reservation_timeout")]),
        (TO_RESERVED, 15 * MINUTE_MS, [release("payment_timeout")]),
        (TO_PAID, 24 * HOUR_MS, [refund("shipping_failed"), release("shipping_failed")]),
        (TO_SHIPPED, 14 * 24 * HOUR_MS, []),
    ],
)
def test_a_state_that_is_not_answered_in_time_is_left(history: tuple[Message, ...], after_ms: int, follows: list[Message]) -> None:
    """PENDING 5 min, RESERVED 15 min, PAID 24 h, SHIPPED 14 days; each counts from its state's beginning."""
    order = given(ORDERS, *history)
    began = order.now
    assert order.when_time_comes() == follows
    assert order.now - began == after_ms
    assert order.row.undone_for or order.row.stuck


def test_an_order_shipped_for_two_weeks_is_stuck_until_it_arrives() -> None:
    """SHIPPED for 14 days: STUCK, a flag; the delivery ends it all the same."""
    order = given(ORDERS, *TO_SHIPPED)
    order.when_time_comes()
    assert (order.row.stuck, order.row.status, ORDERS.due(order.row)) == (True, Status.SHIPPED, None)
    order.when(DELIVERED)
    assert (order.row.stuck, order.row.status) == (False, Status.COMPLETED)


def test_a_compensation_is_tried_five_times_under_one_id_and_then_stuck() -> None:
    """After 5 min, doubling; five tries in all, the same command; unanswered after the last one's wait, STUCK."""
    order = given(ORDERS, *TO_COMPENSATING)
    began, waits = order.now, []
    for _ in range(4):
        assert order.when_time_comes() == [release("payment_failed")]
        waits.append((order.now - began) // MINUTE_MS)
    assert waits == [5, 15, 35, 75]
    assert not order.row.stuck
    assert order.when_time_comes() == []
    assert (order.now - began) // MINUTE_MS == 155
    assert (order.row.stuck, order.row.status, ORDERS.due(order.row)) == (True, Status.COMPENSATING, None)
    tries = [each for each in order.said if each.payload == release("payment_failed")]
    assert (len(tries), len({each.event_id for each in tries})) == (5, 1)


def test_a_stuck_order_still_takes_its_answer() -> None:
    """A late answer ends it without a person."""
    order = given(ORDERS, *TO_COMPENSATING)
    while not order.row.stuck:
        order.when_time_comes()
    assert order.when(RELEASED) == [cancelled("payment_failed")]
    assert not order.row.stuck


def test_only_what_is_unanswered_is_tried_again() -> None:
    """Of two compensations the answered one is left in peace."""
    order = given(ORDERS, *TO_PAID, NOT_SHIPPED, RELEASED)
    assert order.when_time_comes() == [refund("shipping_failed")]


def test_each_compensation_has_its_own_clock() -> None:
    """A late one is tried after its own five minutes, the earlier ones after theirs."""
    order = given(ORDERS, *TO_COMPENSATING)
    order.when(PAID, at=order.now + 3 * MINUTE_MS)
    assert order.when_time_comes() == [release("payment_failed")]
    assert order.when_time_comes() == [refund("payment_failed")]


def test_a_cancellation_that_the_carrier_does_not_answer_is_tried_again() -> None:
    """SHIPPED, CancelShipment unanswered: the same command, and STUCK in the end."""
    order = given(ORDERS, *TO_SHIPPED, CANCELLED)
    assert [order.when_time_comes() for _ in range(4)] == [[stop("changed my mind")]] * 4
    order.when_time_comes()
    assert order.row.stuck


def test_a_deadline_that_no_longer_runs_is_ignored() -> None:
    """Due of a deadline of an earlier state, or before its time, changes nothing."""
    order = given(ORDERS, *TO_RESERVED)
    assert isinstance(order.when(Due("o-1", "reservation"), at=NOON + HOUR_MS), Ignored)
    assert isinstance(order.when(Due("o-1", "payment"), at=NOON + MINUTE_MS), Ignored)
    assert isinstance(given(ORDERS).when(Due("o-1", "payment")), Ignored)


def test_a_deadline_speaks_in_the_flow_of_its_order() -> None:
    """Deadline.correlation_id is that of OrderCreated."""
    order = given(ORDERS, CREATED)
    deadline = ORDERS.due(order.row)
    assert deadline is not None
    assert deadline.correlation_id == "flow-o-1"
    order.when_time_comes()
    assert order.said[-1].correlation_id == "flow-o-1"


def test_every_deadline_is_a_setting() -> None:
    """The saga takes its timeouts; each moves its own deadline and no other."""
    days = Timeouts(reservation_ms=1, payment_ms=2, shipment_ms=3, hold_ms=4, delivery_ms=5, compensation_ms=6, compensation_tries=1)
    orders: Agent[Order] = saga("orchestrated", days)[0]
    waits = {}
    for history in ((CREATED,), TO_RESERVED, TO_PAID, (CREATED, HOLD), TO_SHIPPED, TO_COMPENSATING):
        order: given[Order] = given(orders)
        for message in history:
            order.when(Envelope(str(message), NOON, message))
        deadline = orders.due(order.row)
        assert deadline is not None
        waits[deadline.name] = deadline.at - NOON
    assert waits == {"reservation": 1, "payment": 2, "shipment": 3, "hold": 4, "delivery": 5, "stuck": 6}


def test_event_time_that_goes_back_does_not_shorten_a_deadline() -> None:
    """An answer older than its question starts its state's clock no earlier than the question."""
    order = given(ORDERS, CREATED)
    order.when(RESERVED, at=NOON - HOUR_MS)
    deadline = ORDERS.due(order.row)
    assert deadline is not None
    assert deadline.at == NOON + 1000 + 15 * MINUTE_MS


def test_a_failure_after_the_money_came_is_unexpected() -> None:
    """PAID, PaymentFailed: neither early nor wanted."""
    with pytest.raises(Unexpected, match="the money is here"):
        given(ORDERS, *TO_PAID).when(DECLINED)
