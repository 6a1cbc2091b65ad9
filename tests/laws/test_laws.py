"""Laws that hold after every line of any history, with the stand-ins answering."""

import asyncio
from typing import Literal

from hypothesis import given

from agents.agent import AnyAgent
from agents.orders import saga
from agents.sales import sales
from agents.standins import standins
from pipeline.embedded import Embedded
from tables.orders import Order, Status
from tables.orders import broken_laws as broken_order_laws
from tables.stock import Stock
from tables.stock import broken_laws as broken_stock_laws
from tests.engine.driver import HOUR_MS, Ending, Run, play
from tests.engine.histories import OPTIONS
from tests.laws.histories import LEVELS, histories, some

DAY_MS = 24 * HOUR_MS
ENDED = {Status.COMPLETED, Status.CANCELLED}


def world(style: Literal["orchestrated", "choreographed"]) -> tuple[AnyAgent, ...]:
    return saga(style) + sales() + standins(LEVELS)


def check(pipeline: Embedded) -> None:
    """Every row, and the sum of the stock."""
    tables = {agent.table.name: agent.table.row for group in pipeline.plan.groups for agent in group.agents}
    for table in (name for name, row in tables.items() if row is Order):
        for key, order in pipeline.rows(table):
            assert broken_order_laws(order) == [], (table, key)
    for sku, stock in pipeline.rows("stock"):
        assert isinstance(stock, Stock)
        assert broken_stock_laws(stock) == [], sku
        assert stock.on_hand + stock.reserved + stock.shipped == LEVELS[sku], sku


def lived(lines: list[bytes], style: Literal["orchestrated", "choreographed"] = "orchestrated", *, line_by_line: bool = False) -> Ending:
    """Until nobody has anything left to say, and then until the last deadline has passed."""

    async def living() -> Ending:
        async with Run(world(style), options=OPTIONS) as run:
            for one in [[each] for each in lines] if line_by_line else [lines]:
                await run.feed(one)
                check(run.pipeline)
            await run.pipeline.settle()
            check(run.pipeline)
            await run.advance(40 * DAY_MS)
            check(run.pipeline)
            return await run.end()

    return asyncio.run(living())


def money(ending: Ending) -> dict[str, tuple[object, ...]]:
    return {
        key: (order.status, order.currency, order.total_minor, order.captured, order.refunded, order.stuck)
        for key, order in ending.rows["orders"].items()
    }


@some(0.3)
@given(histories())
def test_every_law_holds_after_every_line(lines: list[bytes]) -> None:
    """Of every order and every SKU; the books are checked with them: consumed = applied + duplicate + ignored + parked + dead."""
    ending = lived(lines, line_by_line=True)
    assert ending.counts["input.parked"] == 0, "after so long nothing waits"
    for order in ending.rows["orders"].values():
        assert not order.created or order.status in ENDED or order.stuck
        if order.status is Status.CANCELLED and not order.stuck:
            assert not any(order.kept.values())
    for stock in ending.rows["stock"].values():
        assert stock.reserved == 0 or any(order.stuck for order in ending.rows["orders"].values())


@some(0.3)
@given(histories())
def test_both_styles_end_alike(lines: list[bytes]) -> None:
    """Orchestrated and choreographed: the same states, the same money, the same stock, the same events by id."""
    one, other = lived(lines, "orchestrated"), lived(lines, "choreographed")
    assert money(one) == money(other)
    assert one.rows["orders"] == other.rows["orders"]
    assert one.rows["stock"] == other.rows["stock"]
    assert {each.event_id for each in one.envelopes} == {each.event_id for each in other.envelopes}


@some(0.3)
@given(histories())
def test_a_history_told_twice_changes_nothing(lines: list[bytes]) -> None:
    """What was seen is known: no row moves, nothing is said again; what cannot be read is a letter once more."""

    async def twice() -> None:
        async with Run(world("orchestrated"), options=OPTIONS) as run:
            await run.feed(lines)
            first = await run.end()
            rows, said, letters = first.rows, list(first.said), len(first.letters)
            unread = sum(reason in {"malformed", "invalid"} for reason in first.reasons)
            await run.feed(lines)
            again = await run.end()
            assert again.rows == rows
            assert again.said == said
            assert len(again.letters) - letters == unread

    asyncio.run(twice())


@some(0.2)
@given(histories())
def test_the_cut_of_the_feed_changes_nothing(lines: list[bytes]) -> None:
    """Line by line or all at once: byte for byte."""
    agents = world("choreographed")
    assert play(lines, agents, options=OPTIONS, batch=1).bytes == play(lines, agents, options=OPTIONS).bytes
