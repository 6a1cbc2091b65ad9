"""What is sold per window: held against brute force over the events, and against the orders themselves."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import pytest

from agents.sales import sales
from pipeline.engine.plan import make_plan
from pipeline.sales import failure_rate
from pipeline.testing.app import App
from pipeline.testing.specs import NOON
from schemas.message import Envelope, Message
from schemas.orders import Line, OrderCancelled, OrderCreated
from schemas.payments import PaymentFailed, PaymentProcessed, PaymentRefunded
from tables.orders import Order, Status
from tables.sales import KEPT_MS, Sales

FIVE, HOUR, DAY_MS = 300_000, 3_600_000, 86_400_000


def created(order: str, sku: str, pieces: int) -> OrderCreated:
    return OrderCreated(order, "c-1", Decimal(5 * pieces), "USD", (Line(sku, pieces),))


def paid(order: str, amount: int, currency: str = "USD") -> PaymentProcessed:
    return PaymentProcessed(order, Decimal(amount), f"p-{order}", currency=currency)


def history(seed: int) -> list[Envelope[Message]]:
    """Orders that are paid, refused, given back and cancelled over some hours, each event once, in no order across orders."""
    rng = random.Random(seed)
    told: list[Envelope[Message]] = []
    for number in range(40):
        order, at = f"o-{number}", NOON + rng.randrange(4 * HOUR)
        pieces = rng.randrange(1, 5)
        life: list[Message] = [created(order, f"SKU{rng.randrange(6)}", pieces)]
        match rng.randrange(4):
            case 0:
                life.append(PaymentFailed(order, f"p-{order}"))
            case 1:
                life += [paid(order, 5 * pieces), PaymentRefunded(order, Decimal(5 * pieces), f"p-{order}", "USD")]
            case 2:
                life += [paid(order, 5 * pieces), OrderCancelled(order, "customer")]
            case _:
                life.append(paid(order, 5 * pieces, rng.choice(["USD", "EUR"])))
        for position, message in enumerate(life):
            told.append(Envelope(f"e-{number}-{position}", at, message))
            at += rng.randrange(1, 12 * 60_000)
    return sorted(told, key=lambda each: each.at)


class Brute(NamedTuple):
    """Every event sorted into the five minutes, and the hour, of its own time."""

    captured: dict[int, Counter[str]]
    orders: Counter[int]
    pieces: dict[int, Counter[str]]


def brute(told: Sequence[Envelope[Message]]) -> Brute:
    found = Brute(defaultdict(Counter), Counter(), defaultdict(Counter))
    for each in told:
        match each.payload:
            case OrderCreated(items=items):
                found.orders[each.at - each.at % FIVE] += 1
                for line in items:
                    found.pieces[each.at - each.at % HOUR][line.sku] += line.quantity
            case PaymentProcessed(currency=str(currency)) as payment:
                found.captured[each.at - each.at % FIVE][currency] += payment.amount_minor(currency)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_every_event_is_in_its_own_window(seed: int) -> None:
    """As brute force finds."""
    told = history(seed)
    expected = brute(told)
    with App() as app:
        app.feed(*told)
        found = app.sold()
    assert {row.start: row.captured for row in found.sales if row.captured} == expected.captured
    assert {row.start: row.orders for row in found.sales if row.orders} == expected.orders
    assert {row.start: row.pieces for row in found.products} == expected.pieces
    assert [row.start for row in found.sales] == sorted(row.start for row in found.sales)


def check(orders: list[Order], rows: list[Sales]) -> None:
    """All windows together are what the orders are."""
    whole = sum(rows, Sales())
    status = Counter(order.status for order in orders)
    assert whole.orders == sum(order.created for order in orders)
    assert (whole.completed, whole.cancelled) == (status[Status.COMPLETED], status[Status.CANCELLED])
    kept: Counter[str] = Counter()
    for order in orders:
        kept.update(order.kept)
    assert {currency: minor for currency, minor in whole.revenue.items() if minor} == {c: minor for c, minor in kept.items() if minor}


@pytest.mark.parametrize("seed", range(3))
def test_all_windows_together_are_what_the_orders_are(seed: int) -> None:
    """Whatever made a row change: a message, what the saga said because of it, or a deadline that passed."""
    with App(services="standin", stock={f"SKU{n}": 30 for n in range(6)}) as app:
        app.feed(*history(seed))
        app.wait(days=3)
        check(list(app.rows("orders").values()), app.sold().sales)


def test_the_same_fact_twice_is_sold_once() -> None:
    """Also under another event id: the saga knows the payment."""
    with App() as app:
        app.feed(Envelope("e-1", NOON, created("o-1", "SKU1", 2)))
        for event_id in ("e-2", "e-2", "e-3"):
            app.feed(Envelope(event_id, NOON + 1_000, paid("o-1", 10)))
        (row,) = app.sold().sales
        assert (row.orders, row.paid, row.captured) == (1, 1, {"USD": 1_000})


def test_a_window_is_forgotten_in_time() -> None:
    """State is bounded: the rows are deleted, and a straggler brings none back for good."""
    with App(clock_jump_days=40) as app:
        app.feed(Envelope("e-1", NOON, created("o-1", "SKU1", 2)))
        assert app.rows("sales")
        assert app.rows("products")
        app.wait(days=KEPT_MS // DAY_MS)
        assert NOON not in {row.start for row in app.sold().sales}
        assert app.sold().products == []
        app.feed(Envelope("e-2", NOON + 1_000, paid("o-1", 10)))
        assert NOON not in {row.start for row in app.sold().sales}


def test_the_failure_rate_is_of_the_orders_that_ended() -> None:
    """None ended: there is no rate, and not one of zero."""
    assert failure_rate(Sales(NOON, orders=5)) is None
    assert failure_rate(Sales(NOON, completed=3, cancelled=1)) == 0.25


def test_what_nobody_writes_cannot_be_watched() -> None:
    """A topology that cannot be is refused before it runs."""
    with pytest.raises(ValueError, match="sales watches orders, and nobody writes that in the same partitions"):
        make_plan(sales(), app="shop")
