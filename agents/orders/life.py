"""The life of an order, as domain.md section 3 tells it. The first line that holds for (status, message) says what follows."""

from agents.life import Life, ignore, on, park, refuse, repeat
from agents.orders import guards as g
from agents.orders.steps import (
    add,
    ask_again,
    ask_next,
    cancel_shipment,
    complete,
    confirm,
    finish,
    hold_or_undo,
    note,
    notify,
    receipt,
    refund_extra,
    resolve,
    ship,
    undo,
)
from agents.orders.timeouts import Timeouts
from schemas.fraud import FraudAlertRaised, HoldReleased
from schemas.inventory import InventoryReleased, InventoryReserved, InventoryShortage
from schemas.message import Due
from schemas.orders import ItemAdded, OrderCancelled, OrderCompleted, OrderConfirmed, OrderCreated, OrderResolved, OrderShipped
from schemas.payments import PaymentDisputed, PaymentFailed, PaymentProcessed, PaymentRefunded
from schemas.shipping import ShipmentCancelled, ShipmentDelivered, ShipmentFailed, ShipmentScheduled
from schemas.topics import INVENTORY_EVENTS, PAYMENT_EVENTS, SHIPPING_EVENTS
from tables.orders import ORDERS, Order
from tables.orders import Status as S  # the table is read by its states

ALL = tuple(S)
OPEN = (S.PENDING, S.RESERVED, S.PAID)  # may be held, and undone without asking the carrier
GOING = (*OPEN, S.SHIPPED)
RUN = (*GOING, S.COMPLETED)
UNDONE = (S.COMPENSATING, S.CANCELLED)
KNOWN = (*RUN, *UNDONE)
FROM_RESERVED = (S.RESERVED, S.PAID, S.SHIPPED, S.COMPLETED)
FROM_PAID = FROM_RESERVED[1:]

OWN = (OrderConfirmed, OrderShipped, OrderCompleted, OrderCancelled)
FROM_SERVICES = (*PAYMENT_EVENTS.carries, *INVENTORY_EVENTS.carries, *SHIPPING_EVENTS.carries)


