"""The way back: compensations, cancellation from outside, what comes late."""

import pytest

from agents.agent import Ignored, Repeated, Unexpected
from agents.orders import ORDERS
from pipeline.testing.specs import given
from schemas.message import Message
from tables.orders import Leg, Status
from tests.agents.words import (
    ADDED,
    CANCELLED,
    COMPLETED,
    CREATED,
    DECLINED,
    DELIVERED,
    FRAUD,
    HISTORIES,
    NOT_SHIPPED,
    PAID,
    REFUNDED,
    RELEASED,
    RESERVED,
    RESOLVED,
    RESOLVED_WELL,
    SCHEDULED,
    SHORTAGE,
    STOPPED,
    TO_CANCELLED,
    TO_COMPENSATING,
    TO_COMPLETED,
    TO_PAID,
    TO_RESERVED,
    TO_SHIPPED,
    cancelled,
    paid,
    refund,
    release,
    stop,
)


def test_a_declined_payment_releases_the_stock_and_nothing_else() -> None:
    """RESERVED, PaymentFailed: undo what was done, payment_failed."""
    order = given(ORDERS, *TO_RESERVED)
    assert order.when(DECLINED) == [release("payment_failed")]
    assert order.row.status.value == "COMPENSATING"


def test_the_order_is_cancelled_when_the_release_is_answered() -> None:
    """PaymentFailed, InventoryReleased, OrderCancelled."""
    order = given(ORDERS, *TO_COMPENSATING)
    assert order.when(RELEASED) == [cancelled("payment_failed")]
    assert order.row.status.value == "CANCELLED"


def test_a_failed_shipment_is_undone_in_reverse() -> None:
    """PAID, ShipmentFailed: the money, then the stock, sent together."""
    assert given(ORDERS, *TO_PAID).when(NOT_SHIPPED) == [refund("shipping_failed"), release("shipping_failed")]


@pytest.mark.parametrize("answers", [(REFUNDED, RELEASED), (RELEASED, REFUNDED)])
def test_answers_come_in_any_order_and_the_last_one_ends_it(answers: tuple[Message, Message]) -> None:
    """COMPENSATING lasts until each compensation is answered."""
    order = given(ORDERS, *TO_PAID, NOT_SHIPPED)
    assert order.when(answers[0]) == []
    assert order.row.status.value == "COMPENSATING"
    assert order.when(answers[1]) == [cancelled("shipping_failed")]


@pytest.mark.parametrize(
    ("status", "follows"),
    [
        ("PENDING", []),
        ("RESERVED", [release("changed my mind")]),
        ("PAID", [refund("changed my mind"), release("changed my mind")]),
        ("SHIPPED", [stop("changed my mind")]),
    ],
)
def test_a_cancellation_from_outside_undoes_what_was_done(status: str, follows: list[Message]) -> None:
    """OrderCancelled from outside: undo, reason as given; SHIPPED asks the carrier alone; no second OrderCancelled."""
    assert given(ORDERS, *HISTORIES[status]).when(CANCELLED) == follows


def test_an_order_with_nothing_to_undo_is_cancelled_at_once() -> None:
    """PENDING, OrderCancelled from outside: CANCELLED, and nothing is said."""
    assert given(ORDERS, CREATED, CANCELLED).row.status is Status.CANCELLED


def test_a_cancellation_from_outside_is_not_announced_twice() -> None:
    """The last answer ends it: CANCELLED without an OrderCancelled of ours."""
    order = given(ORDERS, *TO_RESERVED, CANCELLED)
    assert order.when(RELEASED) == []
    assert order.row.status.value == "CANCELLED"


def test_a_cancellation_from_outside_while_being_undone_suppresses_ours() -> None:
    """COMPENSATING, OrderCancelled from outside: recorded, so that there is one; a further one is ignored."""
    order = given(ORDERS, *TO_COMPENSATING)
    assert order.when(CANCELLED) == []
    assert order.row.status.value == "COMPENSATING"
    assert isinstance(order.when(CANCELLED), Ignored)
    assert order.when(RELEASED) == []
    assert isinstance(order.when(CANCELLED), Ignored)


