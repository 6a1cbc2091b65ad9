"""Each law notices the row that breaks it, and lets its neighbour pass."""

import pytest
from msgspec.structs import replace

from tables.orders import Leg, Order, Payment, Refund, Reservation, Shipment, broken_laws
from tables.orders import Status as S

PAYMENT = Payment("p-1", "USD", 10_000)
BACK = replace(PAYMENT, refunded_minor=10_000, refunds=(Refund(10_000, "fraud", 10_000, Leg.UNDONE),))
GOOD = Order(
    id="o-1",
    status=S.COMPLETED,
    currency="USD",
    reservations=(Reservation((), 10_000, Leg.DONE),),
    payments=(PAYMENT,),
    shipment=Shipment(Leg.DONE),
    reserved_at=1,
    paid_at=2,
)
UNDONE = replace(
    GOOD, status=S.CANCELLED, cancelled=True, undone_for="fraud", payments=(BACK,), shipment=Shipment(Leg.UNDONE),
    reservations=(Reservation((), 10_000, Leg.UNDONE, 1),),
)  # fmt: skip


def test_good_orders_break_no_law() -> None:
    """A completed one, an undone one, and one never seen."""
    assert [broken_laws(order) for order in (GOOD, UNDONE, Order())] == [[], [], []]


@pytest.mark.parametrize(
    ("order", "law"),
    [
        (replace(GOOD, payments=(replace(PAYMENT, refunded_minor=10_001),)), "more is refunded than was captured"),
        (
            replace(GOOD, payments=(replace(PAYMENT, refunds=(Refund(1, "extra_payment", 10_001),)),)),
            "more is commanded back than was captured",
        ),
        (
            replace(GOOD, payments=(replace(PAYMENT, refunds=(Refund(9_999, "extra_payment", 9_999),) * 2),)),
            "two refunds answer to the same money",
        ),
        (replace(UNDONE, payments=(PAYMENT,)), "money stays with an order that is undone"),
        (
            replace(UNDONE, payments=(replace(BACK, refunded_minor=9_999),)),
            "something is kept of a cancelled order though its compensations are answered",
        ),
        (replace(UNDONE, shipment=Shipment(Leg.DONE)), "stock or a shipment stays with an order that is undone"),
        (replace(UNDONE, cancelled=False), "an order is cancelled that nobody announced"),
        (replace(UNDONE, status=S.COMPENSATING), "an order waits for compensations though all are answered"),
        (replace(GOOD, payments=(PAYMENT, replace(PAYMENT, id="p-2"))), "more is kept than was authorised"),
        (replace(GOOD, payments=(PAYMENT, Payment("p-2", "EUR", 1))), "money of another currency is kept"),
        (replace(GOOD, payments=(replace(PAYMENT, captured_minor=9_999),)), "shipped or completed unpaid"),
        (replace(GOOD, paid_at=None), "shipped or completed unpaid"),
        (replace(GOOD, reserved_at=None), "shipped without stock"),
        (
            replace(GOOD, payments=(replace(PAYMENT, refunds=(Refund(1, "fraud", 1),)),)),
            "a refund of a completed order is commanded that is not of extra money",
        ),
        (replace(GOOD, reservations=(Reservation((), 10_000, Leg.UNDOING, 1),)), "stock of an order that goes on is released"),
        (replace(GOOD, undone_for="fraud"), "both completed and undone"),
        (replace(GOOD, held_at=3), "an ended or undone order is held"),
    ],
)
def test_a_broken_law_is_named(order: Order, law: str) -> None:
    """By the law that it breaks first of all."""
    assert law in broken_laws(order)


def test_what_a_person_ended_may_be_unpaid() -> None:
    """OrderResolved overrules the laws of a regular end."""
    assert broken_laws(replace(GOOD, payments=(), paid_at=None, resolved_by="ann")) == []
