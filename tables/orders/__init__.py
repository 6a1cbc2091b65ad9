"""What is remembered of an order: its row, how messages change it, and the laws that it keeps."""

from tables.orders.counted import CAPTURED, CURRENCY, REFUNDED, STUCK, UNBALANCED, counted
from tables.orders.evolve import UNDONE_FOR_DEADLINE, evolve
from tables.orders.laws import EXTRA, broken_laws, unbalanced
from tables.orders.row import (
    ANSWERABLE,
    OPEN_QUESTION,
    UNANSWERED,
    Compensation,
    Leg,
    Order,
    Payment,
    Refund,
    Reservation,
    Shipment,
    Status,
)
from tables.table import Table

ORDERS = Table("orders", row=Order, key="order_id", partitions=6, evolve=evolve, initial=lambda key: Order(id=key), counted=counted)

__all__ = [
    "ANSWERABLE",
    "CAPTURED",
    "CURRENCY",
    "EXTRA",
    "OPEN_QUESTION",
    "ORDERS",
    "REFUNDED",
    "STUCK",
    "UNANSWERED",
    "UNBALANCED",
    "UNDONE_FOR_DEADLINE",
    "Compensation",
    "Leg",
    "Order",
    "Payment",
    "Refund",
    "Reservation",
    "Shipment",
    "Status",
    "broken_laws",
    "evolve",
    "unbalanced",
]
