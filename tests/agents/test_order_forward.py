"""The way from PENDING to COMPLETED."""

import pytest
from msgspec.structs import replace

from agents.agent import Ignored, Repeated, Unexpected
from agents.orders import ORDERS
from pipeline.testing.specs import NOON, given
from schemas.inventory import InventoryReserved, InventoryShortage
from schemas.message import SOURCE, Envelope, Invalid
from schemas.orders import ItemAdded, ScheduleShipment
from tables.orders import Leg, Status
from tests.agents.words import (
    ADDED,
    CANCELLED,
    COMPLETED,
    CONFIRMED,
    CREATED,
    DECLINED,
    DELIVERED,
    HISTORIES,
    HOLD,
    ITEMS,
    LET_GO,
    MORE,
    PAID,
    RELEASED,
    RESERVE,
    RESERVE_MORE,
    RESERVED,
    SCHEDULE,
    SCHEDULED,
    SHIPPED,
    SHORTAGE,
    TO_COMPLETED,
    TO_PAID,
    TO_PENDING,
    TO_RESERVED,
    TO_SHIPPED,
    cancelled,
    charge,
    mail,
    paid,
    refund,
    release,
    release_more,
)


def test_a_new_order_asks_for_its_stock_and_is_acknowledged() -> None:
    """OrderCreated: PENDING; ReserveInventory; the order confirmation."""
    order = given(ORDERS)
    assert order.when(CREATED) == [RESERVE, mail("order_confirmation")]
    assert (order.row.status, order.row.total_minor, order.row.currency, order.row.created) == (Status.PENDING, 10_000, "USD", True)


def test_reserved_stock_asks_for_the_money() -> None:
    """PENDING, InventoryReserved: RESERVED; ProcessPayment."""
    order = given(ORDERS, *TO_PENDING)
    assert order.when(RESERVED) == [charge()]
    assert order.row.status.value == "RESERVED"


def test_paid_in_full_is_confirmed_and_sent() -> None:
    """RESERVED, PaymentProcessed: PAID; OrderConfirmed; ScheduleShipment; the payment confirmation."""
    order = given(ORDERS, *TO_RESERVED)
    assert order.when(PAID) == [CONFIRMED, SCHEDULE, mail("payment_confirmation")]
    assert order.row.status.value == "PAID"


def test_what_the_carrier_took_is_shipped_and_can_be_tracked() -> None:
    """PAID, ShipmentScheduled: SHIPPED; OrderShipped; tracking."""
    order = given(ORDERS, *TO_PAID)
    assert order.when(SCHEDULED) == [SHIPPED, mail("tracking")]
    assert order.row.status.value == "SHIPPED"


def test_delivered_is_completed() -> None:
    """SHIPPED, ShipmentDelivered: COMPLETED; OrderCompleted."""
    order = given(ORDERS, *TO_SHIPPED)
    assert order.when(DELIVERED) == [COMPLETED]
    assert order.row.status.value == "COMPLETED"
    assert ORDERS.due(order.row) is None


def test_money_that_came_first_is_not_asked_for_again() -> None:
    """PENDING, PaymentProcessed is recorded; InventoryReserved then leads straight to PAID, without ProcessPayment."""
    order = given(ORDERS, CREATED)
    assert order.when(PAID) == []
    assert order.row.status.value == "PENDING"
    assert order.when(RESERVED) == [CONFIRMED, SCHEDULE, mail("payment_confirmation")]
    assert order.row.status.value == "PAID"


def test_no_stock_ends_the_order_at_once() -> None:
    """PENDING, InventoryShortage with nothing to undo: CANCELLED, out_of_stock."""
    order = given(ORDERS, CREATED)
    assert order.when(SHORTAGE) == [cancelled("out_of_stock")]
    assert order.row.status.value == "CANCELLED"


def test_no_stock_gives_back_the_money_that_was_faster() -> None:
    """PENDING, InventoryShortage: a captured payment is refunded before the order is cancelled."""
    assert given(ORDERS, CREATED, PAID).when(SHORTAGE) == [refund("out_of_stock")]