def test_a_completed_order_cannot_be_cancelled() -> None:
    """COMPLETED, OrderCancelled is illegal."""
    with pytest.raises(Unexpected, match="OrderCancelled in COMPLETED"):
        given(ORDERS, *TO_COMPLETED).when(CANCELLED)


def test_a_stopped_shipment_undoes_the_rest() -> None:
    """SHIPPED, cancelled from outside, ShipmentCancelled: the money and the stock."""
    order = given(ORDERS, *TO_SHIPPED, CANCELLED)
    assert order.row.status.value == "SHIPPED"
    assert order.when(STOPPED) == [refund("changed my mind"), release("changed my mind")]
    assert order.when(REFUNDED) == []
    assert order.when(RELEASED) == []
    assert order.row.status.value == "CANCELLED"


def test_a_delivery_refuses_the_cancellation() -> None:
    """SHIPPED, cancelled from outside, ShipmentDelivered: COMPLETED; the cancellation is counted as refused."""
    order = given(ORDERS, *TO_SHIPPED, CANCELLED)
    assert order.when(DELIVERED) == [COMPLETED]
    assert (order.row.status, order.row.cancel_refused, ORDERS.due(order.row)) == (Status.COMPLETED, True, None)


def test_a_shipped_order_is_cancelled_once() -> None:
    """A second OrderCancelled from outside is ignored by name."""
    assert isinstance(given(ORDERS, *TO_SHIPPED, CANCELLED).when(CANCELLED), Ignored)


@pytest.mark.parametrize("history", [TO_COMPENSATING, TO_CANCELLED])
def test_late_money_goes_back_once(history: tuple[Message, ...]) -> None:
    """COMPENSATING or CANCELLED, PaymentProcessed: RefundPayment, once."""
    order = given(ORDERS, *history)
    status = order.row.status
    assert order.when(PAID) == [refund("payment_failed")]
    assert isinstance(order.when(PAID), Repeated)
    assert order.row.status is status
    assert order.when(paid("30.00", "p-2")) == [refund("payment_failed", "30.00", "p-2")]


def test_the_end_waits_for_late_money_too() -> None:
    """A payment that came while COMPENSATING is one more compensation to be answered."""
    order = given(ORDERS, *TO_COMPENSATING, PAID)
    assert order.when(RELEASED) == []
    assert order.when(REFUNDED) == [cancelled("payment_failed")]


def test_late_stock_is_released_once() -> None:
    """CANCELLED, InventoryReserved: ReleaseInventory; a second one is unexpected."""
    order = given(ORDERS, CREATED)
    order.when_time_comes()
    assert order.when(RESERVED) == [release("reservation_timeout")]
    with pytest.raises(Unexpected):
        order.when(RESERVED)
    assert order.row.status.value == "CANCELLED"


def test_stock_refused_first_and_reserved_after_all_is_released() -> None:
    """A refusal does not shut out the late answer of the same service."""
    assert given(ORDERS, CREATED, SHORTAGE).when(RESERVED) == [release("out_of_stock")]


def test_a_late_shipment_is_cancelled_once() -> None:
    """COMPENSATING, ShipmentScheduled: CancelShipment; a second one is unexpected."""
    order = given(ORDERS, *TO_PAID, FRAUD)
    assert order.when(SCHEDULED) == [stop("fraud")]
    with pytest.raises(Unexpected):
        order.when(SCHEDULED)
    assert order.when(REFUNDED) == []
    assert order.when(RELEASED) == []
    assert order.when(STOPPED) == [cancelled("fraud")]


