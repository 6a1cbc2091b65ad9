"""What a worker tells of itself is what the report of the same run says."""

import asyncio
import gzip
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents.agent import AnyAgent
from agents.orders import saga
from pipeline.composition import agents, rules
from pipeline.embedded import Embedded
from pipeline.engine.options import Options
from pipeline.engine.task import Task
from pipeline.log.record import Record
from pipeline.metrics import METRICS, MOST_RULES, OTHER, REASONS, Histogram, Metrics
from pipeline.replay.feed import Draft, draft
from pipeline.settings import load
from pipeline.testing.specs import NOON
from schemas.codec import encode
from schemas.fraud import FraudAlertRaised
from schemas.message import Envelope
from schemas.orders import OrderCreated
from tables.orders import UNDONE_FOR_DEADLINE, Leg, Order, Payment, Reservation, Shipment, Status, unbalanced
from tables.orders.counted import counted
from tests.house.tree import ROOT

ORDERS_ONLY = saga("orchestrated")
SAMPLE = ROOT / "samples" / "orders-20k.jsonl.gz"
LINES = 6_000
IN_POUNDS = """
[[rule]]
id = "in_pounds"
on = ["PaymentProcessed"]
window = { kind = "tumbling", size = "1m" }
aggregate = "sum"
above = "1.00"
convert_to = "GBP"
"""
"""And nobody says what a pound is worth."""
FINAL = """
[[rule]]
id = "final"
on = ["PaymentProcessed"]
window = { kind = "tumbling", size = "1m" }
aggregate = "sum"
above = "100.00"
emit = "close"
"""
"""Its alerts name no order."""
RULES = FINAL + IN_POUNDS
"""Two besides those that are shipped."""


class Died(Exception):
    pass


class Told:
    """The samples of one scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Sums under these labels; those that are not 0."""
        sums: Counter[tuple[str, ...]] = Counter()
        for sample in self.samples:
            if sample.name == name:
                sums[tuple(sample.labels[label] for label in labels)] += sample.value  # type: ignore[assignment]  # whole numbers, as floats
        return {key: value for key, value in sums.items() if value}


class Run:
    """Lines through a worker that is counted."""

    def __init__(self, lines: list[bytes], *, chunk: int, deciding: Sequence[AnyAgent] = ORDERS_ONLY) -> None:
        asyncio.run(self._run(lines, chunk, deciding))

    async def _run(self, lines: list[bytes], chunk: int, deciding: Sequence[AnyAgent]) -> None:
        async with Embedded(deciding, Options(chunk_records=chunk, dedup_ms=1 << 50), folder=None) as pipeline:
            assert pipeline.worker
            pipeline.worker.observer = metrics = Metrics(pipeline.worker)
            drafts = [draft(each) for each in lines]
            for start in range(0, len(drafts), 1_000):
                await pipeline.feed([_record(pipeline, each) for each in drafts[start : start + 1_000]])
            await pipeline.settle()
            self.told = Told(metrics)
            self.counts = pipeline.counts()
            self.sums = pipeline.sums()
            self.rows = dict(pipeline.rows("orders"))
            self.alerts = list(pipeline.rows("alerts"))


def _record(pipeline: Embedded, line: Draft) -> Record:
    return pipeline.record(line.topic, line.key, line.value, line.headers, line.timestamp, line.at)


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    with gzip.open(SAMPLE) as file:
        return [line for line, _ in zip(file, range(LINES), strict=False)]


@pytest.fixture(scope="module")
def run(lines: list[bytes]) -> Run:
    return Run(lines, chunk=500)


def under(prefix: str, counts: Counter[str]) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix) and count}


def test_every_metric_of_the_list_is_told_and_no_other(run: Run) -> None:
    """Under its name and with its labels; those of the process itself come besides."""
    names = {metric.name.removesuffix("_total"): metric for metric in METRICS}
    assert {name for name in run.told.families if not name.startswith("process_")} == set(names)
    for name, family in run.told.families.items():
        for sample in family.samples:
            if not name.startswith("process_"):
                assert sample.labels.keys() - {"le"} == set(names[name].labels)


def test_what_is_said_is_counted_by_type(run: Run) -> None:
    """As the heads count it."""
    produced = {kind: count for (kind,), count in run.told.by("events_produced_total", "event_type").items()}
    assert produced == under("emitted.", run.counts)


