"""What a replay came to: the records, what was said, where the orders stand, and whether every sum is right."""

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from pipeline.log.record import Record
from schemas.codec import decode, format_instant
from schemas.fraud import FraudAlertRaised
from schemas.message import Envelope
from schemas.money import text
from schemas.topics import FRAUD_ALERTS
from tables.activity import ACTIVITY, UNRATED
from tables.orders import Order, Status, broken_laws, unbalanced
from tables.stock import Stock
from tables.stock import broken_laws as broken_stock_laws

MOST_BROKEN = 1_000
"""Broken rows that are listed; all are counted."""
_OUTCOMES = ("applied", "duplicate", "ignored", "parked")


class Alert(msgspec.Struct):
    """A FraudAlertRaised."""

    rule: str
    user_id: str
    window_start: str
    value: str
    event_id: str


class Money(msgspec.Struct):
    """Decimal strings, of one currency."""

    authorised: str
    """Totals of the orders in their own currency."""
    captured: str
    refunded: str
    unbalanced: str
    """All that a law forbids, whichever way it is wrong."""


class Level(msgspec.Struct):
    """Pieces of one SKU."""

    on_hand: int
    reserved: int
    shipped: int


class Broken(msgspec.Struct):
    """A row that must not be as it is."""

    table: str
    key: str
    laws: list[str]


class Report(msgspec.Struct, kw_only=True):
    """Counts are of the input's own records; `internal` are those that the pipeline emitted and read again.

    records = events + malformed; events = applied + duplicates + ignored + parked + the other dead letters - settled.
    """

    records: int
    events: int
    applied: int
    duplicates: int
    ignored: int
    parked: int
    """Still waiting at the end."""
    dead_letters: dict[str, int]
    emitted: dict[str, int]
    orders: dict[str, int]
    alerts: list[Alert]
    money: dict[str, Money]
    stock: dict[str, Level]
    seconds: float
    events_per_second: int
    internal: dict[str, int]
    late: int
    """Records older than the watermark when they came."""
    settled: int
    """Records that an earlier run left waiting, and that are no longer: counted in what they came to, not in `records`."""
    stuck: int
    """Orders that a person has to end."""
    unrated: dict[str, int]
    """Payments that a fraud rule could not convert, by rule, in the whole state."""
    broken: list[Broken]
    problems: list[str]
    """Why the exit code is 1; empty when every law and sum holds."""


class Books:
    """The sums over all orders, one row after the other. Amounts in minor units by currency."""

    def __init__(self) -> None:
        self.authorised: Counter[str] = Counter()
        self.captured: Counter[str] = Counter()
        self.refunded: Counter[str] = Counter()
        self.unbalanced: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.stuck = 0
        self.broken: list[Broken] = []
        self.broken_rows = 0

    def add(self, key: str, order: Order) -> None:
        if order.created:
            self.statuses[order.status.value] += 1
            self.authorised[order.currency] += order.total_minor
            self.stuck += order.stuck
        self.captured.update(order.captured)
        self.refunded.update(order.refunded)
        self.note("orders", key, broken_laws(order))
        self.unbalanced.update(unbalanced(order))

    def note(self, table: str, key: str, laws: list[str]) -> None:
        if laws:
            self.broken_rows += 1
            if len(self.broken) < MOST_BROKEN:
                self.broken.append(Broken(table, key, laws))

    def money(self) -> dict[str, Money]:
        currencies = sorted({*self.authorised, *self.captured, *self.refunded})
        sums = (self.authorised, self.captured, self.refunded, self.unbalanced)
        return {currency: Money(*(text(amounts[currency], currency) for amounts in sums)) for currency in currencies}

    def orders(self) -> dict[str, int]:
        """In the order of an order's life."""
        return {status.value: self.statuses[status.value] for status in Status if self.statuses[status.value]}


class Alerts:
    """Hears what is emitted, and keeps the fraud alerts."""

    def __init__(self) -> None:
        self.raised: list[Alert] = []

    def hear(self, record: Record) -> None:
        if record.topic != FRAUD_ALERTS.name:
            return
        said = decode(record.value, record.headers)
        if isinstance(said, Envelope) and isinstance(alert := said.payload, FraudAlertRaised):
            self.raised.append(Alert(alert.rule, alert.user_id, alert.window_start, alert.value, said.event_id))


def stock_levels(levels: Mapping[str, int], rows: Iterable[tuple[str, Stock]], books: Books) -> dict[str, Level]:
    """What was there at the beginning, and what became of it."""
    found = {sku: Level(level, 0, 0) for sku, level in levels.items()}
    for sku, row in rows:
        found[sku] = Level(row.on_hand, row.reserved, row.shipped)
        books.note("stock", sku, broken_stock_laws(row))
    return dict(sorted(found.items()))


def make_report(
    *,
    records: int,
    counts: Mapping[str, int],
    before: Mapping[str, int],
    books: Books,
    alerts: list[Alert],
    stock: dict[str, Level],
    sums: Mapping[str, int],
    seconds: float,
) -> Report:
    """`counts` and `before` are the pipeline's, at the end and at the beginning of this run; `sums` are those of its state."""
    delta = Counter({name: counts[name] - before.get(name, 0) for name in counts})
    came = {name: delta["input." + name] for name in _OUTCOMES}
    dead = _under("input.dead.", delta)
    settled = max(-came["parked"], 0)
    accounted = sum(came.values()) + sum(dead.values())
    problems = []
    if records != accounted:
        problems.append(f"{records} records were read, but {accounted} are accounted for")
    for currency, amount in books.unbalanced.items():
        problems.append(f"{text(amount, currency)} {currency} are where no law allows them")
    if books.broken_rows:
        first = books.broken[0]
        problems.append(f"{books.broken_rows} rows break a law, the first is {first.key} of {first.table}: {first.laws[0]}")
    return Report(
        records=records,
        events=records - dead.get("malformed", 0),
        applied=came["applied"],
        duplicates=came["duplicate"],
        ignored=came["ignored"],
        parked=came["parked"] + settled,
        dead_letters=dead,
        emitted=_under("emitted.", delta),
        orders=books.orders(),
        alerts=alerts,
        money=books.money(),
        stock=stock,
        seconds=round(seconds, 3),
        events_per_second=round(records / seconds) if seconds > 0 else 0,
        internal=_under("internal.", delta),
        late=delta["late"],
        settled=settled,
        stuck=books.stuck,
        unrated=_under(f"{ACTIVITY}.{UNRATED}", sums),
        broken=books.broken,
        problems=problems,
    )


def _under(prefix: str, counts: Mapping[str, int]) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in sorted(counts.items()) if name.startswith(prefix) and count}


def steps(order: Order) -> dict[str, str]:
    """When each step of an order's life was reached: ISO 8601, those only that were."""
    times = {
        "created": order.created_at,
        "reserved": order.reserved_at,
        "paid": order.paid_at,
        "shipped": order.shipped_at,
        "undone": order.undone_at,
        "ended": order.ended_at,
        "held": order.held_at,
    }
    return {name: format_instant(at) for name, at in times.items() if at is not None}
