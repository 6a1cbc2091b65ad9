"""The conditions under which a line of an order's life holds: of the row before the message, and the message."""

from agents.life import Guard
from agents.orders.timeouts import Timeouts, due
from schemas.fraud import FraudAlertRaised
from schemas.inventory import InventoryReleased
from schemas.message import SOURCE, Due, Envelope, Message
from schemas.orders import OrderCreated
from schemas.payments import PaymentDisputed, PaymentFailed, PaymentProcessed, PaymentRefunded
from tables.orders import ANSWERABLE, OPEN_QUESTION, UNANSWERED, Leg, Order


def ours(_: Order, heard: Envelope[Message]) -> bool:
    return heard.source == SOURCE


# --- Orders. -------------------------------------------------------------------------------------------------------


def same_order(order: Order, heard: Envelope[OrderCreated]) -> bool:
    e, first = heard.payload, order.reservations[0]
    told = (e.customer_id, e.currency, e.items, e.total_minor)
    return told == (order.customer_id, order.currency, first.items, first.amount_minor)


def no_cancellation_out(order: Order, _: Envelope[Message]) -> bool:
    return not order.cancelled


def unconfirmed(order: Order, _: Envelope[Message]) -> bool:
    return not order.confirmed


def shipping_unannounced(order: Order, _: Envelope[Message]) -> bool:
    return not order.shipped


def completion_unannounced(order: Order, _: Envelope[Message]) -> bool:
    return not order.completed


def stuck(order: Order, _: Envelope[Message]) -> bool:
    return order.stuck


# --- Stock. --------------------------------------------------------------------------------------------------------


def reservation_unanswered(order: Order, _: Envelope[Message]) -> bool:
    return any(reservation.leg in {Leg.IDLE, Leg.ASKED} for reservation in order.reservations)


def not_reserved(order: Order, _: Envelope[Message]) -> bool:
    return any(reservation.leg in OPEN_QUESTION for reservation in order.reservations)


def release_asked(order: Order, _: Envelope[InventoryReleased]) -> bool:
    return any(reservation.leg in ANSWERABLE for reservation in order.reservations)


def release_answered(order: Order, _: Envelope[Message]) -> bool:
    return any(reservation.leg is Leg.UNDONE for reservation in order.reservations)


# --- Money. --------------------------------------------------------------------------------------------------------


def seen_payment(order: Order, heard: Envelope[PaymentProcessed]) -> bool:
    return bool(order.payments) and any(payment.id == heard.payload.payment_id for payment in order.payments)


def seen_failure(order: Order, heard: Envelope[PaymentFailed]) -> bool:
    return order.declined == heard.payload.payment_id


def seen_dispute(order: Order, heard: Envelope[PaymentDisputed]) -> bool:
    return heard.payload.payment_id in order.disputed


def was_captured(order: Order, heard: Envelope[PaymentRefunded]) -> bool:
    """Some payment still has as much as is refunded."""
    return order.refundable(heard.payload) is not None


# --- Shipping. -----------------------------------------------------------------------------------------------------


def not_shipped(order: Order, _: Envelope[Message]) -> bool:
    return order.shipment.leg in OPEN_QUESTION


def stop_unanswered(order: Order, _: Envelope[Message]) -> bool:
    return order.shipment.leg in UNANSWERED


def stop_asked(order: Order, _: Envelope[Message]) -> bool:
    return order.shipment.leg in ANSWERABLE


def stop_answered(order: Order, _: Envelope[Message]) -> bool:
    return order.shipment.leg is Leg.UNDONE


def goods_in(order: Order, _: Envelope[Message]) -> bool:
    return not order.goods_out


# --- Fraud and deadlines. ------------------------------------------------------------------------------------------


def only_informs(_: Order, heard: Envelope[FraudAlertRaised]) -> bool:
    return heard.payload.action == "alert" or not heard.payload.order_id


def held_already(order: Order, heard: Envelope[FraudAlertRaised]) -> bool:
    return order.held and heard.payload.action == "hold"


def held(order: Order, _: Envelope[Message]) -> bool:
    return order.held


def no_longer_runs(timeouts: Timeouts) -> Guard[Order, Due]:
    def no_longer_runs(order: Order, heard: Envelope[Due]) -> bool:
        running = due(order, timeouts)
        return running is None or running.name != heard.payload.deadline or running.at > heard.at

    return no_longer_runs


def named(deadline: str) -> Guard[Order, Due]:
    def named(_: Order, heard: Envelope[Due]) -> bool:
        return heard.payload.deadline == deadline

    return named
