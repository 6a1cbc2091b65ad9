"""What was sold per window of event time: from the state of a replay, or from the changelog on the broker."""

from collections.abc import Iterable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pipeline.composition import agents, embedded, kept
from pipeline.embedded import Embedded
from pipeline.engine.plan import make_plan
from pipeline.engine.rows import decoder, prefix
from pipeline.log.kafka import read_through
from pipeline.reach import kafka_of, reach
from pipeline.settings import Settings
from schemas.codec import format_instant
from schemas.money import text
from tables.sales import PRODUCTS, SALES, Products, Sales
from tables.table import Table

S = TypeVar("S", Sales, Products)


class Sold(NamedTuple):
    """Of all partitions together, oldest first."""

    sales: list[Sales]
    products: list[Products]


def _together(rows: Iterable[S]) -> list[S]:
    """One row per window."""
    windows: dict[int, S] = {}
    for row in rows:
        windows[row.start] = windows[row.start] + row if row.start in windows else row
    return [windows[start] for start in sorted(windows)]


def sold(pipeline: Embedded) -> Sold:
    """By now."""
    return Sold(*(_together(row for _, row in pipeline.rows(table.name)) for table in (SALES, PRODUCTS)))


async def kept_sales(folder: Path, settings: Settings) -> Sold:
    """Raises Problem where no state is kept there."""
    async with embedded(kept(folder, settings), folder=folder) as pipeline:
        return sold(pipeline)


async def told_sales(settings: Settings) -> Sold:
    """As committed by now. Reads the changelog of the orders from end to end. Raises Problem where the broker cannot be reached."""
    kafka = kafka_of(settings)
    await reach(kafka)
    group = make_plan(agents(settings), app=settings.group).home["order.events"]
    newest: dict[tuple[int, bytes], bytes | None] = {}
    wanted = (prefix(SALES), prefix(PRODUCTS))
    async with aclosing(read_through(kafka, {group.changelog: group.partitions})) as records:
        async for record in records:
            if record.key is not None and record.key.startswith(wanted):
                newest[record.partition, record.key] = record.value

    def of(table: Table[S]) -> Iterator[S]:
        decode = decoder(table)
        return (decode(value)[0] for (_, key), value in newest.items() if value is not None and key.startswith(prefix(table)))

    return Sold(_together(of(SALES)), _together(of(PRODUCTS)))


def failure_rate(row: Sales) -> float | None:
    """The share of the orders that ended here that were cancelled; None where none ended."""
    ended = row.completed + row.cancelled
    return row.cancelled / ended if ended else None


def shown(found: Sold, *, most: int) -> dict[str, Any]:
    """For machines: times in UTC, amounts as decimal strings, and of each hour the `most` wanted products."""
    return {
        "windows": [
            {
                "start": format_instant(row.start),
                "orders": row.orders,
                "paid": row.paid,
                "declined": row.declined,
                "completed": row.completed,
                "cancelled": row.cancelled,
                "failure_rate": failure_rate(row),
                "captured": {currency: text(amount, currency) for currency, amount in sorted(row.captured.items())},
                "refunded": {currency: text(amount, currency) for currency, amount in sorted(row.refunded.items())},
                "revenue": {currency: text(amount, currency) for currency, amount in sorted(row.revenue.items())},
            }
            for row in found.sales
        ],
        "products": [
            {
                "start": format_instant(row.start),
                "top": [{"sku": sku, "pieces": pieces} for sku, pieces in row.top(most)],
                "below": row.below,
            }
            for row in found.products
        ],
    }
