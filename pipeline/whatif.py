"""What other rules would have done: one history through both rule sets, by the same agents. Nothing live is touched."""

import asyncio
import signal
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing, contextmanager
from functools import partial
from html import escape
from multiprocessing import active_children, get_context
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from agents.fraud import RuleSet, fraud
from agents.orders import saga
from pipeline.collector import rarely_collect
from pipeline.composition import rules
from pipeline.embedded import Embedded
from pipeline.engine.dedup import id_key
from pipeline.log.kafka import read_through
from pipeline.log.record import Record
from pipeline.problem import Problem
from pipeline.reach import kafka_of
from pipeline.reach import reach as reach_of
from pipeline.replay.feed import feed, time_of
from pipeline.replay.lines import STDIN, Merged, opened
from pipeline.replay.out import record_line
from pipeline.replay.run import BATCH
from pipeline.settings import SECOND_MS, Settings
from schemas.codec import decode, format_instant
from schemas.fraud import FraudAlertRaised
from schemas.message import SOURCE, Envelope, Instant
from schemas.money import minor, text
from schemas.orders import RefundPayment
from schemas.payments import PaymentFailed, PaymentProcessed
from schemas.topics import FRAUD_ALERTS, INVENTORY_EVENTS, ORDER_COMMANDS, ORDER_EVENTS, PAYMENT_EVENTS, SHIPPING_EVENTS
from tables.orders import Status

