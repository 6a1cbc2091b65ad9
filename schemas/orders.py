"""What is said about an order: facts on `order.events`, wishes on `order.commands`."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Raw, Struct

from schemas.fields import MOST_LINES, Amount, Count, Currency, Id, MaybeId, Quantity, Text
from schemas.message import Command, Event, Invalid, Payload, Wire
from schemas.money import LARGEST_MINOR, check, minor, plausible


class Line(Struct, frozen=True):
    """So many pieces of one SKU."""

    sku: Id
    quantity: Quantity


Lines: TypeAlias = Annotated[tuple[Line, ...], Meta(max_length=MOST_LINES)]


def _v1_was_in_dollars(old: Payload) -> Payload:
    return old if "currency" in old else {**old, "currency": Raw(b'"USD"')}


class OrderCreated(Event, frozen=True, omit_defaults=True):
    """A customer ordered. The total is what is authorised, and need not be the sum of the lines."""

    wire = Wire("OrderCreated", version=2, lifts=(_v1_was_in_dollars,))

    order_id: Id
    customer_id: Id
    total: Amount
    currency: Currency
    items: Lines = ()

    def __post_init__(self) -> None:
        check(self.total, self.currency, "total")

    @property
    def total_minor(self) -> int:
        """Minor units of the order's currency."""
        return minor(self.total, self.currency, "total")


class ItemAdded(Event, frozen=True):
    """One more line of an order not yet reserved: `total` is the line's, `price` one piece's, in the order's currency."""

    wire = Wire("ItemAdded")

    order_id: Id
    sku: Id
    quantity: Quantity = 1
    total: Amount | None = None
    price: Amount | None = None

    def __post_init__(self) -> None:
        if self.total is None and self.price is None:
            raise Invalid("total", "neither a total nor a price")
        if self.total is not None:
            plausible(self.total, "total")
        if self.price is not None:
            plausible(self.price, "price")

    def amount_minor(self, currency: str) -> int:
        """Minor units by which the order's total grows. Raises Invalid."""
        if self.total is not None:
            return minor(self.total, currency, "total")
        if self.price is None:
            raise Invalid("total", "neither a total nor a price")
        grown = minor(self.price, currency, "price") * self.quantity
        if grown > LARGEST_MINOR:
            raise Invalid("price", "more than 10^15 minor units in all")
        return grown


class OrderConfirmed(Event, frozen=True):
    """Stock is reserved and the money is here."""

    wire = Wire("OrderConfirmed")

    order_id: Id


class OrderShipped(Event, frozen=True):
    """The carrier has it."""

    wire = Wire("OrderShipped")

    order_id: Id


class OrderCompleted(Event, frozen=True):
    """The customer has it."""

    wire = Wire("OrderCompleted")

    order_id: Id


class OrderCancelled(Event, frozen=True):
    """Ours: everything that was done is undone. Another service's: please undo."""

    wire = Wire("OrderCancelled")

    order_id: Id
    reason: Text = "cancelled"


class OrderResolved(Event, frozen=True):
    """A person ended a stuck order."""

    wire = Wire("OrderResolved")

    order_id: Id
    status: Literal["COMPLETED", "CANCELLED"] = "CANCELLED"
    by: Text = ""
    reason: Text = ""


class ReserveInventory(Command, frozen=True):
    """Set these lines aside; `part` 0 is the order as created, then one per ItemAdded."""

    wire = Wire("ReserveInventory", once_per=("order_id", "part"))

    order_id: Id
    items: Lines
    part: Count = 0


class ReleaseInventory(Command, frozen=True):
    """Put back what was set aside."""

    wire = Wire("ReleaseInventory", once_per=("order_id", "part"))

    order_id: Id
    items: Lines
    reason: Text
    part: Count = 0


class ProcessPayment(Command, frozen=True):
    """Take this much from the customer."""

    wire = Wire("ProcessPayment", once_per=("order_id",))

    order_id: Id
    customer_id: Id
    amount: Amount
    currency: Currency

    def __post_init__(self) -> None:
        check(self.amount, self.currency)


class RefundPayment(Command, frozen=True):
    """Give this much of a payment back."""

    wire = Wire("RefundPayment", once_per=("order_id", "payment_id", "part"))

    order_id: Id
    payment_id: MaybeId
    amount: Amount
    currency: Currency
    reason: Text
    part: Count = 0

    def __post_init__(self) -> None:
        check(self.amount, self.currency)


class ScheduleShipment(Command, frozen=True):
    """Send these lines to the customer."""

    wire = Wire("ScheduleShipment", once_per=("order_id",))

    order_id: Id
    customer_id: Id
    items: Lines


class CancelShipment(Command, frozen=True):
    """Stop the parcel, if it can still be stopped."""

    wire = Wire("CancelShipment", once_per=("order_id",))

    order_id: Id
    reason: Text
