"""Messages that specifications speak of by name."""

from decimal import Decimal

from schemas.fraud import FraudAlertRaised, HoldReleased
from schemas.inventory import InventoryReleased, InventoryReserved, InventoryShortage
from schemas.notifications import NotificationRequested
from schemas.orders import (
    CancelShipment,
    ItemAdded,
    Line,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderResolved,
    OrderShipped,
    ProcessPayment,
    RefundPayment,
    ReleaseInventory,
    ReserveInventory,
    ScheduleShipment,
)
from schemas.payments import PaymentDisputed, PaymentFailed, PaymentProcessed, PaymentRefunded
from schemas.shipping import ShipmentCancelled, ShipmentDelivered, ShipmentFailed, ShipmentScheduled

ITEMS = (Line("SKU1", 2), Line("SKU2", 1))
MORE = (Line("SKU3", 1),)
TOTAL = Decimal("100.00")

CREATED = OrderCreated("o-1", "c-1", TOTAL, "USD", ITEMS)
ADDED = ItemAdded("o-1", "SKU3", total=Decimal("20.00"))
CANCELLED = OrderCancelled("o-1", "changed my mind")
CONFIRMED, SHIPPED, COMPLETED = OrderConfirmed("o-1"), OrderShipped("o-1"), OrderCompleted("o-1")
RESOLVED = OrderResolved("o-1", by="ann", reason="lost")
RESOLVED_WELL = OrderResolved("o-1", status="COMPLETED", by="ann")

RESERVED, SHORTAGE, RELEASED = InventoryReserved("o-1"), InventoryShortage("o-1"), InventoryReleased("o-1")
DECLINED, DISPUTED = PaymentFailed("o-1", "p-1"), PaymentDisputed("o-1", "p-1")
SCHEDULED, NOT_SHIPPED = ShipmentScheduled("o-1"), ShipmentFailed("o-1")
STOPPED, DELIVERED = ShipmentCancelled("o-1"), ShipmentDelivered("o-1")

ALERT = FraudAlertRaised("c-1", "rule", order_id="o-1")
HOLD = FraudAlertRaised("c-1", "rule", action="hold", order_id="o-1")
FRAUD = FraudAlertRaised("c-1", "rule", action="cancel", order_id="o-1")
LET_GO = HoldReleased("o-1")


def paid(amount: str = "100.00", payment_id: str = "p-1", currency: str | None = None) -> PaymentProcessed:
    return PaymentProcessed("o-1", Decimal(amount), payment_id, currency=currency)


def refunded(amount: str = "100.00", payment_id: str = "p-1", currency: str | None = None) -> PaymentRefunded:
    return PaymentRefunded("o-1", Decimal(amount), payment_id, currency)


PAID, REFUNDED = paid(), refunded()

RESERVE, RESERVE_MORE = ReserveInventory("o-1", ITEMS), ReserveInventory("o-1", MORE, 1)
SCHEDULE = ScheduleShipment("o-1", "c-1", ITEMS)


def charge(amount: str = "100.00") -> ProcessPayment:
    return ProcessPayment("o-1", "c-1", Decimal(amount), "USD")


def refund(reason: str, amount: str = "100.00", payment_id: str = "p-1", currency: str = "USD", part: int = 0) -> RefundPayment:
    return RefundPayment("o-1", payment_id, Decimal(amount), currency, reason, part)


def release(reason: str) -> ReleaseInventory:
    return ReleaseInventory("o-1", ITEMS, reason)


def release_more(reason: str) -> ReleaseInventory:
    return ReleaseInventory("o-1", MORE, reason, 1)


def stop(reason: str) -> CancelShipment:
    return CancelShipment("o-1", reason)


def cancelled(reason: str) -> OrderCancelled:
    return OrderCancelled("o-1", reason)


def mail(template: str) -> NotificationRequested:
    return NotificationRequested("c-1", "o-1", template)


TO_PENDING = (CREATED,)
TO_RESERVED = (*TO_PENDING, RESERVED)
TO_PAID = (*TO_RESERVED, PAID)
TO_SHIPPED = (*TO_PAID, SCHEDULED)
TO_COMPLETED = (*TO_SHIPPED, DELIVERED)
TO_COMPENSATING = (*TO_RESERVED, DECLINED)
TO_CANCELLED = (*TO_COMPENSATING, RELEASED)
HISTORIES = {
    "PENDING": TO_PENDING,
    "RESERVED": TO_RESERVED,
    "PAID": TO_PAID,
    "SHIPPED": TO_SHIPPED,
    "COMPLETED": TO_COMPLETED,
    "COMPENSATING": TO_COMPENSATING,
    "CANCELLED": TO_CANCELLED,
}