def test_added_lines_are_reserved_and_paid_for() -> None:
    """PENDING, ItemAdded: total and items grow; ReserveInventory for the addition alone."""
    order = given(ORDERS, CREATED)
    assert order.when(ADDED) == [RESERVE_MORE]
    assert order.when(RESERVED) == [charge("120.00")]
    assert order.row.items == (*ITEMS, *MORE)
    assert order.when(paid("120.00")) == [CONFIRMED, ScheduleShipment("o-1", "c-1", (*ITEMS, *MORE)), mail("payment_confirmation")]


def test_an_added_line_costs_its_total_or_its_price_times_its_quantity() -> None:
    """ItemAdded with a unit price grows the total by price times quantity."""
    order = given(ORDERS, CREATED, ItemAdded("o-1", "SKU3", 3, price=TWO_FIFTY))
    assert order.row.total_minor == 10_750


TWO_FIFTY = paid("2.50").amount


@pytest.mark.parametrize("status", ["RESERVED", "PAID", "SHIPPED", "COMPLETED", "COMPENSATING", "CANCELLED"])
def test_lines_cannot_be_added_later(status: str) -> None:
    """ItemAdded after InventoryReserved is illegal, in every later state."""
    with pytest.raises(Unexpected, match=f"ItemAdded in {status}"):
        given(ORDERS, *HISTORIES[status]).when(ADDED)


def test_an_added_line_in_fractions_that_the_currency_lacks_is_invalid() -> None:
    """An amount that only the order's currency shows to be wrong is Invalid, and the row is untouched."""
    order = given(ORDERS, replace(CREATED, currency="JPY", total=paid("100").amount))
    with pytest.raises(Invalid):
        order.when(ADDED)
    assert order.row.total_minor == 100


def test_totals_stay_within_the_largest_amount() -> None:
    """An addition that takes the total over 10^15 minor units is Invalid."""
    with pytest.raises(Invalid, match="total"):
        given(ORDERS, CREATED).when(ItemAdded("o-1", "SKU3", total=paid("9999999999999.99").amount))


def test_a_second_reservation_is_recorded_while_an_addition_is_unanswered() -> None:
    """RESERVED, InventoryReserved: noted for the addition; one more is unexpected."""
    order = given(ORDERS, CREATED, ADDED, RESERVED)
    assert order.when(RESERVED) == []
    assert [r.leg for r in order.row.reservations] == [Leg.DONE, Leg.DONE]
    with pytest.raises(Unexpected, match="InventoryReserved in RESERVED"):
        order.when(RESERVED)


def test_an_answer_that_names_its_lines_answers_for_them() -> None:
    """InventoryReserved with items is the answer to the reservation of those items, or of all."""
    order = given(ORDERS, CREATED, ADDED, InventoryReserved("o-1", MORE))
    assert [r.leg for r in order.row.reservations] == [Leg.ASKED, Leg.DONE]
    both = given(ORDERS, CREATED, ADDED, InventoryReserved("o-1", (*ITEMS, *MORE)))
    assert [r.leg for r in both.row.reservations] == [Leg.DONE, Leg.DONE]


@pytest.mark.parametrize("status", ["RESERVED", "PAID", "SHIPPED", "COMPLETED"])
def test_a_second_reservation_of_a_reserved_order_is_unexpected(status: str) -> None:
    """InventoryReserved with no reservation unanswered is illegal."""
    with pytest.raises(Unexpected, match="everything is reserved already"):
        given(ORDERS, *HISTORIES[status]).when(RESERVED)


def test_an_addition_out_of_stock_undoes_the_order() -> None:
    """RESERVED or PAID, InventoryShortage for an outstanding addition: undo, out_of_stock."""
    assert given(ORDERS, CREATED, ADDED, RESERVED).when(SHORTAGE) == [release("out_of_stock")]
    order = given(ORDERS, CREATED, ADDED, RESERVED, paid("120.00"))
    assert order.when(InventoryShortage("o-1", "SKU3")) == [refund("out_of_stock", "120.00"), release("out_of_stock")]


def test_a_shipped_order_that_lacks_an_addition_is_flagged() -> None:
    """SHIPPED, InventoryShortage for an addition: recorded, for people to look at."""
    order = given(ORDERS, CREATED, ADDED, RESERVED, paid("120.00"), SCHEDULED)
    assert order.when(SHORTAGE) == []
    assert (order.row.flagged, order.row.status) == (True, Status.SHIPPED)


