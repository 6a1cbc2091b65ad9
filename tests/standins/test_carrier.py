"""The stand-in carrier: one SKU is refused, the rest is delivered."""

from schemas.orders import CancelShipment, Line, ScheduleShipment
from schemas.shipping import ShipmentCancelled, ShipmentDelivered, ShipmentFailed, ShipmentScheduled

from .driver import Service, lines


def schedule(items: tuple[Line, ...]) -> ScheduleShipment:
    return ScheduleShipment("o-1", "c-1", items)


def test_an_order_is_scheduled_then_delivered() -> None:
    """Both facts answer the one command, in this order, and the first names the goods."""
    assert Service("carrier").hears(schedule(lines(A=1, B=2))) == [
        ShipmentScheduled("o-1", items=lines(A=1, B=2)),
        ShipmentDelivered("o-1"),
    ]


def test_an_order_with_noship_fails_as_a_whole() -> None:
    """One line that cannot be shipped keeps the others here."""
    assert Service("carrier").hears(schedule(lines(A=1, NOSHIP=1))) == [ShipmentFailed("o-1", "cannot ship NOSHIP")]


def test_asking_again_repeats_the_answer() -> None:
    """A repeat under another id is answered alike."""
    service = Service("carrier")
    assert service.hears(schedule(lines(A=1))) == service.hears(schedule(lines(A=1)))


def test_a_cancelled_shipment_is_confirmed() -> None:
    """The compensation is always answered, so that the order can end."""
    assert Service("carrier").hears(CancelShipment("o-1", "fraud")) == [ShipmentCancelled("o-1")]
