"""How long an order waits for what, in event time; and which of its deadlines is now running."""

from msgspec import Struct

from agents.agent import MINUTE_MS, Deadline
from schemas.message import Instant
from tables.orders import Compensation, Leg, Order
from tables.orders import Status as S

HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Timeouts(Struct, frozen=True):
    """Settings. When one passes, the order is undone, asked about again, or left to people."""

    reservation_ms: int = 5 * MINUTE_MS
    """PENDING, and the stock does not answer."""
    payment_ms: int = 15 * MINUTE_MS
    """RESERVED, and not all of the money is there."""
    shipment_ms: int = DAY_MS
    """PAID, and shipping does not answer."""
    hold_ms: int = DAY_MS
    """Held, and nobody lets it go."""
    delivery_ms: int = 14 * DAY_MS
    """SHIPPED, and nobody hears of it: STUCK."""
    compensation_ms: int = 5 * MINUTE_MS
    """A compensation is unanswered; doubles with each try."""
    compensation_tries: int = 5
    """How often a compensation is commanded in all; unanswered after the last one's wait, it is STUCK."""


def due(order: Order, timeouts: Timeouts) -> Deadline | None:
    """The deadline that passes first. A hold stops the clock of the status, not that of compensations."""
    first = _of_status(order, timeouts)
    for compensation in order.compensations():
        if compensation.leg is Leg.UNDOING:
            last = compensation.tries >= timeouts.compensation_tries
            next_try = (next_try_at(compensation, timeouts), "stuck" if last else "compensation")
            first = next_try if first is None else min(first, next_try)
    return None if first is None else Deadline(*first, order.correlation_id)


def next_try_at(compensation: Compensation, timeouts: Timeouts) -> Instant:
    """When a compensation that is not answered by then is tried again, or given up."""
    return compensation.asked_at + (timeouts.compensation_ms << (compensation.tries - 1))


def _of_status(order: Order, timeouts: Timeouts) -> tuple[Instant, str] | None:
    if order.held_at is not None:
        return order.held_at + timeouts.hold_ms, "hold"
    match order.status:
        case S.PENDING:
            return order.since + timeouts.reservation_ms, "reservation"
        case S.RESERVED:
            return order.since + timeouts.payment_ms, "payment"
        case S.PAID:
            return order.since + timeouts.shipment_ms, "shipment"
        case S.SHIPPED if not order.overdue:
            return order.since + timeouts.delivery_ms, "delivery"
    return None
