"""Small worlds in which an order is lived in every way that there is: for the model checker, and for the state diagram of the docs."""

from collections.abc import Sequence
from decimal import Decimal
from functools import cache

from msgspec import Struct
from msgspec.structs import replace as put

from agents.agent import Agent
from agents.life import Walked, diagram, walk
from agents.orders.agent import saga
from agents.orders.timeouts import Timeouts
from schemas.fraud import FraudAlertRaised, HoldReleased
from schemas.inventory import InventoryReleased, InventoryReserved, InventoryShortage
from schemas.message import SOURCE, Envelope, Message
from schemas.orders import (
    ItemAdded,
    Line,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderCreated,
    OrderResolved,
    OrderShipped,
)
from schemas.payments import PaymentDisputed, PaymentFailed, PaymentProcessed, PaymentRefunded
from schemas.shipping import ShipmentCancelled, ShipmentDelivered, ShipmentFailed, ShipmentScheduled
from tables.orders import EXTRA, Order, Refund

O = "o-1"  # noqa: E741  # the one order of these worlds


def _paid(payment_id: str, amount: str, currency: str | None = None) -> PaymentProcessed:
    return PaymentProcessed(O, Decimal(amount), payment_id, currency=currency)


def _back(payment_id: str, amount: str, currency: str | None = None) -> PaymentRefunded:
    return PaymentRefunded(O, Decimal(amount), payment_id, currency)


CREATED = OrderCreated(O, "c-1", Decimal("100.00"), "USD", (Line("SKU1", 2),))
OTHER = put(CREATED, customer_id="c-2")
STOCK = (InventoryReserved(O), InventoryShortage(O), InventoryReleased(O))
SHIPPING = (ShipmentScheduled(O), ShipmentFailed(O), ShipmentCancelled(O), ShipmentDelivered(O))
CANCELLED = OrderCancelled(O, "changed my mind")
ANNOUNCED = (OrderConfirmed(O), OrderShipped(O), OrderCompleted(O))
FRAUD = (
    FraudAlertRaised("c-1", "r", order_id=O),
    FraudAlertRaised("c-1", "r", action="hold", order_id=O),
    FraudAlertRaised("c-1", "r", action="cancel", order_id=O),
    HoldReleased(O),
)
MOST_ADDED = 1


class World(Struct, frozen=True):
    """What may be heard there, any number of times and in any order; deadlines pass by themselves."""

    name: str
    messages: tuple[Message, ...]
    own: tuple[Message, ...] = ()
    """Heard with ourselves as the source."""
    tries: int = 1
    """Of each compensation: more tells little more, in a far larger graph."""

    @property
    def heard(self) -> Sequence[Envelope[Message]]:
        return [
            *(Envelope("heard", 0, message) for message in self.messages),
            *(Envelope("own", 0, message, source=SOURCE) for message in self.own),
        ]


PAID, BACK, FAILED = _paid("p-1", "100.00"), _back("p-1", "100.00"), PaymentFailed(O, "p-1")
YEN, YEN_BACK = _paid("p-2", "3000", "JPY"), _back("p-2", "3000", "JPY")
PLAIN = World(
    "one payment, fraud, and our own facts",
    (CREATED, OTHER, *STOCK, PAID, FAILED, BACK, PaymentDisputed(O, "p-1"), *SHIPPING, CANCELLED, *FRAUD),
    own=(*ANNOUNCED, CANCELLED),
    tries=2,
)
PIECES = World(
    "too little, too much, back in pieces",
    (
        CREATED, *STOCK, _paid("p-1", "120.00"), _paid("p-2", "40.00"), _back("p-1", "60.00"), _back("p-2", "40.00"), FAILED,
        *SHIPPING,
    ),
)  # fmt: skip
CURRENCIES = World(
    "money of another currency",
    (CREATED, *STOCK, PAID, BACK, YEN, YEN_BACK, *SHIPPING, CANCELLED),
)
PATIENCE = World(
    "extra money that nobody gives back",
    (CREATED, *STOCK, PAID, YEN, *SHIPPING, OrderResolved(O), OrderResolved(O, status="COMPLETED")),
    tries=2,
)
HELD = World(
    "held for so long that other waits run out",
    (CREATED, STOCK[0], PAID, YEN, FRAUD[1], FRAUD[3], OrderResolved(O)),
    tries=2,
)
ADDITIONS = World(
    "a line added before the stock answers, and a hold",
    (
        CREATED, ItemAdded(O, "SKU2", total=Decimal("20.00")), *STOCK, InventoryReserved(O, (Line("SKU2", 1),)), _paid("p-1", "120.00"),
        _back("p-1", "120.00"), *SHIPPING, CANCELLED, FRAUD[1], FRAUD[3],
    ),
)  # fmt: skip
PEOPLE = World(
    "people who end what is stuck",
    (CREATED, *STOCK, PAID, FAILED, BACK, *SHIPPING, CANCELLED, OrderResolved(O), OrderResolved(O, status="COMPLETED")),
)
ANNOUNCING = World(
    "an order service that says what we would say",
    (CREATED, *STOCK, PAID, FAILED, BACK, *SHIPPING, *ANNOUNCED),
)
WORLDS = (PLAIN, PIECES, CURRENCIES, PATIENCE, HELD, ADDITIONS, PEOPLE, ANNOUNCING)


@cache
def explore(world: World, *, most: int = 60_000) -> dict[Order, list[Walked[Order]]]:
    """Every row that this world can lead to, and what was acted upon there, once and for all. Raises ValueError beyond `most` rows."""
    orders: Agent[Order] = saga("orchestrated", Timeouts(compensation_tries=world.tries))[0]
    return walk(orders, orders.table.initial(O), world.heard, forget=_told, offered=_not_too_many, most=most)


def state_diagram() -> str:
    """The life of an order as a mermaid state diagram, drawn by living it."""
    graph = explore(PLAIN)
    return diagram(
        (row.status.value, _named(step.heard.payload), step.after.status.value)
        for row, steps in graph.items()
        for step in steps
        if step.after.status is not row.status
    )


def _named(message: Message) -> str:
    match message:
        case FraudAlertRaised(action=action):
            return f"FraudAlertRaised ({action})"
        case _:
            return str(getattr(message, "deadline", message.wire.name))


def _not_too_many(order: Order, message: Message) -> bool:
    return not isinstance(message, ItemAdded) or len(order.reservations) <= MOST_ADDED


def _told(order: Order) -> Order:
    """The row without what decides nothing: times (the number of tries tells which deadline is first) and reasons."""
    return put(
        order,
        since=0,
        created_at=None,
        shipped_at=None,
        undone_at=None,
        ended_at=None,
        reserved_at=None if order.reserved_at is None else 0,
        paid_at=None if order.paid_at is None else 0,
        held_at=None if order.held_at is None else 0,
        undone_for=order.undone_for and "undone",
        cancel_asked_for=order.cancel_asked_for and "cancelled",
        shipment=put(order.shipment, asked_at=0),
        reservations=tuple(put(r, asked_at=0) for r in order.reservations),
        payments=tuple(put(p, refunds=tuple(_without_reason(r) for r in p.refunds)) for p in order.payments),
    )


def _without_reason(refund: Refund) -> Refund:
    return put(refund, asked_at=0, reason=refund.reason if refund.reason in EXTRA else "undone")