def test_every_reservation_that_was_made_is_released_by_itself() -> None:
    """ReleaseInventory is per part, last part first, and each is answered."""
    order = given(ORDERS, CREATED, ADDED, RESERVED, RESERVED)
    assert order.when(DECLINED) == [release_more("payment_failed"), release("payment_failed")]
    assert order.when(RELEASED) == []
    assert order.when(RELEASED) == [cancelled("payment_failed")]


def test_the_same_order_again_is_a_duplicate() -> None:
    """OrderCreated for a known order, other event id: Repeated with the same content, unexpected with another."""
    order = given(ORDERS, *TO_PAID)
    assert isinstance(order.when(CREATED), Repeated)
    with pytest.raises(Unexpected, match="another order"):
        order.when(replace(CREATED, items=MORE))
    grown = given(ORDERS, CREATED, ADDED)
    assert isinstance(grown.when(CREATED), Repeated)


def test_an_order_for_nothing_is_paid_when_reserved() -> None:
    """Nothing is charged when nothing is missing."""
    order = given(ORDERS, replace(CREATED, total=paid("0").amount))
    assert order.when(RESERVED) == [CONFIRMED, SCHEDULE, mail("payment_confirmation")]


@pytest.mark.parametrize("status", ["UNKNOWN", *HISTORIES])
@pytest.mark.parametrize("own", [CONFIRMED, SHIPPED, COMPLETED, CANCELLED])
def test_own_facts_read_back_never_act(status: str, own: object) -> None:
    """The four order facts with source orderflow are ignored in any state."""
    order = given(ORDERS, *HISTORIES.get(status, ()))
    assert isinstance(own, type(CONFIRMED) | type(SHIPPED) | type(COMPLETED) | type(CANCELLED))
    assert isinstance(order.when(own, source=SOURCE), Ignored)


def test_an_order_service_that_announces_suppresses_our_copy_only() -> None:
    """OrderConfirmed, OrderShipped, OrderCompleted from outside: no status changes, and we say no second one."""
    order = given(ORDERS, *TO_RESERVED)
    assert [order.when(fact) for fact in (CONFIRMED, SHIPPED, COMPLETED)] == [[], [], []]
    assert order.row.status.value == "RESERVED"
    assert order.when(PAID) == [SCHEDULE, mail("payment_confirmation")]
    assert order.when(SCHEDULED) == [mail("tracking")]
    assert order.when(DELIVERED) == []
    assert order.row.status.value == "COMPLETED"
    assert isinstance(order.when(COMPLETED), Ignored)


def test_a_held_order_asks_for_additions_when_let_go() -> None:
    """Held while PENDING: the reservation of an addition waits as any next command does."""
    order = given(ORDERS, CREATED, HOLD)
    assert order.when(ADDED) == []
    assert order.when(LET_GO) == [RESERVE_MORE]


def test_the_row_remembers_sequence_flow_and_times() -> None:
    """The order's own sequence, not a payment's; the flow of OrderCreated; a time per step."""
    order = given(ORDERS)
    order.when(Envelope("e-1", NOON, CREATED, "flow-9", aggregate_id="o-1", sequence=4))
    order.when(Envelope("e-2", NOON + 1, RESERVED, "flow-8", aggregate_id="o-1", sequence=3))
    order.when(Envelope("e-3", NOON + 2, PAID, "flow-7", aggregate_id="p-1", sequence=70))
    order.when(Envelope("e-4", NOON + 3, SCHEDULED))
    order.when(Envelope("e-5", NOON + 4, DELIVERED))
    row = order.row
    assert (row.sequence, row.correlation_id) == (4, "flow-9")
    assert (row.created_at, row.reserved_at, row.paid_at, row.shipped_at, row.ended_at) == tuple(range(NOON, NOON + 5))


@pytest.mark.parametrize("again", [SCHEDULED, DELIVERED, RESERVED, DECLINED])
def test_an_answer_to_no_question_is_unexpected(again: object) -> None:
    """A completed order has no open question."""
    assert isinstance(again, type(SCHEDULED) | type(DELIVERED) | type(RESERVED) | type(DECLINED))
    with pytest.raises(Unexpected):
        given(ORDERS, *TO_COMPLETED).when(again)