def life(timeouts: Timeouts) -> Life[Order]:
    """The table, with its deadlines as set. `Life` refuses it if any pair of status and message has no line."""
    stale = g.no_longer_runs(timeouts)
    # fmt: off
    lines = (
        # in                       on                  follows

        # Orders.
        ignore(ALL,                *OWN,               when=g.ours,                   because="our own fact, read back"),
        park(S.UNKNOWN,            *OWN, ItemAdded, OrderResolved,                    until="the order is known"),
        on(S.UNKNOWN,              OrderCreated,       ask_next, notify("order_confirmation")),
        repeat(KNOWN,              OrderCreated,       when=g.same_order,             because="the same order again"),
        refuse(KNOWN,              OrderCreated,                                      because="another order under the same id"),
        on(S.PENDING,              ItemAdded,          add),
        refuse((*FROM_RESERVED, *UNDONE), ItemAdded,                                  because="the order is past taking more lines"),
        on((S.PENDING, S.RESERVED), OrderConfirmed,    note,                          when=g.unconfirmed),
        on(OPEN,                   OrderShipped,       note,                          when=g.shipping_unannounced),
        on(GOING,                  OrderCompleted,     note,                          when=g.completion_unannounced),
        ignore(KNOWN,              OrderConfirmed, OrderShipped, OrderCompleted,      because="no status follows, and no copy is due"),

        # Stock.
        park(S.UNKNOWN,            *INVENTORY_EVENTS.carries,                         until="the order is known"),
        on(S.PENDING,              InventoryReserved,  confirm, ask_next, receipt, refund_extra),
        on(FROM_RESERVED,          InventoryReserved,  note,                          when=g.reservation_unanswered),  # an addition's
        refuse(FROM_RESERVED,      InventoryReserved,                                 because="everything is reserved already"),
        on(S.PENDING,              InventoryShortage,  undo),
        on((S.RESERVED, S.PAID),   InventoryShortage,  undo,                          when=g.reservation_unanswered),
        on((S.SHIPPED, S.COMPLETED), InventoryShortage, note,                         when=g.reservation_unanswered),  # flagged
        refuse(FROM_RESERVED,      InventoryShortage,                                 because="everything is reserved already"),

        # Money.
        park(S.UNKNOWN,            *PAYMENT_EVENTS.carries,                           until="the order is known"),
        repeat(KNOWN,              PaymentProcessed,   when=g.seen_payment,           because="the same payment again"),
        repeat(KNOWN,              PaymentFailed,      when=g.seen_failure,           because="the same failure again"),
        repeat(KNOWN,              PaymentDisputed,    when=g.seen_dispute,           because="the same dispute again"),
        on(S.PENDING,              PaymentProcessed,   refund_extra),  # it came first
        on(S.RESERVED,             PaymentProcessed,   confirm, ask_next, receipt, refund_extra),
        on(FROM_PAID,              PaymentProcessed,   refund_extra),
        park(S.PENDING,            PaymentFailed,                                     until="the stock is reserved"),
        on(S.RESERVED,             PaymentFailed,      undo),
        refuse(FROM_PAID,          PaymentFailed,                                     because="the money is here"),
        on(S.PAID,                 PaymentRefunded,    undo,                          when=g.was_captured),  # if all of it is back
        on((S.PENDING, S.RESERVED, S.SHIPPED, S.COMPLETED), PaymentRefunded, note, when=g.was_captured),
        park(S.PENDING,            PaymentRefunded,                                   until="the money is captured"),
        refuse(FROM_RESERVED,      PaymentRefunded,                                   because="more than was captured"),
        on(KNOWN,                  PaymentDisputed,    note),  # flagged; holds while PAID

        # Shipping.
        park((S.UNKNOWN, S.PENDING, S.RESERVED), *SHIPPING_EVENTS.carries,            until="the order is paid"),
        on(S.PAID,                 ShipmentScheduled,  ship, notify("tracking")),
        on(S.PAID,                 ShipmentFailed,     undo),
        park(S.PAID,               ShipmentDelivered, ShipmentCancelled,              until="the shipment is scheduled"),
        on(S.SHIPPED,              ShipmentDelivered,  complete),
        refuse((S.SHIPPED, S.COMPLETED), ShipmentScheduled, ShipmentFailed,           because="it is shipped already"),
        refuse(S.COMPLETED,        ShipmentDelivered,                                 because="it is delivered already"),

        # Cancelled from outside.
        on(OPEN,                   OrderCancelled,     undo),
        on(S.SHIPPED,              OrderCancelled,     cancel_shipment,               when=g.no_cancellation_out),
        on(S.SHIPPED,              ShipmentCancelled,  undo,                          when=g.stop_unanswered),
        park(S.SHIPPED,            ShipmentCancelled,                                 until="its cancellation is asked for"),
        refuse(S.COMPLETED,        OrderCancelled,                                    because="it is completed"),
        on(S.COMPENSATING,         OrderCancelled,     note,                          when=g.no_cancellation_out),
        ignore((S.SHIPPED, *UNDONE), OrderCancelled,                                  because="it is being undone already"),

        # Being undone: answers.
        on(UNDONE,                 InventoryReleased,  finish,                        when=g.release_asked),
        repeat(UNDONE,             InventoryReleased,  when=g.release_answered,       because="a release answered twice"),
        refuse(UNDONE,             InventoryReleased,                                 because="no release was asked for"),
        on(UNDONE,                 PaymentRefunded,    finish,                        when=g.was_captured),
        refuse(UNDONE,             PaymentRefunded,                                   because="more than was captured"),
        on(UNDONE,                 ShipmentCancelled,  finish,                        when=g.stop_asked),
        repeat(UNDONE,             ShipmentCancelled,  when=g.stop_answered,          because="a cancellation answered twice"),
        refuse(UNDONE,             ShipmentCancelled,                                 because="no cancellation was asked for"),

        # Being undone: what comes late.
        on(UNDONE,                 PaymentProcessed,   undo),  # money never stays with a cancelled order
        on(UNDONE,                 InventoryReserved,  undo,                          when=g.not_reserved),
        refuse(UNDONE,             InventoryReserved,                                 because="everything was reserved already"),
        on(UNDONE,                 ShipmentScheduled,  undo,                          when=g.not_shipped),
        refuse(UNDONE,             ShipmentScheduled,                                 because="it was shipped already"),
        on(UNDONE,                 ShipmentDelivered,  note,                          when=g.goods_in),  # flagged: the goods are out
        repeat(UNDONE,             ShipmentDelivered,                                 because="the goods are known to be out"),
        ignore(UNDONE,             InventoryShortage, PaymentFailed, ShipmentFailed,  because="a step that is not wanted was refused"),

        # Early: answers to compensations that the facts of another topic will ask for.
        park(GOING,                InventoryReleased,                                 until="the order is being undone"),
        on(S.COMPLETED,            InventoryReleased,  note,                          when=g.release_asked),  # a person was faster
        refuse(S.COMPLETED,        InventoryReleased,                                 because="no release was asked for"),
        on(S.COMPLETED,            ShipmentCancelled,  note,                          when=g.stop_asked),
        refuse(S.COMPLETED,        ShipmentCancelled,                                 because="no cancellation was asked for"),

        # Fraud.
        ignore(ALL,                FraudAlertRaised,   when=g.only_informs,           because="it only informs"),
        park(S.UNKNOWN,            FraudAlertRaised, HoldReleased,                    until="the order is known"),
        ignore(OPEN,               FraudAlertRaised,   when=g.held_already,           because="it is held already"),
        on(OPEN,                   FraudAlertRaised,   hold_or_undo),
        ignore((S.SHIPPED, S.COMPLETED, *UNDONE), FraudAlertRaised,                   because="too late to stop anything"),
        on(OPEN,                   HoldReleased,       ask_next,                      when=g.held),
        ignore(KNOWN,              HoldReleased,                                      because="it is not held"),

        # Deadlines.
        ignore(ALL,                Due,                when=stale,                    because="that deadline no longer runs"),
        on(S.PENDING,              Due,                undo,                          when=g.named("reservation")),
        on(S.RESERVED,             Due,                undo,                          when=g.named("payment")),
        on(S.PAID,                 Due,                undo,                          when=g.named("shipment")),
        on(OPEN,                   Due,                undo,                          when=g.named("hold")),
        on(S.SHIPPED,              Due,                note,                          when=g.named("delivery")),  # STUCK
        on(KNOWN,                  Due,                ask_again(timeouts),           when=g.named("compensation")),
        on(KNOWN,                  Due,                note,                          when=g.named("stuck")),
        refuse(ALL,                Due,                                               because="no such deadline"),
        on(KNOWN,                  OrderResolved,      resolve,                       when=g.stuck),
        refuse(KNOWN,              OrderResolved,                                     because="it is not stuck"),
    )
    # fmt: on
    return Life(ORDERS, status=lambda order: order.status, states=S, lines=lines)
