"""How messages change an order's row: first what was heard, then what was said because of it. Never refuses: it only remembers."""

from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec.structs import replace as put

from schemas.fraud import FraudAlertRaised, HoldReleased
from schemas.inventory import InventoryReleased, InventoryReserved, InventoryShortage
from schemas.message import SOURCE, Due, Envelope, Instant, Message
from schemas.money import minor
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
from tables.orders.row import ANSWERABLE, OPEN_QUESTION, UNANSWERED, Leg, Order, Payment, Refund, Reservation, Shipment
from tables.orders.row import Status as S

UNDONE_FOR_DEADLINE = {
    "reservation": "reservation_timeout",
    "payment": "payment_timeout",
    "shipment": "shipping_failed",
    "hold": "hold_timeout",
}
"""The deadlines that undo an order, and the reason that is then given."""

MAY_HOLD = frozenset((S.PENDING, S.RESERVED, S.PAID))


def evolve(order: Order, heard: Envelope[Message]) -> Order:
    """The row after this message. A type that is not in the list of folds leaves it as it is."""
    fold = _FOLDS.get(type(heard.payload))
    if fold is not None:
        order = fold(order, heard)
    if heard.sequence is not None and heard.aggregate_id == order.id and (order.sequence is None or heard.sequence > order.sequence):
        order = put(order, sequence=heard.sequence)
    return order


# --- Moving on, and turning back. ----------------------------------------------------------------------------------


def _paid_if_covered(order: Order, at: Instant) -> Order:
    """RESERVED is over as soon as what stays covers the total."""
    if order.status is not S.RESERVED or order.staying_minor < order.total_minor:
        return order
    return put(order, status=S.PAID, paid_at=at, since=max(order.since, at))


def _undone(order: Order, why: str, at: Instant) -> Order:
    """From here on it is being undone; CANCELLED only when an OrderCancelled is out and nothing is left to undo."""
    return _settled(put(order, status=S.COMPENSATING, undone_for=why, undone_at=at, held_at=None), at)


def _settled(order: Order, at: Instant) -> Order:
    if order.status is S.COMPENSATING and order.cancelled and not order.undoable:
        return put(order, status=S.CANCELLED, ended_at=at)
    return order


# --- Orders. -------------------------------------------------------------------------------------------------------


def _created(order: Order, heard: Envelope[OrderCreated]) -> Order:
    e = heard.payload
    return put(
        order,
        id=e.order_id,
        status=S.PENDING,
        customer_id=e.customer_id,
        currency=e.currency,
        correlation_id=heard.correlation_id,
        reservations=(Reservation(e.items, e.total_minor),),
        created_at=heard.at,
        since=heard.at,
    )


def _item_added(order: Order, heard: Envelope[ItemAdded]) -> Order:
    e = heard.payload
    added = Reservation((Line(e.sku, e.quantity),), e.amount_minor(order.currency))
    return put(order, reservations=(*order.reservations, added))


def _confirmed(order: Order, _: Envelope[OrderConfirmed]) -> Order:
    return put(order, confirmed=True)


def _shipped(order: Order, _: Envelope[OrderShipped]) -> Order:
    return put(order, shipped=True)


def _completed(order: Order, _: Envelope[OrderCompleted]) -> Order:
    return put(order, completed=True)


def _cancelled(order: Order, heard: Envelope[OrderCancelled]) -> Order:
    """Ours says that everything is undone; another's asks for it. What is with the carrier asks the carrier first."""
    order = put(order, cancelled=True)
    if heard.source == SOURCE:
        return put(order, status=S.CANCELLED, ended_at=heard.at)
    why = heard.payload.reason or "cancelled"
    if order.status is S.SHIPPED:
        return put(order, cancel_asked_for=why)
    return _undone(order, why, heard.at) if order.status in MAY_HOLD else _settled(order, heard.at)


def _resolved(order: Order, heard: Envelope[OrderResolved]) -> Order:
    """Ended as a person says, unless it had ended already; nobody is asked again for what was not answered."""
    e, at = heard.payload, heard.at
    shipment = order.shipment
    order = put(
        order,
        resolved_by=e.by,
        overdue=False,
        held_at=None,
        shipment=put(shipment, leg=Leg.SETTLED) if shipment.leg in UNANSWERED else shipment,
        reservations=tuple(put(r, leg=Leg.SETTLED) if r.leg in UNANSWERED else r for r in order.reservations),
        payments=tuple(
            put(p, refunds=tuple(put(r, leg=Leg.SETTLED) if r.leg in UNANSWERED else r for r in p.refunds)) for p in order.payments
        ),
    )
    if order.status in {S.COMPLETED, S.CANCELLED}:
        return order
    if e.status == "COMPLETED":
        return put(order, status=S.COMPLETED, ended_at=at)
    why = order.undone_for or order.cancel_asked_for or e.reason or "resolved"
    return put(order, status=S.CANCELLED, undone_for=why, undone_at=at if order.undone_at is None else order.undone_at, ended_at=at)