def test_every_record_is_counted_by_what_it_came_to(run: Run) -> None:
    """Together the outcomes are those of the report; what waited and went on is counted as it first was."""
    came = {outcome: count for (outcome,), count in run.told.by("events_consumed_total", "outcome").items()}
    assert sum(came.values()) == sum(under("input.", run.counts).values()) + sum(under("internal.", run.counts).values())
    assert came["duplicate"] <= run.counts["input.duplicate"] + run.counts["internal.duplicate"]
    assert came["dead_letter"] <= sum(under("input.dead.", run.counts).values())
    topics = {topic for (topic,) in run.told.by("events_consumed_total", "topic")}
    assert not {topic for topic in topics if topic.endswith("-inbox")}


def test_dead_letters_and_repeated_events_are_those_of_the_heads(run: Run) -> None:
    """Also what became one later, after waiting."""
    dead = {reason: count for (reason,), count in run.told.by("dlq_events_total", "reason").items()}
    assert dead == under("input.dead.", run.counts)
    assert sum(run.told.by("duplicates_total").values()) == run.counts["input.duplicate"] + run.counts["internal.duplicate"]
    assert sum(run.told.by("late_events_total").values()) == run.counts["late"]


def test_compensations_are_told_with_their_reasons(run: Run) -> None:
    """Each command once, by type, and no reason that nobody knows."""
    told = {command: count for (command,), count in run.told.by("compensations_total", "command").items()}
    assert told == {name: run.counts["emitted." + name] for name in ("RefundPayment", "ReleaseInventory", "CancelShipment")}
    assert {reason for (reason,) in run.told.by("compensations_total", "reason")} <= REASONS | {OTHER}


def test_sums_over_all_rows_are_right_without_reading_them(run: Run) -> None:
    """Orders per status, stuck ones, money that is wrong, rows."""
    orders = [order for order in run.rows.values() if order.created]
    assert run.told.by("orders", "status") == {(status,): n for status, n in Counter(order.status.value for order in orders).items()}
    assert run.told.by("table_rows", "table") == {("orders",): len(run.rows)}
    assert sum(run.told.by("orders_stuck").values()) == sum(order.stuck for order in orders)
    assert not run.told.by("unbalanced_minor_units", "currency")
    assert {sample.labels["currency"] for sample in run.told.families["unbalanced_minor_units"].samples} == {o.currency for o in orders}


def test_money_is_what_the_orders_have(run: Run) -> None:
    """Captured and given back, per currency, also where an order is in another one."""
    for movement in ("captured", "refunded"):
        money: Counter[str] = Counter()
        for order in run.rows.values():
            money.update(getattr(order, movement))
        told = run.told.by("money_minor_units_total", "movement", "currency")
        assert {currency: minor for (which, currency), minor in told.items() if which == movement} == money


def test_the_cut_into_chunks_changes_no_sum(run: Run, lines: list[bytes]) -> None:
    """Only how many chunks there were."""
    other = Run(lines[:2_000], chunk=7), Run(lines[:2_000], chunk=2_000)
    for name, *labels in (
        ("events_consumed_total", "topic", "event_type", "outcome"),
        ("events_produced_total", "topic", "event_type"),
        ("orders", "status"),
        ("money_minor_units_total", "movement", "currency"),
        ("table_rows", "table"),
        ("compensations_total", "command", "reason"),
        ("saga_duration_seconds_sum", "outcome"),
        ("event_processing_duration_seconds_count", "agent"),
    ):
        assert other[0].told.by(name, *labels) == pytest.approx(other[1].told.by(name, *labels)), name
    assert other[0].told.by("batch_size_count")[()] > other[1].told.by("batch_size_count")[()]
    assert run.told.by("batch_size_sum") == {(): sum(run.told.by("event_processing_duration_seconds_count", "agent").values())}


def test_an_end_is_told_with_the_time_it_took(run: Run) -> None:
    """In event time, once per order that ended."""
    ended = Counter(order.status.value for order in run.rows.values() if order.ended_at is not None)
    assert run.told.by("saga_duration_seconds_count", "outcome") == {(status,): count for status, count in ended.items()}
    took = sum(order.ended_at - order.created_at for order in run.rows.values() if order.ended_at is not None) / 1_000
    assert sum(run.told.by("saga_duration_seconds_sum", "outcome").values()) == pytest.approx(took)


