"""Several payments, too little, too much, other currencies, refunds, disputes."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from agents.agent import Repeated, Unexpected
from agents.orders import ORDERS
from pipeline.testing.specs import given
from schemas.message import Invalid
from schemas.orders import RefundPayment
from tables.orders import Status
from tests.agents.words import (
    CANCELLED,
    CONFIRMED,
    CREATED,
    DECLINED,
    DELIVERED,
    DISPUTED,
    HISTORIES,
    NOT_SHIPPED,
    PAID,
    REFUNDED,
    RELEASED,
    RESERVED,
    SCHEDULE,
    SCHEDULED,
    SHORTAGE,
    TO_COMPENSATING,
    TO_COMPLETED,
    TO_PAID,
    TO_RESERVED,
    TO_SHIPPED,
    cancelled,
    charge,
    mail,
    paid,
    refund,
    refunded,
    release,
)


@pytest.mark.parametrize("status", ["PAID", "SHIPPED", "COMPLETED"])
def test_the_same_payment_again_is_a_duplicate(status: str) -> None:
    """The same payment_id and type under another event id is Repeated."""
    assert isinstance(given(ORDERS, *HISTORIES[status]).when(PAID), Repeated)


def test_the_same_failure_again_is_a_duplicate() -> None:
    """PaymentFailed of the payment that already undid the order is Repeated; so is a dispute told twice."""
    assert isinstance(given(ORDERS, *TO_COMPENSATING).when(DECLINED), Repeated)
    assert isinstance(given(ORDERS, *TO_PAID, DISPUTED).when(DISPUTED), Repeated)


@pytest.mark.parametrize("status", ["PAID", "SHIPPED", "COMPLETED"])
def test_another_payment_is_extra_money_and_the_order_goes_on(status: str) -> None:
    """Another payment_id is refunded once, in the state the order is in."""
    order = given(ORDERS, *HISTORIES[status])
    assert order.when(paid(payment_id="p-2")) == [refund("extra_payment", payment_id="p-2")]
    assert isinstance(order.when(paid(payment_id="p-2")), Repeated)
    assert order.row.status.value == status
    assert order.when(refunded(payment_id="p-2")) == []
    assert (order.row.status.value, order.row.kept) == (status, {"USD": 10_000})
    assert ORDERS.due(order.row) == ORDERS.due(given(ORDERS, *HISTORIES[status]).row)


def test_less_than_the_total_waits_for_the_rest() -> None:
    """RESERVED, a partial payment: recorded, stays RESERVED; the rest makes it PAID."""
    order = given(ORDERS, *TO_RESERVED)
    deadline = ORDERS.due(order.row)
    assert order.when(paid("60.00")) == []
    assert (order.row.status, ORDERS.due(order.row)) == (Status.RESERVED, deadline)
    assert order.when(paid("40.00", "p-2")) == [CONFIRMED, SCHEDULE, mail("payment_confirmation")]


def test_a_rest_that_never_comes_gives_all_back() -> None:
    """The rest is awaited until the payment deadline; then what came goes back."""
    order = given(ORDERS, *TO_RESERVED, paid("60.00"))
    assert order.when_time_comes() == [refund("payment_timeout", "60.00"), release("payment_timeout")]


def test_only_what_is_missing_is_charged() -> None:
    """A part that came before the goods is not asked for again."""
    assert given(ORDERS, CREATED, paid("60.00")).when(RESERVED) == [charge("40.00")]


def test_what_exceeds_the_total_goes_back() -> None:
    """120 for an order of 100: the order goes on and 20 are refunded."""
    order = given(ORDERS, *TO_RESERVED)
    assert order.when(paid("120.00")) == [CONFIRMED, SCHEDULE, mail("payment_confirmation"), refund("extra_payment", "20.00")]


def test_the_payment_that_fills_the_total_gives_back_its_own_excess() -> None:
    """60, then 60, of 100: the second gives 20 back."""
    order = given(ORDERS, *TO_RESERVED, paid("60.00"))
    assert order.when(paid("60.00", "p-2"))[-1:] == [refund("extra_payment", "20.00", "p-2")]


def test_excess_that_came_first_goes_back_when_the_total_is_final() -> None:
    """While PENDING the total may still grow, so that excess waits for InventoryReserved."""
    order = given(ORDERS, CREATED)
    assert order.when(paid("120.00")) == []
    assert order.when(RESERVED)[-1:] == [refund("extra_payment", "20.00")]


@pytest.mark.parametrize("status", HISTORIES)
def test_another_currency_goes_back_in_that_currency(status: str) -> None:
    """Two currencies are never added: foreign money is refunded as it came, whatever the state."""
    order = given(ORDERS, *HISTORIES[status])
    reason = "payment_failed" if order.row.undone_for else "other_currency"
    assert order.when(paid("5000", "p-9", "JPY")) == [refund(reason, "5000", "p-9", "JPY")]
    assert order.row.status.value == status
    assert order.row.captured["JPY"] == 5_000
    order.when(refunded("5000", "p-9", "JPY"))
    assert order.row.kept["JPY"] == 0


def test_foreign_money_pays_for_nothing() -> None:
    """RESERVED stays RESERVED, however much of another currency comes."""
    order = given(ORDERS, *TO_RESERVED, paid("5000.00", "p-9", "EUR"))
    assert order.row.status is Status.RESERVED


def test_money_without_a_currency_is_in_its_orders() -> None:
    """12.345 of an order in dinars is 12,345 fils; of one in dollars it is invalid."""
    dinars = given(ORDERS, replace(CREATED, total=Decimal("12.345"), currency="BHD"), RESERVED)
    assert CONFIRMED in list(dinars.when(paid("12.345")))
    dollars = given(ORDERS, *TO_RESERVED)
    with pytest.raises(Invalid):
        dollars.when(paid("12.345"))
    assert dollars.row.payments == ()


def test_two_refunds_of_one_payment_are_two_commands() -> None:
    """The excess is part 0, what is undone later part 1; the ids differ."""
    order = given(ORDERS, *TO_RESERVED, paid("120.00"))
    assert order.when(NOT_SHIPPED) == [refund("shipping_failed", "100.00", part=1), release("shipping_failed")]
    ids = [each.event_id for each in order.said if isinstance(each.payload, RefundPayment)]
    assert len(set(ids)) == len(ids) == 2


def test_a_refund_is_answered_when_the_refunds_sum_to_what_was_captured() -> None:
    """COMPENSATING waits for all of it, in as many pieces as it comes."""
    order = given(ORDERS, *TO_PAID, NOT_SHIPPED, RELEASED)
    assert order.when(refunded("40.00")) == []
    assert order.row.status is Status.COMPENSATING
    assert order.when(refunded("60.00")) == [cancelled("shipping_failed")]


@pytest.mark.parametrize("history", [(*TO_PAID, NOT_SHIPPED, REFUNDED), TO_COMPENSATING, TO_RESERVED, (*TO_PAID, refunded("40.00"))])
def test_more_refunded_than_was_captured_is_an_alarm(history: tuple[object, ...]) -> None:
    """More than that is unexpected: illegal_transition."""
    with pytest.raises(Unexpected, match="more than was captured"):
        given(ORDERS, *history).when(REFUNDED)  # type: ignore[arg-type]  # pytest's parameters are objects


def test_a_refund_of_another_payment_is_not_this_ones() -> None:
    """Each payment is given back by itself; a refund that names none is matched by its currency."""
    order = given(ORDERS, *TO_PAID)
    with pytest.raises(Unexpected):
        order.when(refunded(payment_id="p-2"))
    with pytest.raises(Unexpected):
        order.when(refunded(currency="EUR"))
    assert order.when(refunded("10.00", "")) == []
    assert order.row.refunded == {"USD": 1_000}


def test_a_refund_without_a_name_answers_the_one_that_was_asked_for() -> None:
    """Of two payments the one that is being refunded."""
    order = given(ORDERS, *TO_PAID, paid(payment_id="p-2"), refunded(payment_id=""))
    assert [p.refunded_minor for p in order.row.payments] == [0, 10_000]


def test_a_refund_that_nobody_asked_for_is_recorded() -> None:
    """PaymentRefunded in part while PAID: recorded, the order goes on, and what is undone later is the rest."""
    order = given(ORDERS, *TO_PAID)
    assert order.when(refunded("40.00")) == []
    assert order.row.status is Status.PAID
    assert order.when(NOT_SHIPPED) == [refund("shipping_failed", "60.00"), release("shipping_failed")]
    assert order.when(refunded("60.00")) == []
    assert order.when(RELEASED) == [cancelled("shipping_failed")]


def test_a_full_refund_while_paid_undoes_the_order() -> None:
    """PaymentRefunded in full while PAID: undo; nothing is left to refund."""
    order = given(ORDERS, *TO_PAID, refunded("40.00"))
    assert order.when(refunded("60.00")) == [release("payment_refunded")]
    assert order.row.status is Status.COMPENSATING


def test_a_refund_does_not_undo_an_order_that_cost_nothing() -> None:
    """What was paid for an order of 0.00 goes back, and the order goes on: it never needed the money."""
    free = replace(CREATED, total=Decimal(0))
    order = given(ORDERS, free, RESERVED, paid("10.00"), refunded("10.00"))
    assert order.row.status is Status.PAID


def test_a_refund_of_a_shipped_order_is_only_recorded() -> None:
    """SHIPPED or COMPLETED, PaymentRefunded: recorded."""
    assert given(ORDERS, *TO_SHIPPED).when(REFUNDED) == []
    assert given(ORDERS, *TO_COMPLETED).when(REFUNDED) == []


def test_money_that_went_back_before_the_shortage_is_not_refunded_again() -> None:
    """PENDING, captured and refunded, then InventoryShortage: nothing is left to undo."""
    assert given(ORDERS, CREATED, PAID, REFUNDED).when(SHORTAGE) == [cancelled("out_of_stock")]


@pytest.mark.parametrize("status", HISTORIES)
def test_a_dispute_is_recorded_and_flagged_and_holds_while_paid(status: str) -> None:
    """PaymentDisputed: nothing is said; while PAID it holds."""
    order = given(ORDERS, *HISTORIES[status])
    assert order.when(DISPUTED) == []
    assert (order.row.flagged, order.row.held, order.row.status.value) == (True, status == "PAID", status)


def test_an_extra_refund_is_awaited_before_the_end() -> None:
    """OrderCancelled is said only when the refund of extra money is answered too."""
    order = given(ORDERS, CREATED, paid("5000", "p-9", "JPY"))
    assert order.when(SHORTAGE) == []
    assert order.row.status is Status.COMPENSATING
    assert order.when(refunded("5000", "p-9", "JPY")) == [cancelled("out_of_stock")]


def test_extra_money_does_not_stop_a_delivery() -> None:
    """SHIPPED with a refund of extra money unanswered is still COMPLETED by its delivery."""
    order = given(ORDERS, *TO_SHIPPED, paid(payment_id="p-2"), DELIVERED)
    assert order.row.status is Status.COMPLETED
    assert order.when_time_comes() == [refund("extra_payment", payment_id="p-2")]


def test_a_cancelled_orders_late_foreign_money_is_refunded_too() -> None:
    """Money never stays with a cancelled order, in any currency."""
    order = given(ORDERS, CREATED, CANCELLED)
    assert order.when(paid("5000", "p-9", "JPY")) == [refund("changed my mind", "5000", "p-9", "JPY")]
    assert order.when(SCHEDULED) != []
