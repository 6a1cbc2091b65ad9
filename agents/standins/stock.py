"""The stand-in stock: an order of several SKUs is reserved as a whole or not at all."""

from collections.abc import Mapping

from agents.agent import Agent, Decision, Ignored, Unexpected
from schemas.inventory import InventoryReleased, InventoryReserved, InventoryShortage
from schemas.message import Envelope, Message
from schemas.orders import ReleaseInventory, ReserveInventory
from schemas.shipping import ShipmentScheduled
from tables.stock import Stock, pieces, stock_table


def skus(heard: ReserveInventory | ReleaseInventory | ShipmentScheduled) -> tuple[str, ...]:
    return tuple(pieces(heard.items))


def decide(rows: Mapping[str, Stock], heard: Envelope[Message]) -> Decision:
    """`rows` by SKU, those of the message."""
    match heard.payload:
        case ReserveInventory(order_id=order, items=items, part=part):
            # What this part already holds it is not short of: asking again repeats the answer.
            wanted = {sku: quantity for sku, quantity in pieces(items).items() if not rows[sku].holds(order, part)}
            short = [sku for sku, quantity in wanted.items() if quantity > rows[sku].on_hand]
            return [InventoryShortage(order, short[0]) if short else InventoryReserved(order, items)]
        case ReleaseInventory(order_id=order, items=items):
            return [InventoryReleased(order, items)]
        case ShipmentScheduled(items=()):
            return Ignored("names no goods")
        case ShipmentScheduled(order_id=order):
            return [] if any(order in row.held for row in rows.values()) else Ignored("none of it is held")
    raise Unexpected(heard.payload.wire.name)


def stock(levels: Mapping[str, int]) -> Agent[Stock]:
    """Raises ValueError for a negative level."""
    return Agent(
        name="stock",
        hears=(ReserveInventory, ReleaseInventory, ShipmentScheduled),
        table=stock_table(levels),
        decide=decide,
        says=(InventoryReserved, InventoryShortage, InventoryReleased),
        keys=skus,
        answers_after_ms=1_000,
    )
