"""What is sold per window of event time: orders and money per five minutes, products per hour. Each partition sums its own orders.

Rows of one window are added up with `+`: what an order's step adds, and what the partitions have.
"""

from collections.abc import Mapping
from heapq import nlargest
from typing import TypeVar

from msgspec import field

from schemas.message import Due, Envelope, Instant, Message
from tables.orders import ORDERS, Order, Status
from tables.table import Row, Table
from tables.windows import Tumbling

MINUTE_MS = 60_000
SALES_WINDOW = Tumbling(5 * MINUTE_MS)
PRODUCTS_WINDOW = Tumbling(60 * MINUTE_MS)
KEPT_MS = 31 * 24 * 60 * MINUTE_MS
"""So long after its start a window is remembered."""
MOST_PRODUCTS = 200
"""That are counted in an hour, in each partition; with more, `Products.below` says how much the counts may miss."""


class Sales(Row, frozen=True):
    """Five minutes. Amounts are minor units by currency."""

    start: Instant = -1
    """-1: nothing is remembered."""
    orders: int = 0
    """That were created."""
    paid: int = 0
    """Orders that had their first payment."""
    declined: int = 0
    """Orders that are undone because their payment was refused."""
    completed: int = 0
    cancelled: int = 0
    captured: dict[str, int] = field(default_factory=dict)
    refunded: dict[str, int] = field(default_factory=dict)

    def __add__(self, more: "Sales") -> "Sales":
        return Sales(
            more.start,
            self.orders + more.orders,
            self.paid + more.paid,
            self.declined + more.declined,
            self.completed + more.completed,
            self.cancelled + more.cancelled,
            _sum(self.captured, more.captured),
            _sum(self.refunded, more.refunded),
        )

    @property
    def revenue(self) -> dict[str, int]:
        """Captured and not given back, by currency; below zero where more was given back in this window than came in."""
        return _sum(self.captured, {currency: -amount for currency, amount in self.refunded.items()})


class Products(Row, frozen=True):
    """An hour: the pieces that were ordered, by SKU."""

    start: Instant = -1
    pieces: dict[str, int] = field(default_factory=dict)
    below: int = 0
    """A count may be so much too low, and a product that is missing may have had so many: 0 up to `MOST_PRODUCTS` products, never
    more than all pieces through `MOST_PRODUCTS + 1`. The summary is that of Misra and Gries, merged as in Agarwal et al., "Mergeable
    Summaries" (PODS 2012)."""

    def __add__(self, more: "Products") -> "Products":
        pieces = _sum(self.pieces, more.pieces)
        below = self.below + more.below
        if len(pieces) > MOST_PRODUCTS:
            cut = nlargest(MOST_PRODUCTS + 1, pieces.values())[-1]
            pieces = {sku: count - cut for sku, count in pieces.items() if count > cut}
            below += cut
        return Products(more.start, pieces, below)

    def top(self, most: int) -> list[tuple[str, int]]:
        """The products that were ordered most, and how many pieces; of the same number, by SKU."""
        return sorted(self.pieces.items(), key=lambda each: (-each[1], each[0]))[:most]


def _sum(some: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {**some, **{name: some.get(name, 0) + count for name, count in more.items()}}


def sold(before: Order, after: Order, heard: Envelope[Message]) -> Mapping[str, Sales]:
    """What this step of an order adds to the window that it happened in."""
    if before.status is after.status and before.payments is after.payments and before.declined == after.declined:
        return {}
    start = SALES_WINDOW.start(heard.at)
    step = Sales(
        start,
        orders=after.created - before.created,
        paid=bool(after.payments) - bool(before.payments),
        declined=(after.declined is not None) - (before.declined is not None),
        completed=(after.status is Status.COMPLETED) - (before.status is Status.COMPLETED),
        cancelled=(after.status is Status.CANCELLED) - (before.status is Status.CANCELLED),
        captured=_grown(before.captured, after.captured),
        refunded=_grown(before.refunded, after.refunded),
    )
    return {} if step == Sales(start) else {str(start): step}


def wanted(before: Order, after: Order, heard: Envelope[Message]) -> Mapping[str, Products]:
    """The lines that this step orders, as created and as added."""
    if before.reservations is after.reservations or len(before.reservations) == len(after.reservations):
        return {}
    start = PRODUCTS_WINDOW.start(heard.at)
    pieces: dict[str, int] = {}
    for reservation in after.reservations[len(before.reservations) :]:
        for line in reservation.items:
            pieces[line.sku] = pieces.get(line.sku, 0) + line.quantity
    return {str(start): Products(start, pieces)}


def _grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {name: step for name, count in after.items() if (step := count - before.get(name, 0))}


S = TypeVar("S", Sales, Products)


def _forgotten(row: S, heard: Envelope[Message]) -> S:
    return type(row)() if isinstance(heard.payload, Due) else row


def _nothing(row: Sales | Products) -> bool:
    return row.start < 0


SALES = Table("sales", Sales, "window", ORDERS.partitions, _forgotten, lambda _key: Sales(), ORDERS.key, _nothing)
PRODUCTS = Table("products", Products, "window", ORDERS.partitions, _forgotten, lambda _key: Products(), ORDERS.key, _nothing)