FEW = 10
"""Alerts that no rate is made of."""
MOMENTS = 60
"""That the time is cut into, at most."""
WIDTH, HEIGHT = 900, 160
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>orderflow whatif</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 60em; color: #222 }}
td, th {{ padding: .1em 1.2em .1em 0; text-align: right }} td:first-child, th:first-child {{ text-align: left }}
.base {{ color: #6a6a6a }} .new {{ color: #c2410c }}
</style>
<h1>Fraud alerts, before and after</h1>
<p><b class="base">base</b> above the line, <b class="new">new rules</b> below it; {span}; the tallest bar is {most}.</p>
<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="Alerts over time">
<line x1="0" x2="{width}" y1="{middle}" y2="{middle}" stroke="#222"/>{bars}</svg>
<table><tr><th>rule</th><th>base</th><th>new</th><th>gained</th><th>lost</th></tr>{rows}</table>
</html>
"""
SEGMENTS = ((1, "one payment"), (9, "2 to 9 payments"), (1 << 62, "10 payments or more"))
"""Customers by how much they pay in the history: up to so many payments."""


class Found(msgspec.Struct, frozen=True):
    """An alert of one run."""

    rule: str
    user_id: str
    window_start: str
    currency: str
    action: str
    order_id: str
    value: str
    at: Instant

    @property
    def key(self) -> tuple[str, str, str, str]:
        """One rule, user and window, whatever the rule's version."""
        return self.rule, self.user_id, self.currency, self.window_start


class Ended(msgspec.Struct, frozen=True):
    """Where an order stands at the end of the history."""

    status: str
    undone_for: str

    @property
    def undone(self) -> bool:
        """Cancelled, or on the way there: nobody answers a compensation that was not asked for when the history was recorded."""
        return self.status in {Status.CANCELLED.value, Status.COMPENSATING.value}


class Outcome(msgspec.Struct):
    """One run."""

    alerts: list[Found]
    payments: dict[str, int]
    """By user."""
    orders: dict[str, Ended]
    captured: dict[str, int]
    """Minor units by currency; and what the pipeline asked to be refunded."""
    refunds: dict[str, int]


class Change(msgspec.Struct):
    """Alerts of one rule, or of one kind of customer, in both runs."""

    base: int = 0
    new: int = 0
    gained: int = 0
    lost: int = 0


class Moved(msgspec.Struct):
    """An order that ends otherwise."""

    order_id: str
    base: Ended
    new: Ended


class Sums(msgspec.Struct):
    """Of all orders, in one currency; decimal strings."""

    captured: str
    refunds_base: str
    """Asked for."""
    refunds_new: str


class Moment(msgspec.Struct):
    """Alerts in one part of the time."""

    start: str
    base: int
    new: int


class Difference(msgspec.Struct):
    """What the new rules change."""

    payments: int
    rules: dict[str, Change]
    segments: dict[str, Change]
    gained: list[Found]
    lost: list[Found]
    held: Change
    """Orders that a rule holds."""
    cancelled: Change
    """Orders that are cancelled, for whatever reason."""
    moved: list[Moved]
    money: dict[str, Sums]
    timeline: list[Moment]

    def too_much(self, *, budget: int | None, budget_orders: int | None, most_percent: int) -> list[str]:
        """Why these rules are not to be switched on; nothing where they may be."""
        why = []
        if budget is not None and len(self.gained) > budget:
            why.append(f"{len(self.gained)} alerts more, and the budget is {budget}")
        if budget_orders is not None and len(self.moved) > budget_orders:
            why.append(f"{len(self.moved)} orders end otherwise, and the budget is {budget_orders}")
        for rule, change in self.rules.items():
            if change.new * 100 > most_percent * self.payments and change.new > FEW:
                why.append(f"{rule} raises {change.new} alerts for {self.payments} payments: more than {most_percent} in a hundred")
        return why


def acts(*sets: RuleSet) -> bool:
    """Some rule does more than tell: orders may end otherwise."""
    return any(rule.action != "alert" for each in sets for rule in each.rules)


def compared(files: Sequence[str], settings: Settings, base: Path | None, new: Path, since: Instant | None) -> Difference:
    """Both runs, side by side in two processes. Alerts before `since` are left out: the windows before it only fill. Raises Problem."""
    with_orders = acts(rules(base), rules(new))
    if STDIN in files:
        raise Problem("Standard input can be read once, and there are two runs.", "Name files.")
    with opened(files):
        """What cannot be read is told before anything is started."""
    with (
        TemporaryDirectory(prefix="orderflow-whatif-") as folder,
        ProcessPoolExecutor(2, mp_context=get_context("spawn"), initializer=_begin, initargs=(folder,)) as pool,
    ):
        try:
            with _unheard():
                runs = [pool.submit(outcome, list(files), settings, path, with_orders=with_orders) for path in (base, new)]
            first, second = (run.result() for run in runs)
        except KeyboardInterrupt:
            for child in active_children():
                child.terminate()
            raise
    return difference(first, second, since)


def _begin(folder: str) -> None:
    """In each process: what it writes lies where it is cleared away, also if it is ended."""
    tempfile.tempdir = folder
    rarely_collect()


@contextmanager
def _unheard() -> Iterator[None]:
    """Processes that are started in the block never hear of an interrupt; this one hears of it after the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def history(settings: Settings, base: Path | None, new: Path, since: Instant) -> Iterator[Path]:
    """What is on the broker's topics, as a file for the time of the block: from before `since`, so that all windows are full by then."""
    if settings.broker.startswith("memory"):
        raise Problem("There is no broker to read the history from.", "Set ORDERFLOW_BROKER, or name files.")
    reach = max([rule.reach_ms for each in (rules(base), rules(new)) for rule in each.rules], default=0)
    start = since - reach - settings.lateness_seconds * SECOND_MS
    kafka = kafka_of(settings)
    topics = {topic.name: topic.partitions for topic in (ORDER_EVENTS, PAYMENT_EVENTS, INVENTORY_EVENTS, SHIPPING_EVENTS)}

    async def read() -> list[tuple[int, bytes]]:
        """Each line with the time that its partition has come to: what was out of order in it stays so."""
        await reach_of(kafka)
        times: dict[tuple[str, int], int] = {}
        found: list[tuple[int, bytes]] = []
        async with aclosing(read_through(kafka, topics, since=max(0, start))) as records:
            async for record in records:
                place = record.topic, record.partition
                times[place] = max(times.get(place, 0), record.timestamp)
                found.append((times[place], record_line(record)))
        return found

    with TemporaryDirectory(prefix="orderflow-whatif-") as folder:
        path = Path(folder) / "history.jsonl"
        path.write_bytes(b"".join([line + b"\n" for _, line in sorted(asyncio.run(read()), key=itemgetter(0))]))
        yield path


def outcome(files: Sequence[str], settings: Settings, path: Path | None, *, with_orders: bool) -> Outcome:
    """One run with one set of rules, by those whose decisions they can change: where no rule acts on orders, fraud hears payments alone."""
    given = settings.model_copy(update={"rules": path, "services": "recorded"})
    orders = saga(given.saga, given.timeouts()) if with_orders else ()
    pipeline = Embedded((*orders, *fraud(rules(path))), given.options(), app=given.group)
    found = Outcome([], {}, {}, {}, {})
    payments: Counter[str] = Counter()
    told: set[bytes] = set()
    captured: Counter[str] = Counter()
    refunds: dict[str, tuple[str, int]] = {}

    def hear(record: Record) -> None:
        if record.topic not in {FRAUD_ALERTS.name, ORDER_COMMANDS.name}:
            return
        match decode(record.value, record.headers):
            case Envelope(event_id=event_id, payload=RefundPayment(amount=amount, currency=currency)):
                refunds[event_id] = currency, minor(amount, currency)
            case Envelope(at=at, source=source, payload=FraudAlertRaised() as raised) if source == SOURCE:
                where = (raised.rule, raised.user_id, raised.window_start, raised.currency)
                found.alerts.append(Found(*where, raised.action, raised.order_id, raised.value, at))

    async def run() -> None:
        pipeline.emitted.append(hear)
        async with pipeline:
            with opened(files) as sources:
                await feed(pipeline, Merged(sources, time_of, given.options().jump_ms), batch=BATCH, reads=partial(_count, payments, told))
            await pipeline.settle()
            if with_orders:
                for key, order in pipeline.rows("orders"):
                    captured.update(order.captured)
                    found.orders[key] = Ended(order.status.value, order.undone_for or "")

    asyncio.run(run())
    found.payments, found.captured = dict(payments), dict(captured)
    for currency, amount in refunds.values():
        found.refunds[currency] = found.refunds.get(currency, 0) + amount
    return found


def _count(payments: Counter[str], told: set[bytes], said: object) -> None:
    """Whose payment it is, if it is one that was not told before."""
    if isinstance(said, Envelope) and isinstance(payment := said.payload, PaymentProcessed | PaymentFailed):
        if (key := id_key(said.event_id, said.at)) in told:
            return
        told.add(key)
        payments[payment.user_id] += 1


def difference(base: Outcome, new: Outcome, since: Instant | None = None) -> Difference:
    """What the second run has otherwise than the first."""
    before, after = ({found.key: found for found in run.alerts if since is None or found.at >= since} for run in (base, new))
    gained = [found for key, found in after.items() if key not in before]
    lost = [found for key, found in before.items() if key not in after]
    segment = {user: next(name for most, name in SEGMENTS if count <= most) for user, count in base.payments.items()}
    by_rule: dict[str, Change] = {}
    by_segment: dict[str, Change] = {name: Change() for _, name in SEGMENTS}
    for name, alerts in (("base", before.values()), ("new", after.values()), ("gained", gained), ("lost", lost)):
        for found in alerts:
            for change in (by_rule.setdefault(found.rule, Change()), by_segment[segment.get(found.user_id, SEGMENTS[0][1])]):
                setattr(change, name, getattr(change, name) + 1)
    moved = [Moved(key, ended, new.orders[key]) for key, ended in base.orders.items() if key in new.orders and ended != new.orders[key]]
    return Difference(
        payments=sum(base.payments.values()),
        rules=dict(sorted(by_rule.items())),
        segments=by_segment,
        gained=gained,
        lost=lost,
        held=_change(*({found.order_id for found in run.alerts if found.action == "hold"} for run in (base, new))),
        cancelled=_change(*({key for key, ended in run.orders.items() if ended.undone} for run in (base, new))),
        moved=moved,
        money=_money(base, new),
        timeline=_timeline(before.values(), after.values()),
    )


def _change(before: set[str], after: set[str]) -> Change:
    return Change(len(before), len(after), len(after - before), len(before - after))


def _money(base: Outcome, new: Outcome) -> dict[str, Sums]:
    sums = (base.captured, base.refunds, new.refunds)
    return {c: Sums(*(text(each.get(c, 0), c) for each in sums)) for c in sorted({c for each in sums for c in each})}


def _timeline(before: Iterable[Found], after: Iterable[Found]) -> list[Moment]:
    """The whole time of all alerts in equal parts."""
    times = [[found.at for found in run] for run in (before, after)]
    together = sorted({*times[0], *times[1]})
    if not together:
        return []
    first, step = together[0], (together[-1] - together[0]) // MOMENTS + 1
    counts = [Counter((at - first) // step for at in run) for run in times]
    return [Moment(format_instant(first + n * step), counts[0][n], counts[1][n]) for n in range((together[-1] - first) // step + 1)]


def plot(found: Difference) -> str:
    """A page with alerts over time, those of the base above the line and those of the new rules below it."""
    most = max([1, *(max(moment.base, moment.new) for moment in found.timeline)])
    wide = WIDTH // max(1, len(found.timeline))
    bars = []
    for number, moment in enumerate(found.timeline):
        up, down = moment.base * HEIGHT // most, moment.new * HEIGHT // most
        title = f"<title>{moment.start}: {moment.base} before, {moment.new} with the new rules</title>"
        x = number * wide
        bars += [
            f'<rect x="{x}" y="{HEIGHT - up}" width="{wide - 1}" height="{up}" fill="#8a8a8a">{title}</rect>',
            f'<rect x="{x}" y="{HEIGHT + 2}" width="{wide - 1}" height="{down}" fill="#c2410c">{title}</rect>',
        ]
    rows = "".join(
        f"<tr><td>{escape(rule)}</td><td>{c.base:,}</td><td>{c.new:,}</td><td>{c.gained:,}</td><td>{c.lost:,}</td></tr>"
        for rule, c in found.rules.items()
    )
    span = f"{found.timeline[0].start} to {found.timeline[-1].start}" if found.timeline else "no alert in either run"
    return PAGE.format(width=WIDTH, height=2 * HEIGHT + 4, middle=HEIGHT + 1, bars="".join(bars), rows=rows, span=span, most=f"{most:,}")
