"""The three steps of an order, each beside its compensation, and what is said when it moves on, turns back, or ends."""

from collections.abc import Iterator

from agents.agent import Says
from agents.life import Effect
from agents.orders.timeouts import Timeouts, next_try_at
from schemas.fields import MOST_LINES
from schemas.fraud import FraudAlertRaised
from schemas.message import Due, Envelope, Invalid, Message
from schemas.money import LARGEST_MINOR, major
from schemas.notifications import NotificationRequested
from schemas.orders import (
    CancelShipment,
    ItemAdded,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderResolved,
    OrderShipped,
    ProcessPayment,
    RefundPayment,
    ReleaseInventory,
    ReserveInventory,
    ScheduleShipment,
)
from tables.orders import Compensation, Leg, Order, Payment, Refund
from tables.orders import Status as S

# --- Stock. --------------------------------------------------------------------------------------------------------


def reserve(order: Order) -> list[Message]:
    return [ReserveInventory(order.id, r.items, part) for part, r in enumerate(order.reservations) if r.leg is Leg.IDLE]


def release(order: Order, part: int) -> ReleaseInventory:
    return ReleaseInventory(order.id, order.reservations[part].items, _why(order), part)


# --- Money. --------------------------------------------------------------------------------------------------------


def charge(order: Order) -> ProcessPayment:
    """What is not there yet: money that came before the goods is not asked for again."""
    missing_minor = order.total_minor - order.staying_minor
    return ProcessPayment(order.id, order.customer_id, major(missing_minor, order.currency), order.currency)


def refund(order: Order, payment: Payment, amount_minor: int, reason: str) -> RefundPayment:
    """The payment's next part: two refunds of one payment are two commands."""
    part = len(payment.refunds)
    return RefundPayment(order.id, payment.id, major(amount_minor, payment.currency), payment.currency, reason, part)


def refund_again(order: Order, payment: Payment, part: int) -> RefundPayment:
    """The same command, word for word."""
    old = payment.refunds[part]
    return RefundPayment(order.id, payment.id, major(old.amount_minor, payment.currency), payment.currency, old.reason, part)


# --- Shipping. -----------------------------------------------------------------------------------------------------


def schedule(order: Order) -> ScheduleShipment:
    return ScheduleShipment(order.id, order.customer_id, order.items)


def cancel(order: Order) -> CancelShipment:
    return CancelShipment(order.id, _why(order))


# --- Moving on. ----------------------------------------------------------------------------------------------------


def ask_next(order: Order, _: Envelope[Message]) -> Says:
    """The commands that the status calls for and that have not been given, unless the order is held."""
    if order.held:
        return []
    status, said = order.status, reserve(order)
    if status is S.RESERVED and not order.payment_asked:
        said.append(charge(order))
    elif status is S.PAID and order.shipment.leg is Leg.IDLE:
        said.append(schedule(order))
    return said


def add(order: Order, heard: Envelope[ItemAdded]) -> Says:
    """Reserves the addition. Raises Invalid where order and addition together pass a limit that each keeps."""
    if order.total_minor > LARGEST_MINOR:
        raise Invalid("total", "the order's total is more than 10^15 minor units")
    if len(order.items) > MOST_LINES:
        raise Invalid("sku", f"the order has more than {MOST_LINES} lines")
    return ask_next(order, heard)


def confirm(order: Order, _: Envelope[Message]) -> Says:
    """Both the goods and the money are there, whichever came last."""
    return [OrderConfirmed(order.id)] if order.status is S.PAID and not order.confirmed else []


def receipt(order: Order, _: Envelope[Message]) -> Says:
    return [NotificationRequested(order.customer_id, order.id, "payment_confirmation")] if order.status is S.PAID else []


def ship(order: Order, _: Envelope[Message]) -> Says:
    return [] if order.shipped else [OrderShipped(order.id)]