def test_the_number_of_label_values_is_bounded() -> None:
    """Of rules, which users make, as of types that nobody knows."""
    created = Envelope("o", NOON, OrderCreated("o-1", "c-1", Decimal("1.00"), "EUR"))
    alerts = [Envelope(f"a-{n}", NOON, FraudAlertRaised("c-1", f"rule-{n}", order_id="o-1")) for n in range(MOST_RULES + 20)]
    strangers = [b'{"event_id":"s%d","event_type":"Strange%d","timestamp":"2025-10-30T12:00:00Z","payload":{}}' % (n, n) for n in range(20)]
    told = Run([*map(encode, [created, *alerts]), *strangers], chunk=500).told
    rules = told.by("fraud_alerts_total", "rule")
    assert len(rules) == MOST_RULES + 1
    assert rules[OTHER,] == 20
    assert {kind for (kind,) in told.by("events_consumed_total", "event_type") if kind.startswith("Strange")} == set()


@pytest.mark.parametrize("chunk", [1, 7, 500])
def test_fraud_is_counted_once(chunk: int, tmp_path: Path) -> None:
    """Alerts by rule, though orders and fraud both hear them; payments without a rate; what came when its windows had closed."""
    path = tmp_path / "rules.toml"
    path.write_text((ROOT / "agents" / "fraud" / "default.toml").read_text() + RULES)
    story = (ROOT / "samples" / "stories" / "fraud-rules.jsonl").read_bytes().splitlines()
    after = [line.replace(b'"fr-', b'"after-').replace(b"2025-10-29T", b"2025-10-30T") for line in story]
    late = [line.replace(b'"fr-', b'"late-') for line in story[:2]]
    foreign = Envelope("foreign", NOON, FraudAlertRaised("cust-71", "foreign", order_id="order-fr-1"))
    lines = [*story, *story, *after, *late, encode(foreign), encode(foreign)]
    run = Run(lines, chunk=chunk, deciding=agents(load(rules=path)))
    alerts = {rule: count for (rule,), count in run.told.by("fraud_alerts_total", "rule").items()}
    said = Counter(raised.alert.rule for _, row in run.alerts for raised in row.raised)
    assert alerts == {**said, "foreign": 1}
    assert sum(said.values()) == run.counts["emitted.FraudAlertRaised"]
    assert {"final", "high_volume", "high_average", "velocity", "probe_then_spend", "card_testing"} == said.keys()
    assert run.told.by("late_events_total", "agent")["fraud",] == run.counts["late.fraud"] > len(late)
    on_time = sum(b'"PaymentProcessed"' in line for line in [*story, *after, *late]) - run.counts["late.fraud"]
    assert (
        run.told.by("fraud_unrated_total", "rule") == {("in_pounds",): run.sums["activity.unrated.in_pounds"]} == {("in_pounds",): on_time}
    )


def test_what_the_rules_have_not_found_yet_is_told_as_0(tmp_path: Path) -> None:
    """For each rule of the file: of a number that is there at once, Prometheus does not see that it has grown."""
    path = tmp_path / "rules.toml"
    path.write_text(RULES)

    async def scenario() -> None:
        async with Embedded(agents(load(rules=path)), Options(), folder=None) as pipeline:
            assert pipeline.worker
            told = Told(Metrics(pipeline.worker, rules(path)))
            found = {(sample.name, *sample.labels.values()): sample.value for sample in told.samples}
            assert {("fraud_alerts_total", "final"), ("fraud_alerts_total", "in_pounds")} <= found.keys()
            assert [key[1] for key in found if key[0] == "fraud_unrated_total"] == ["in_pounds"]
            assert [key[1] for key in found if key[0] == "late_events_total"] == ["fraud"]
            assert not any(value for key, value in found.items() if key[0].startswith(("fraud_", "late_")))

    asyncio.run(scenario())


def reasons_in_code() -> Iterator[str]:
    yield from UNDONE_FOR_DEADLINE.values()
    yield from re.findall(r'_undone\([^"\n]*"(\w+)"', (ROOT / "tables" / "orders" / "evolve.py").read_text())
    yield from re.findall(r'(?:staying|extra)_minor, "(\w+)"', (ROOT / "agents" / "orders" / "steps.py").read_text())


def test_every_reason_of_ours_is_a_label() -> None:
    """Only what others say is `other`."""
    assert set(reasons_in_code()) <= REASONS


