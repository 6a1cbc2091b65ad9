"""The sums of a report, and what makes it wrong."""

import re
from collections import Counter
from collections.abc import Mapping
from io import StringIO

import pytest
from rich.console import Console

from pipeline.cli.tables import rendered
from pipeline.replay.report import Books, Report, make_report, stock_levels
from schemas.orders import Line
from tables.orders import Leg, Order, Payment, Refund, Reservation, Shipment, Status, unbalanced
from tables.stock import Stock

LINES = (Line("SKU001", 1),)
DONE = (Reservation(LINES, 1_000, Leg.DONE),)
UNDONE = (Reservation(LINES, 1_000, Leg.UNDONE),)


def paid(minor: int = 1_000, *, back: int = 0, currency: str = "USD", refunds: tuple[Refund, ...] = ()) -> Payment:
    return Payment("p", currency, minor, back, refunds)


def completed(*payments: Payment) -> Order:
    return Order(
        id="o",
        status=Status.COMPLETED,
        currency="USD",
        reservations=DONE,
        payments=payments,
        shipment=Shipment(Leg.DONE),
        reserved_at=1,
        paid_at=2,
    )


def cancelled(*payments: Payment, status: Status = Status.CANCELLED) -> Order:
    return Order(id="o", status=status, currency="USD", reservations=UNDONE, payments=payments, undone_for="x", cancelled=True)


def report_of(
    *orders: Order,
    records: int = 0,
    counts: Mapping[str, int] | None = None,
    before: Mapping[str, int] | None = None,
    sums: Mapping[str, int] | None = None,
) -> Report:
    books = Books()
    for order in orders:
        books.add(order.id, order)
    return make_report(
        records=records, counts=Counter(counts or {}), before=before or {}, books=books, alerts=[], stock={}, sums=sums or {}, seconds=1.0
    )


ASKED_BACK = (Refund(1_000, "x", 1_000),)


@pytest.mark.parametrize(
    ("order", "wrong"),
    [
        (completed(paid()), {}),
        (completed(paid(1_500, refunds=(Refund(500, "extra_payment", 500),))), {}),
        (completed(paid(1_500)), {"USD": 500}),
        (completed(paid(), paid(300, currency="EUR")), {"EUR": 300}),
        (completed(paid(back=1_200)), {"USD": 200}),
        (cancelled(paid(back=1_000)), {}),
        (cancelled(paid(back=400)), {"USD": 600}),
        (cancelled(paid(refunds=ASKED_BACK)), {}),
        (cancelled(paid(refunds=ASKED_BACK), status=Status.COMPENSATING), {}),
        (cancelled(paid(), status=Status.COMPENSATING), {"USD": 1_000}),
        (Order(id="o", status=Status.PENDING, currency="USD", reservations=DONE, payments=(paid(5_000),)), {}),
    ],
    ids=[
        "exact",
        "extra on its way back",
        "extra kept",
        "another currency kept",
        "more back than came",
        "all back",
        "some kept of a cancelled order",
        "refund unanswered",
        "refund unanswered while undone",
        "refund forgotten",
        "too early to say",
    ],
)
def test_money_is_unbalanced_where_a_law_forbids_it(order: Order, wrong: dict[str, int]) -> None:
    """Minor units by currency that are refunded twice, kept of an undone order, or kept beyond the total."""
    assert unbalanced(order) == wrong


def test_currencies_are_summed_apart() -> None:
    """Authorised is in the order's currency, captured and refunded in the payment's; amounts have their currency's digits."""
    yen = Order(id="y", status=Status.PENDING, currency="JPY", reservations=(Reservation(LINES, 500),))
    money = report_of(completed(paid()), cancelled(paid(700, back=700, currency="EUR")), yen).money
    assert {currency: (sums.authorised, sums.captured, sums.refunded) for currency, sums in money.items()} == {
        "EUR": ("0.00", "7.00", "7.00"),
        "JPY": ("500", "0", "0"),
        "USD": ("20.00", "10.00", "0.00"),
    }


def test_rows_that_only_wait_for_their_order_are_no_orders() -> None:
    """Statuses are those of orders that were created; none is listed with zero."""
    assert report_of(Order(id="o"), completed(paid())).orders == {"COMPLETED": 1}


def test_a_broken_law_is_a_problem_with_a_name() -> None:
    """The report says which row breaks which law, and how much money it is."""
    report = report_of(completed(paid(1_500)))
    assert [(broken.table, broken.key, broken.laws) for broken in report.broken] == [("orders", "o", ["more is kept than was authorised"])]
    assert report.money["USD"].unbalanced == "5.00"
    assert report.problems == [
        "5.00 USD are where no law allows them",
        "1 rows break a law, the first is o of orders: more is kept than was authorised",
    ]


def test_a_lost_record_is_a_problem() -> None:
    """What was read and is not accounted for is found."""
    assert report_of(records=2, counts={"input.applied": 1}).problems == ["2 records were read, but 1 are accounted for"]
    assert report_of(records=2, counts={"input.applied": 1, "input.dead.malformed": 1}).problems == []


def test_counts_are_of_this_run() -> None:
    """What was counted before it began is not counted again."""
    report = report_of(
        records=2, counts={"input.applied": 5, "input.ignored": 4, "emitted.X": 7}, before={"input.applied": 3, "input.ignored": 4}
    )
    assert (report.applied, report.ignored, report.emitted) == (2, 0, {"X": 7})


def test_payments_without_a_rate_are_told_by_rule() -> None:
    """Of the whole state; people are told only where there are any."""
    report = report_of(sums={"activity.unrated.in_pounds": 3, "activity.unrated.in_yen": 0, "rows.activity": 7})
    assert report.unrated == {"in_pounds": 3}
    assert re.search(r"payments without a rate *\n *in_pounds +3\b", shown(report))
    assert "without a rate" not in shown(report_of(sums={"rows.activity": 7}))


def shown(report: Report) -> str:
    console = Console(file=StringIO(), width=100)
    with console.capture() as text:
        console.print(rendered(report))
    return text.get()


def test_stock_that_does_not_add_up_is_a_problem() -> None:
    """On hand, reserved and shipped are what came in; what nobody touched is as it was."""
    books = Books()
    found = stock_levels({"A": 5, "B": 1}, [("A", Stock("A", received=5, on_hand=1, shipped=3))], books)
    assert {sku: (level.on_hand, level.reserved, level.shipped) for sku, level in found.items()} == {"A": (1, 0, 3), "B": (1, 0, 0)}
    assert [(broken.table, broken.key) for broken in books.broken] == [("stock", "A")]