# --- Stock. --------------------------------------------------------------------------------------------------------


def _reserve(order: Order, heard: Envelope[ReserveInventory]) -> Order:
    return _reservation(order, heard.payload.part, Leg.ASKED)


def _reserved(order: Order, heard: Envelope[InventoryReserved]) -> Order:
    reservations, at = order.reservations, heard.at
    for part in order.answering(heard.payload.items, OPEN_QUESTION):
        reservations = _at(reservations, part, put(reservations[part], leg=Leg.DONE))
    if order.status is not S.PENDING:
        return put(order, reservations=reservations)
    since = max(order.since, at)
    return _paid_if_covered(put(order, reservations=reservations, status=S.RESERVED, reserved_at=at, since=since), at)


def _shortage(order: Order, heard: Envelope[InventoryShortage]) -> Order:
    sku = heard.payload.sku
    asked = [i for i, reservation in enumerate(order.reservations) if reservation.leg in OPEN_QUESTION]
    told = [i for i in asked if any(line.sku == sku for line in order.reservations[i].items)]
    for part in (told or asked)[:1]:
        order = _reservation(order, part, Leg.REFUSED)
    return _undone(order, "out_of_stock", heard.at) if order.status in MAY_HOLD else put(order, short=True)


def _release(order: Order, heard: Envelope[ReleaseInventory]) -> Order:
    part = heard.payload.part
    old = order.reservations[part]
    asked = put(old, leg=Leg.UNDOING, tries=old.tries + 1, asked_at=heard.at)
    return put(order, reservations=_at(order.reservations, part, asked))


def _released(order: Order, heard: Envelope[InventoryReleased]) -> Order:
    for part in order.answering(heard.payload.items, UNANSWERED) or order.answering(heard.payload.items, ANSWERABLE):
        order = _reservation(order, part, Leg.UNDONE)
    return _settled(order, heard.at)


def _reservation(order: Order, part: int, leg: Leg) -> Order:
    return put(order, reservations=_at(order.reservations, part, put(order.reservations[part], leg=leg)))


# --- Money. --------------------------------------------------------------------------------------------------------


def _process(order: Order, _: Envelope[ProcessPayment]) -> Order:
    return put(order, payment_asked=True)


def _processed(order: Order, heard: Envelope[PaymentProcessed]) -> Order:
    e = heard.payload
    payment = Payment(e.payment_id, e.currency or order.currency, e.amount_minor(order.currency))
    return _paid_if_covered(put(order, payments=(*order.payments, payment)), heard.at)


def _failed(order: Order, heard: Envelope[PaymentFailed]) -> Order:
    return _undone(put(order, declined=heard.payload.payment_id), "payment_failed", heard.at)


def _refund(order: Order, heard: Envelope[RefundPayment]) -> Order:
    e = heard.payload
    i = next(i for i, payment in enumerate(order.payments) if payment.id == e.payment_id)
    payment = order.payments[i]
    if e.part < len(payment.refunds):
        old = payment.refunds[e.part]
        refunds = _at(payment.refunds, e.part, put(old, tries=old.tries + 1, asked_at=heard.at))
    else:
        amount_minor = minor(e.amount, e.currency)
        refunds = (*payment.refunds, Refund(amount_minor, e.reason, payment.returning_minor + amount_minor, asked_at=heard.at))
    return put(order, payments=_at(order.payments, i, put(payment, refunds=refunds)))


def _refunded(order: Order, heard: Envelope[PaymentRefunded]) -> Order:
    i = order.refundable(heard.payload)
    if i is None:
        return order
    payment = order.payments[i]
    refunded_minor = payment.refunded_minor + heard.payload.amount_minor(payment.currency)
    refunds = tuple(
        put(refund, leg=Leg.UNDONE) if refund.leg is not Leg.UNDONE and refund.through_minor <= refunded_minor else refund
        for refund in payment.refunds
    )
    order = put(order, payments=_at(order.payments, i, put(payment, refunded_minor=refunded_minor, refunds=refunds)))
    if order.status is S.PAID and order.kept.get(order.currency) == 0 < order.total_minor:  # what cost nothing was never paid for
        return _undone(order, "payment_refunded", heard.at)
    return _settled(order, heard.at)


