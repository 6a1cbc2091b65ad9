"""The topics, and so the registry: a type exists because exactly one topic carries it."""

from msgspec import Struct

from schemas import fraud, inventory, notifications, orders, payments, shipping, users
from schemas.message import Message


class Topic(Struct, frozen=True):
    """Where messages travel."""

    name: str
    key: str
    """The message field that is the record's key."""
    partitions: int
    carries: tuple[type[Message], ...]
    trusted_key: bool = True
    """False: not every sender keys by `key`, so that readers who need the order per key re-key the topic."""
    compacted: bool = False
    bare: bool = False
    """Its records are payloads alone, for readers that know no envelope. Written, never read."""


ORDER_EVENTS = Topic(
    "order.events",
    key="order_id",
    partitions=6,
    carries=(
        orders.OrderCreated,
        orders.ItemAdded,
        orders.OrderConfirmed,
        orders.OrderShipped,
        orders.OrderCompleted,
        orders.OrderCancelled,
        orders.OrderResolved,
    ),
)
PAYMENT_EVENTS = Topic(
    "payment.events",
    key="order_id",
    partitions=3,
    carries=(payments.PaymentProcessed, payments.PaymentFailed, payments.PaymentRefunded, payments.PaymentDisputed),
    trusted_key=False,
)
INVENTORY_EVENTS = Topic(
    "inventory.events",
    key="order_id",
    partitions=6,
    carries=(inventory.InventoryReserved, inventory.InventoryShortage, inventory.InventoryReleased),
)
SHIPPING_EVENTS = Topic(
    "shipping.events",
    key="order_id",
    partitions=6,
    carries=(shipping.ShipmentScheduled, shipping.ShipmentFailed, shipping.ShipmentCancelled, shipping.ShipmentDelivered),
)
USER_EVENTS = Topic("user.events", key="user_id", partitions=3, carries=(users.UserRegistered,))
ORDER_COMMANDS = Topic(
    "order.commands",
    key="order_id",
    partitions=6,
    carries=(
        orders.ReserveInventory,
        orders.ReleaseInventory,
        orders.ProcessPayment,
        orders.RefundPayment,
        orders.ScheduleShipment,
        orders.CancelShipment,
    ),
)
NOTIFICATION_EVENTS = Topic("notification.events", key="customer_id", partitions=3, carries=(notifications.NotificationRequested,))
FRAUD_ALERTS = Topic("fraud.alerts", key="user_id", partitions=3, carries=(fraud.FraudAlertRaised, fraud.HoldReleased))
FRAUD_RULES = Topic("fraud.rules", key="rule_id", partitions=1, carries=(fraud.FraudRuleChanged,), compacted=True)
DEAD_LETTERS = Topic("dead-letter-queue", key="", partitions=1, carries=())
"""Keyed as the record that could not be read."""
LATE = Topic("late-events", key="", partitions=1, carries=())
"""Keyed as the record that came after its windows had closed."""

TOPICS = (
    ORDER_EVENTS,
    PAYMENT_EVENTS,
    INVENTORY_EVENTS,
    SHIPPING_EVENTS,
    USER_EVENTS,
    ORDER_COMMANDS,
    NOTIFICATION_EVENTS,
    FRAUD_ALERTS,
    FRAUD_RULES,
    DEAD_LETTERS,
    LATE,
)

CARRIER: dict[type[Message], Topic] = {kind: topic for topic in TOPICS for kind in topic.carries}


def topic_of(kind: type[Message]) -> Topic:
    """The topic that carries this type. Raises KeyError for one that never travels."""
    return CARRIER[kind]
