"""Small agents that show what the engine does to them."""

from dataclasses import replace

from agents.agent import Agent, Deadline, Decision, Parked
from schemas.inventory import InventoryReserved
from schemas.message import Due, Envelope, Event, Instant, Message
from schemas.notifications import NotificationRequested
from schemas.orders import ItemAdded, Line, OrderCancelled, OrderCreated, OrderShipped
from schemas.payments import PaymentFailed, PaymentProcessed
from schemas.shipping import ShipmentScheduled
from tables.table import Row, Table

MINUTE_MS = 60_000


class Diary(Row, frozen=True):
    """Everything that was heard, by id, and when the owner wants to be woken."""

    id: str = ""
    heard: tuple[str, ...] = ()
    wake_at: Instant | None = None
    customer_id: str = ""


def _remember(row: Diary, heard: Envelope[Message]) -> Diary:
    if isinstance(heard.payload, NotificationRequested):
        return row
    return Diary(row.id, (*row.heard, heard.event_id), row.wake_at, row.customer_id)


DIARIES = Table("diaries", row=Diary, key="order_id", partitions=6, evolve=_remember, initial=Diary)
HEARD: tuple[type[Event], ...] = (
    OrderCreated,
    ItemAdded,
    OrderShipped,
    OrderCancelled,
    PaymentProcessed,
    PaymentFailed,
    InventoryReserved,
    ShipmentScheduled,
)


def _silent(_row: Diary, _heard: Envelope[Message]) -> Decision:
    return []


DIARIST = Agent("diarist", hears=HEARD, table=DIARIES, decide=_silent)
"""Writes everything down, and says nothing."""


# --- Deadlines. ------------------------------------------------------------------------------------------------------


def _set_alarm(row: Diary, heard: Envelope[Message]) -> Diary:
    match heard.payload:
        case OrderCreated(customer_id=customer):
            return Diary(row.id, (*row.heard, heard.event_id), heard.at + MINUTE_MS, customer)
        case ItemAdded():
            return Diary(row.id, (*row.heard, heard.event_id), heard.at + MINUTE_MS, row.customer_id)
        case Due():
            return Diary(row.id, (*row.heard, "due"), None, row.customer_id)
    return row


def _ring(row: Diary, heard: Envelope[Message]) -> Decision:
    return [NotificationRequested(row.customer_id, row.id, "alarm")] if isinstance(heard.payload, Due) else []


SLEEPER = Agent(
    "sleeper",
    hears=(OrderCreated, ItemAdded, Due),
    table=Table("alarms", row=Diary, key="order_id", partitions=6, evolve=_set_alarm, initial=Diary),
    decide=_ring,
    says=(NotificationRequested,),
    due=lambda row: None if row.wake_at is None else Deadline(row.wake_at, "alarm"),
)
"""Rings a minute after OrderCreated; each ItemAdded postpones it to a minute after itself."""

ALONE = replace(SLEEPER, table=replace(SLEEPER.table, partitions=1))
"""The same with all its rows in one task."""


# --- Faults. ---------------------------------------------------------------------------------------------------------


def _stumble(_row: Diary, heard: Envelope[Message]) -> Decision:
    match heard.payload:
        case ItemAdded(sku="BUG", order_id=order):
            raise ZeroDivisionError(f"card 4111 1111 1111 1111 of {order}")
        case ItemAdded(sku="LONG"):
            return [NotificationRequested("c-1", "o-1", "short"), NotificationRequested("c-1", "o-1", "x" * 400)]
        case ItemAdded(sku="EARLY"):
            return Parked("never")
    return [NotificationRequested("c-1", heard.event_id, "fine")]


CLUMSY = Agent(
    "clumsy",
    hears=(OrderCreated, ItemAdded),
    table=replace(DIARIES, name="clumsy"),
    decide=_stumble,
    says=(NotificationRequested,),
)
"""Fails on some SKUs: BUG is a fault in its code, LONG makes an output too large, EARLY waits for ever."""

LINES = (Line("SKU1", 1),)
