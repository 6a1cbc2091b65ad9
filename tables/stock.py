"""Stock by SKU: what is on hand, what is held for which order, what is gone."""

from collections.abc import Iterable, Mapping

import msgspec

from schemas.inventory import InventoryReleased, InventoryReserved, InventoryShortage
from schemas.message import Envelope, Message
from schemas.orders import Line, ReleaseInventory, ReserveInventory
from schemas.shipping import ShipmentScheduled
from tables.table import Row, Table

put = msgspec.structs.replace


class Stock(Row, frozen=True):
    """One SKU, in pieces. What is released or shipped is no longer held, so the row grows with the open orders only."""

    sku: str = ""
    received: int = 0
    """All that ever came in."""
    on_hand: int = 0
    shipped: int = 0
    held: dict[str, dict[int, int]] = msgspec.field(default_factory=dict)
    """Pieces by order id and part of the order; never 0. What is held once is not held again, what is not held is not freed."""
    part: int = 0
    """The part that the command being decided is about. Its answer does not say; after the answer it is 0 again."""

    @property
    def reserved(self) -> int:
        return sum(sum(parts.values()) for parts in self.held.values())

    def holds(self, order_id: str, part: int) -> bool:
        return part in self.held.get(order_id, {})


def broken_laws(stock: Stock) -> list[str]:
    """The laws that this row breaks, in words: on hand + reserved + shipped changes only by receipts, and nothing is below zero."""
    laws = (
        ("on hand + reserved + shipped is not what was received", stock.on_hand + stock.reserved + stock.shipped != stock.received),
        ("less than nothing is on hand", stock.on_hand < 0),
        ("less than nothing is shipped", stock.shipped < 0),
        ("nothing is held, and remembered", any(not parts or min(parts.values()) < 1 for parts in stock.held.values())),
    )
    return [law for law, broken in laws if broken]


def pieces(items: Iterable[Line]) -> dict[str, int]:
    """Pieces by SKU, in the order of the SKUs: two lines of one SKU add up."""
    total: dict[str, int] = {}
    for line in items:
        total[line.sku] = total.get(line.sku, 0) + line.quantity
    return dict(sorted(total.items()))


def evolve(stock: Stock, heard: Envelope[Message]) -> Stock:
    """Whether an order can be had as a whole no single row knows. So the command moves nothing, only the fact that answers it."""
    match heard.payload:
        case ReserveInventory(part=part) | ReleaseInventory(part=part):
            return put(stock, part=part)
        case InventoryReserved(order_id=order, items=items):
            return put(_reserve(stock, order, _of(stock.sku, items)), part=0)
        case InventoryReleased(order_id=order, items=items):
            return put(_release(stock, order, _of(stock.sku, items)), part=0)
        case InventoryShortage():
            return put(stock, part=0)
        case ShipmentScheduled(order_id=order, items=items):
            return _ship(stock, order, _of(stock.sku, items))
    return stock


def _of(sku: str, items: Iterable[Line]) -> int:
    return sum(line.quantity for line in items if line.sku == sku)


def _reserve(stock: Stock, order: str, quantity: int) -> Stock:
    if stock.holds(order, stock.part):
        return stock
    parts = {**stock.held.get(order, {}), stock.part: quantity}
    return put(stock, on_hand=stock.on_hand - quantity, held=_held(stock, order, parts))


def _release(stock: Stock, order: str, quantity: int) -> Stock:
    parts = stock.held.get(order, {})
    freed, parts = _take(parts, [stock.part], quantity)
    return put(stock, on_hand=stock.on_hand + freed, held=_held(stock, order, parts))


def _ship(stock: Stock, order: str, quantity: int) -> Stock:
    parts = stock.held.get(order, {})
    gone, parts = _take(parts, sorted(parts), quantity)
    return put(stock, shipped=stock.shipped + gone, held=_held(stock, order, parts))


def _take(parts: dict[int, int], among: Iterable[int], quantity: int) -> tuple[int, dict[int, int]]:
    """At most `quantity` pieces, as far as there are any in the parts named `among`: how many they are, and what is left."""
    left = dict(parts)
    for part in among:
        left[part] = max(0, parts.get(part, 0) - quantity)
        quantity -= parts.get(part, 0) - left[part]
    return sum(parts.values()) - sum(left.values()), {part: some for part, some in left.items() if some}


def _held(stock: Stock, order: str, parts: dict[int, int]) -> dict[str, dict[int, int]]:
    held = {**stock.held, order: parts}
    if not parts:
        del held[order]
    return held


def stock_table(levels: Mapping[str, int]) -> Table[Stock]:
    """Stock that begins with `levels`, pieces by SKU; of an unknown SKU there is none. Raises ValueError for a negative level.

    One partition, so that one decision sees every SKU of an order.
    """
    negative = sorted(sku for sku, level in levels.items() if level < 0)
    if negative:
        raise ValueError(f"stock below zero: {', '.join(negative)}")
    first = dict(levels)

    def initial(sku: str) -> Stock:
        level = first.get(sku, 0)
        return Stock(sku=sku, received=level, on_hand=level)

    return Table("stock", row=Stock, key="sku", partitions=1, evolve=evolve, initial=initial)