def _disputed(order: Order, heard: Envelope[PaymentDisputed]) -> Order:
    held_at = heard.at if order.status is S.PAID and order.held_at is None else order.held_at
    return put(order, disputed=(*order.disputed, heard.payload.payment_id), held_at=held_at)


# --- Shipping. -----------------------------------------------------------------------------------------------------


def _schedule(order: Order, _: Envelope[ScheduleShipment]) -> Order:
    return put(order, shipment=Shipment(Leg.ASKED))


def _scheduled(order: Order, heard: Envelope[ShipmentScheduled]) -> Order:
    order = put(order, shipment=Shipment(Leg.DONE))
    if order.status is not S.PAID:
        return order
    return put(order, status=S.SHIPPED, shipped_at=heard.at, since=max(order.since, heard.at), held_at=None)


def _not_shipped(order: Order, heard: Envelope[ShipmentFailed]) -> Order:
    return _undone(put(order, shipment=Shipment(Leg.REFUSED)), "shipping_failed", heard.at)


def _stop(order: Order, heard: Envelope[CancelShipment]) -> Order:
    return put(order, shipment=Shipment(Leg.UNDOING, order.shipment.tries + 1, heard.at))


def _stopped(order: Order, heard: Envelope[ShipmentCancelled]) -> Order:
    order = put(order, shipment=put(order.shipment, leg=Leg.UNDONE))
    return _undone(order, order.cancel_asked_for, heard.at) if order.status is S.SHIPPED else _settled(order, heard.at)


def _delivered(order: Order, heard: Envelope[ShipmentDelivered]) -> Order:
    if order.status is not S.SHIPPED:
        return put(order, goods_out=True)
    refused = bool(order.cancel_asked_for)
    return put(order, status=S.COMPLETED, ended_at=heard.at, shipment=Shipment(Leg.DONE), cancel_refused=refused, overdue=False)


# --- Fraud, holds, deadlines. --------------------------------------------------------------------------------------


def _alerted(order: Order, heard: Envelope[FraudAlertRaised]) -> Order:
    return _undone(order, "fraud", heard.at) if heard.payload.action == "cancel" else put(order, held_at=heard.at)


def _let_go(order: Order, heard: Envelope[HoldReleased]) -> Order:
    return put(order, held_at=None, since=max(order.since, heard.at))


def _due(order: Order, heard: Envelope[Due]) -> Order:
    deadline = heard.payload.deadline
    if deadline in UNDONE_FOR_DEADLINE:
        return _undone(order, UNDONE_FOR_DEADLINE[deadline], heard.at)
    if deadline == "delivery":
        return put(order, overdue=True)
    if deadline == "stuck":
        return _given_up(order)
    return order  # "compensation": the repeated command tells


def _given_up(order: Order) -> Order:
    """The compensations that were tried most often are not tried again."""
    waiting = [compensation for compensation in order.compensations() if compensation.leg is Leg.UNDOING]
    most = max((compensation.tries for compensation in waiting), default=0)
    worn = [compensation for compensation in waiting if compensation.tries == most]
    shipment = order.shipment
    return put(
        order,
        shipment=put(shipment, leg=Leg.STUCK) if shipment in worn else shipment,
        reservations=tuple(put(r, leg=Leg.STUCK) if r in worn else r for r in order.reservations),
        payments=tuple(put(p, refunds=tuple(put(r, leg=Leg.STUCK) if r in worn else r for r in p.refunds)) for p in order.payments),
    )


Fold: TypeAlias = Callable[[Order, Envelope[Any]], Order]

_FOLDS: dict[type[Message], Fold] = {
    OrderCreated: _created,
    ItemAdded: _item_added,
    OrderConfirmed: _confirmed,
    OrderShipped: _shipped,
    OrderCompleted: _completed,
    OrderCancelled: _cancelled,
    OrderResolved: _resolved,
    ReserveInventory: _reserve,
    InventoryReserved: _reserved,
    InventoryShortage: _shortage,
    ReleaseInventory: _release,
    InventoryReleased: _released,
    ProcessPayment: _process,
    PaymentProcessed: _processed,
    PaymentFailed: _failed,
    RefundPayment: _refund,
    PaymentRefunded: _refunded,
    PaymentDisputed: _disputed,
    ScheduleShipment: _schedule,
    ShipmentScheduled: _scheduled,
    ShipmentFailed: _not_shipped,
    CancelShipment: _stop,
    ShipmentCancelled: _stopped,
    ShipmentDelivered: _delivered,
    FraudAlertRaised: _alerted,
    HoldReleased: _let_go,
    Due: _due,
}


def _at(them: tuple[Any, ...], position: int, new: object) -> tuple[Any, ...]:
    return (new,) if len(them) == 1 else (*them[:position], new, *them[position + 1 :])