def test_answers_to_late_compensations_are_recorded_and_nothing_is_published() -> None:
    """CANCELLED stays CANCELLED."""
    order = given(ORDERS, *TO_CANCELLED, PAID, SCHEDULED)
    assert order.when(REFUNDED) == []
    assert order.when(STOPPED) == []
    assert (order.row.status, order.row.kept, order.row.shipment.leg) == (Status.CANCELLED, {"USD": 0}, Leg.UNDONE)
    assert isinstance(order.when(STOPPED), Repeated)


@pytest.mark.parametrize("history", [TO_COMPENSATING, TO_CANCELLED])
def test_delivered_though_undone_is_flagged_and_nothing_is_sent(history: tuple[Message, ...]) -> None:
    """COMPENSATING or CANCELLED, ShipmentDelivered: recorded, flagged: the goods are out."""
    order = given(ORDERS, *history)
    before = order.row.status
    assert order.when(DELIVERED) == []
    assert (order.row.goods_out, order.row.flagged, order.row.status) == (True, True, before)
    assert isinstance(order.when(DELIVERED), Repeated)


@pytest.mark.parametrize("refusal", [SHORTAGE, DECLINED, NOT_SHIPPED])
def test_a_step_that_is_not_wanted_may_be_refused(refusal: Message) -> None:
    """COMPENSATING, a refusal of a step asked for earlier: ignored by name."""
    assert isinstance(given(ORDERS, *TO_PAID, FRAUD).when(refusal), Ignored)


def test_a_release_answered_twice_is_a_duplicate_and_one_not_asked_for_is_unexpected() -> None:
    """A retried command may be answered twice; an answer without a question is illegal."""
    assert isinstance(given(ORDERS, *TO_CANCELLED).when(RELEASED), Repeated)
    with pytest.raises(Unexpected, match="no release was asked for"):
        given(ORDERS, CREATED, SHORTAGE).when(RELEASED)
    with pytest.raises(Unexpected, match="no cancellation was asked for"):
        given(ORDERS, *TO_CANCELLED).when(STOPPED)


def test_only_what_was_reserved_is_released() -> None:
    """A part that is asked for and unanswered is not waited for; answered late, it is released then."""
    order = given(ORDERS, CREATED, ADDED, RESERVED)
    assert order.when(DECLINED) == [release("payment_failed")]
    assert order.when(RELEASED) == [cancelled("payment_failed")]
    late = order.when(RESERVED)
    assert [getattr(each, "part", None) for each in late] == [1]


def test_a_person_ends_what_is_stuck() -> None:
    """OrderResolved ends STUCK as it says; nobody is asked again."""
    order = given(ORDERS, *TO_COMPENSATING)
    while not order.row.stuck:
        order.when_time_comes()
    assert order.when(RESOLVED) == [cancelled("payment_failed")]
    assert (order.row.status, order.row.stuck, order.row.resolved_by) == (Status.CANCELLED, False, "ann")
    assert ORDERS.due(order.row) is None
    assert order.when(RELEASED) == []


def test_a_lost_parcel_may_end_either_way() -> None:
    """SHIPPED and STUCK: COMPLETED is announced; CANCELLED gives back what the order has."""
    order = given(ORDERS, *TO_SHIPPED)
    order.when_time_comes()
    assert order.when(RESOLVED_WELL) == [COMPLETED]
    assert order.row.status.value == "COMPLETED"
    lost = given(ORDERS, *TO_SHIPPED)
    lost.when_time_comes()
    assert lost.when(RESOLVED) == [stop("lost"), refund("lost"), release("lost"), cancelled("lost")]
    assert lost.row.status is Status.CANCELLED


@pytest.mark.parametrize("status", HISTORIES)
def test_only_what_is_stuck_can_be_resolved(status: str) -> None:
    """OrderResolved of an order that is not STUCK is illegal."""
    with pytest.raises(Unexpected, match="not stuck"):
        given(ORDERS, *HISTORIES[status]).when(RESOLVED)