RESERVED = (Reservation((), 500, Leg.DONE),)
PAID = Payment("p-1", "EUR", 500)
WRONG = (
    Order(),
    Order(id="o", status=Status.PENDING, currency="EUR", reservations=RESERVED),
    Order(id="o", status=Status.PAID, currency="EUR", reservations=RESERVED, payments=(PAID,)),
    Order(id="o", status=Status.PAID, currency="EUR", reservations=RESERVED, payments=(PAID, Payment("p-2", "EUR", 70))),
    Order(id="o", status=Status.PAID, currency="EUR", reservations=RESERVED, payments=(Payment("p-1", "EUR", 570),)),
    Order(id="o", status=Status.PAID, currency="EUR", reservations=RESERVED, payments=(Payment("p-1", "USD", 500),)),
    Order(id="o", status=Status.COMPLETED, currency="EUR", reservations=RESERVED, payments=(Payment("p-1", "EUR", 500, 600),)),
    Order(id="o", status=Status.CANCELLED, currency="EUR", reservations=RESERVED, payments=(PAID,), undone_for="fraud"),
    Order(id="o", status=Status.SHIPPED, currency="EUR", reservations=RESERVED, payments=(PAID,), overdue=True),
    Order(id="o", status=Status.COMPENSATING, currency="EUR", reservations=(Reservation((), 500, Leg.STUCK),), undone_for="fraud"),
    Order(id="o", status=Status.SHIPPED, currency="EUR", shipment=Shipment(Leg.STUCK), cancel_asked_for="regret"),
)


def found(order: Order) -> Counter[str]:
    """All that one row adds to the sums."""
    sums = Counter({"unbalanced." + currency: amount for currency, amount in unbalanced(order).items()})
    sums.update({"captured." + currency: amount for currency, amount in order.captured.items()})
    sums.update({"refunded." + currency: amount for currency, amount in order.refunded.items()})
    if order.created:
        sums.update({order.status.value: 1, "currency." + order.currency: 1, "stuck": int(order.stuck)})
    return sums


def test_the_examples_are_stuck_and_wrong() -> None:
    """So that the sums of them say something."""
    assert sum(order.stuck for order in WRONG) == 3
    assert sum(bool(unbalanced(order)) for order in WRONG) == 5


@pytest.mark.parametrize("before", WRONG)
def test_a_step_adds_what_a_count_would_find(before: Order) -> None:
    """From any row to any other: what is found after it, less what was found before."""
    for after in WRONG:
        if after.created or not before.created:
            sums = found(before)
            sums.update(counted(before, after))
            assert +sums == +found(after)


def test_a_histogram_counts_one_by_one_and_all_at_once_alike() -> None:
    """A value on a bound belongs to it."""
    one, all_at_once = Histogram((1, 2, 5)), Histogram((1, 2, 5))
    values = [3, 0.5, 5, 7, 1, 2.5, 2]
    for value in values:
        one.add(value)
    all_at_once.add_all(list(values))
    assert one.buckets() == all_at_once.buckets() == [("1", 2), ("2", 3), ("5", 6), ("+Inf", 7)]
    assert one.sum == all_at_once.sum == sum(values)


def test_a_worker_that_begins_again_tells_the_same_sums(lines: list[bytes]) -> None:
    """They are kept with the state; what it has counted itself begins at nothing."""

    async def scenario() -> None:
        async with Embedded(saga("orchestrated"), Options(), folder=None) as pipeline:
            assert pipeline.worker
            before = Metrics(pipeline.worker)
            await pipeline.feed([_record(pipeline, draft(each)) for each in lines[:500]])
            await pipeline.restart()
            after = Metrics(pipeline.worker)
            for name, label in (("orders", "status"), ("table_rows", "table")):
                assert Told(after).by(name, label) == Told(before).by(name, label) != {}
            assert Told(after).by("events_consumed_total", "topic") == {}

    asyncio.run(scenario())


@pytest.mark.parametrize(("step", "committed"), [("decided", 0), ("stored", 1)])
def test_what_was_not_committed_is_not_counted(lines: list[bytes], step: str, committed: int) -> None:
    """A chunk that fails before its commit is decided again by somebody; one that fails after it is not."""

    def dies(at: str, _task: Task) -> None:
        if at == step:
            raise Died

    async def scenario() -> None:
        async with Embedded(saga("orchestrated"), Options(), folder=None, steps=dies) as pipeline:
            assert pipeline.worker
            pipeline.worker.observer = metrics = Metrics(pipeline.worker)
            with pytest.raises(Died):
                await pipeline.feed([_record(pipeline, draft(each)) for each in lines[:50]])
            told = Told(metrics)
            outcomes = told.by("transactions_total", "outcome")
            assert outcomes["failed",] >= 1
            assert bool(outcomes.get(("committed",))) is bool(committed)
            assert bool(told.by("events_consumed_total", "topic")) is bool(committed)

    asyncio.run(scenario())