def complete(order: Order, _: Envelope[Message]) -> Says:
    return [] if order.completed else [OrderCompleted(order.id)]


def notify(template: str) -> Effect[Order, Message]:
    def notify(order: Order, _: Envelope[Message]) -> Says:
        return [NotificationRequested(order.customer_id, order.id, template)]

    return notify


def note(_order: Order, _: Envelope[Message]) -> Says:
    """Remembered in the row; nothing is said."""
    return []


def refund_extra(order: Order, _: Envelope[Message]) -> Says:
    """Money of another currency, and what payments, in the order in which they came, bring beyond the total.

    The total may grow while PENDING, so that only another currency is certainly extra then.
    """
    said = []
    missing_minor = order.total_minor
    for payment in order.payments:
        if payment.currency != order.currency:
            if payment.staying_minor:
                said.append(refund(order, payment, payment.staying_minor, "other_currency"))
        elif order.status is not S.PENDING:
            extra_minor = max(0, payment.staying_minor - missing_minor)
            missing_minor -= payment.staying_minor - extra_minor
            if extra_minor:
                said.append(refund(order, payment, extra_minor, "extra_payment"))
    return said


# --- Turning back. -------------------------------------------------------------------------------------------------


def undo(order: Order, _: Envelope[Message]) -> Says:
    """The compensations of what was done and is not yet undone, last step first; with nothing to undo, the end at once."""
    if not order.undone_for:
        return []  # a refund that left some of the money: the order goes on
    return [*_compensations(order)] or _end(order)


def cancel_shipment(order: Order, _: Envelope[Message]) -> Says:
    """Alone: what the carrier has decides the rest."""
    return [cancel(order)]


def hold_or_undo(order: Order, heard: Envelope[FraudAlertRaised]) -> Says:
    return undo(order, heard) if heard.payload.action == "cancel" else []


def finish(order: Order, _: Envelope[Message]) -> Says:
    """OrderCancelled, when the last compensation is answered."""
    return _end(order)


def resolve(order: Order, heard: Envelope[OrderResolved]) -> Says:
    """The end that a person chose, and the compensation of what an order that ends CANCELLED still has."""
    if order.status is S.COMPLETED:
        return complete(order, heard)
    ended = [] if order.cancelled else [OrderCancelled(order.id, _why(order))]
    return [*_compensations(order), *ended]


def ask_again(timeouts: Timeouts) -> Effect[Order, Due]:
    def ask_again(order: Order, heard: Envelope[Due]) -> Says:
        """The compensations whose answers are due, under the ids that they had."""

        def is_due(it: Compensation) -> bool:
            waited = it.leg is Leg.UNDOING and it.tries < timeouts.compensation_tries
            return waited and next_try_at(it, timeouts) <= heard.at

        return [
            *([cancel(order)] if is_due(order.shipment) else []),
            *(refund_again(order, p, part) for p, part, r in _refunds(order) if is_due(r)),
            *(release(order, part) for part, r in reversed([*enumerate(order.reservations)]) if is_due(r)),
        ]

    return ask_again


def _compensations(order: Order) -> Iterator[Message]:
    if order.shipment.leg is Leg.DONE:
        yield cancel(order)
    for payment in reversed(order.payments):
        if payment.staying_minor:
            yield refund(order, payment, payment.staying_minor, _why(order))
    for part, reservation in reversed([*enumerate(order.reservations)]):
        if reservation.leg is Leg.DONE:
            yield release(order, part)


def _refunds(order: Order) -> Iterator[tuple[Payment, int, Refund]]:
    for payment in reversed(order.payments):
        for part, each in enumerate(payment.refunds):
            yield payment, part, each


def _end(order: Order) -> Says:
    over = order.status is S.COMPENSATING and not order.undoable
    return [OrderCancelled(order.id, order.undone_for)] if over else []


def _why(order: Order) -> str:
    return order.undone_for or order.cancel_asked_for
