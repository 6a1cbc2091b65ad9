"""The laws of section 3, after any history: generated orders, answered by the stand-in services."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from pipeline.testing.app import App
from tables.orders import broken_laws
from tables.stock import broken_laws as broken_stock_laws
from tests.replay.making import event

STOCK = {"A": 5, "B": 2, "NOSHIP": 3}
SKUS = (*STOCK, "NOBODY")
TOTALS = ("20.00", "20.13", "0.50", "600.00")
EXAMPLES = 40


class End(NamedTuple):
    """How a history ends, whoever said what on the way."""

    orders: dict[str, tuple[str, dict[str, int], dict[str, int]]]
    stock: dict[str, tuple[int, int, int]]
    outcomes: dict[str, int]


def at(second: int) -> str:
    """A time of day, `second` after ten."""
    return f"10:{second // 60:02}:{second % 60:02}.000"


@st.composite
def histories(draw: st.DrawFn) -> list[bytes]:
    """Up to five orders a second apart, some cancelled, some paid unasked, some with a line added; then broken lines."""
    lines: list[bytes] = []
    for i in range(draw(st.integers(1, 5))):
        order, second = {"order_id": f"o-{i}"}, 10 * i
        skus = draw(st.lists(st.sampled_from(SKUS), min_size=1, max_size=3, unique=True))
        items = [{"sku": sku, "quantity": draw(st.integers(1, 3))} for sku in skus]
        total = draw(st.sampled_from(TOTALS))
        lines.append(event(f"c-{i}", "OrderCreated", at(second), **order, customer_id="c", items=items, total=total, currency="USD"))
        if draw(st.booleans()):
            lines.append(event(f"x-{i}", "OrderCancelled", at(second + draw(st.integers(1, 6))), **order, reason="customer"))
        if draw(st.booleans()):
            paid = draw(st.sampled_from(TOTALS))
            lines.append(
                event(
                    f"p-{i}",
                    "PaymentProcessed",
                    at(second + draw(st.integers(1, 8))),
                    **order,
                    payment_id=f"own-{i}",
                    amount=paid,
                    currency="USD",
                )
            )
        if draw(st.booleans()):
            lines.append(event(f"i-{i}", "ItemAdded", at(second), **order, sku="A", quantity=1, price="5.00"))
    lines += draw(st.lists(st.sampled_from([b"{", b'{"event_id":1}', event("u", "NobodyKnows", at(59))]), max_size=2))
    again = draw(st.lists(st.sampled_from(lines), max_size=4))
    return lines + again


def end_of(lines: Sequence[bytes], **options: Any) -> End:
    """Run it, a day longer than it lasts, and check everything that must hold of any history."""
    with App(services="standin", stock=STOCK, **options) as app:
        app.feed(*lines)
        app.wait(hours=23)
        orders = app.rows("orders")
        stock = app.rows("stock")
        outcomes = {name: many for name, many in app.outcomes.items() if many}
    for order_id, order in orders.items():
        assert broken_laws(order) == [], order_id
        if order.created:
            assert order.status.value in ("COMPLETED", "CANCELLED"), (order_id, order)
    for sku, row in stock.items():
        assert broken_stock_laws(row) == [], sku
        assert row.on_hand + row.reserved + row.shipped == STOCK.get(sku, 0), sku
        assert row.reserved == 0, f"{sku}: held for an order that has ended"
    return End(
        {order_id: (order.status.value, order.captured, order.refunded) for order_id, order in orders.items() if order.created},
        {sku: (row.on_hand, row.reserved, row.shipped) for sku, row in stock.items()},
        outcomes,
    )


@settings(max_examples=EXAMPLES, deadline=None)
@for_all(histories())
def test_the_laws_hold_after_every_history(lines: list[bytes]) -> None:
    """Every order ends, nothing is kept of a cancelled one, stock is conserved, and every record is accounted for."""
    end = end_of(lines)
    assert sum(end.outcomes.values()) == len(lines)


@settings(max_examples=EXAMPLES // 2, deadline=None)
@for_all(histories())
def test_both_styles_end_alike(lines: list[bytes]) -> None:
    """Orchestrated or choreographed, states, money and stock are the same."""
    assert end_of(lines) == end_of(lines, saga="choreographed")


@settings(max_examples=EXAMPLES // 2, deadline=None)
@for_all(histories())
def test_the_same_history_again_changes_nothing(lines: list[bytes]) -> None:
    """Fed twice, a history ends as fed once."""
    once, twice = end_of(lines), end_of([*lines, *lines])
    assert (once.orders, once.stock) == (twice.orders, twice.stock)


@settings(max_examples=EXAMPLES // 2, deadline=None)
@for_all(histories(), st.randoms(use_true_random=False))
def test_the_order_in_which_independent_orders_come_does_not_matter(lines: list[bytes], chance: Any) -> None:
    """Orders that want no common stock do not race: another interleaving of their lines ends alike."""
    plenty = {"A": 10**6, "B": 10**6, "NOSHIP": 10**6, "NOBODY": 10**6}
    own: dict[bytes, list[bytes]] = {}
    for line in lines:
        start = line.find(b'"order_id": "')
        own.setdefault(line[start : start + 20] if start >= 0 else line, []).append(line)
    queues = list(own.values())
    mixed: list[bytes] = []
    while queues:
        queue = chance.choice(queues)
        mixed.append(queue.pop(0))
        queues = [left for left in queues if left]
    ends = []
    for history in (lines, mixed):
        with App(services="standin", stock=plenty, lateness_seconds=120) as app:
            app.feed(*history)
            app.wait(hours=23)
            ends.append({key: (row.status, row.captured, row.refunded) for key, row in app.rows("orders").items()})
    assert ends[0] == ends[1]
