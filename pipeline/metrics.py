"""Every metric of a worker, in one list; and who fills them: once per chunk, and when Prometheus asks.

Counters and histograms are of this process, and only of what was committed. Gauges are read when Prometheus asks: sums over all rows
are kept in the heads of the tasks (`Table.counted`), so that no table is ever read for them.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client import Metric as Family
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from agents.fraud import RuleSet
from pipeline.clock import wall_ms
from pipeline.engine.task import Task, Work
from pipeline.log.record import Record, TopicPartition, header
from pipeline.worker.app import Worker
from schemas.fraud import FraudAlertRaised
from schemas.message import Envelope, Instant
from schemas.orders import CancelShipment, RefundPayment, ReleaseInventory
from schemas.topics import DEAD_LETTERS, ORDER_COMMANDS
from tables.activity import ACTIVITY, UNRATED
from tables.orders import CAPTURED, CURRENCY, ORDERS, REFUNDED, STUCK, UNBALANCED, Order, Status

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Labels: TypeAlias = tuple[str, ...]


class Metric(NamedTuple):
    """One metric as Prometheus sees it."""

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, of a histogram."""


PRODUCED = Metric("events_produced_total", "counter", "Events and commands that were said.", ("topic", "event_type"))
CONSUMED = Metric(
    "events_consumed_total",
    "counter",
    "Records by what they came to when they were read: applied, duplicate, ignored, parked, dead_letter. "
    "The type is unknown where it could not be read or is not ours, and own where the task had said it itself.",
    ("topic", "event_type", "outcome"),
)
LAG_SECONDS = Metric(
    "event_lag_seconds",
    "histogram",
    "From the time of an event to the commit of what came of it.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600, 86_400),
)
DURATION = Metric(
    "event_processing_duration_seconds",
    "histogram",
    "To decide one event: the mean of its chunk. Agents with the same key share a task, and one name.",
    ("agent",),
    (0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.01, 0.1, 1),
)
GROUP_LAG = Metric(
    "kafka_consumer_group_lag",
    "gauge",
    "Records that the group has not committed, as the broker tells it; each worker tells all of them.",
    ("group", "topic", "partition"),
)
DEAD = Metric("dlq_events_total", "counter", "Dead letters, by the topic that the record came from.", ("topic", "reason"))
ORDERS_NOW = Metric("orders", "gauge", "Orders that stand there now, in this worker's tasks.", ("status",))
COMPENSATIONS = Metric("compensations_total", "counter", "Compensations that were commanded, repeated ones too.", ("command", "reason"))
ORDERS_STUCK = Metric("orders_stuck", "gauge", "Orders that a person has to end.")
SAGA_SECONDS = Metric(
    "saga_duration_seconds",
    "histogram",
    "From OrderCreated to the end of the order, in event time.",
    ("outcome",),
    (1, 10, 60, 300, 900, 3_600, 21_600, 86_400, 604_800, 2_592_000),
)
FRAUD_ALERTS = Metric("fraud_alerts_total", "counter", "Fraud alerts that were heard, without repeated ones.", ("rule",))
FRAUD_UNRATED = Metric("fraud_unrated_total", "counter", "Payments that a rule has no exchange rate for, and leaves out.", ("rule",))
LATE = Metric(
    "late_events_total",
    "counter",
    "Events that were behind the watermark when they came; of an agent with windows, those that came when theirs had closed.",
    ("agent",),
)
DUPLICATES = Metric("duplicates_total", "counter", "Events that had been heard before.", ("agent",))
MONEY = Metric(
    "money_minor_units_total", "counter", "Money captured and refunded, in minor units of its currency.", ("movement", "currency")
)
UNBALANCED_MONEY = Metric("unbalanced_minor_units", "gauge", "Money that is where no law allows it. Never anything but 0.", ("currency",))
WATERMARK_LAG = Metric("watermark_lag_seconds", "gauge", "How far the watermark of a task is behind the clock.", ("partition",))
TABLE_ROWS = Metric("table_rows", "gauge", "Rows in this worker's tasks.", ("table",))
RECOVERY = Metric(
    "recovery_remaining_records", "gauge", "Changelog records that are to be read before the tasks can go on; 0 when they run.", ("table",)
)
REBALANCES = Metric("rebalances_total", "counter", "How often tasks were given out anew, the first time included.")
TRANSACTIONS = Metric("transactions_total", "counter", "Chunks that were committed, or failed.", ("outcome",))
BATCH_SIZE = Metric(
    "batch_size",
    "histogram",
    "Records per chunk, and so per transaction.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000),
)
BUILD = Metric("build_info", "gauge", "Always 1; the version is in the label.", ("version",))

METRICS = (
    PRODUCED,
    CONSUMED,
    LAG_SECONDS,
    DURATION,
    GROUP_LAG,
    DEAD,
    ORDERS_NOW,
    COMPENSATIONS,
    ORDERS_STUCK,
    SAGA_SECONDS,
    FRAUD_ALERTS,
    FRAUD_UNRATED,
    LATE,
    DUPLICATES,
    MONEY,
    UNBALANCED_MONEY,
    WATERMARK_LAG,
    TABLE_ROWS,
    RECOVERY,
    REBALANCES,
    TRANSACTIONS,
    BATCH_SIZE,
    BUILD,
)

UNKNOWN, OWN, OTHER = "unknown", "own", "other"
COMPENSATING = {"emitted." + kind.wire.name: f'{kind.wire.name}"'.encode() for kind in (RefundPayment, ReleaseInventory, CancelShipment)}
TYPE_AT = len('{"event_id":"","event_type":"') + len("00000000-0000-0000-0000-000000000000")
"""Where the type of what we say stands: our ids are UUIDs."""
REASONS = frozenset(
    {
        "out_of_stock",
        "payment_failed",
        "payment_refunded",
        "shipping_failed",
        "reservation_timeout",
        "payment_timeout",
        "hold_timeout",
        "fraud",
        "extra_payment",
        "other_currency",
        "resolved",
    }
)
"""Ours; whoever cancels an order may give any other."""
MOST_RULES = 100
"""Rules are made by users: of more than these, the rest is one."""
NO_RULES = RuleSet()
ENDS = frozenset({Status.COMPLETED, Status.CANCELLED})
HELD_BACK = frozenset({"duplicate", "dead_letter"})


class _Why(msgspec.Struct):
    reason: str = ""


class _Compensation(msgspec.Struct):
    """All that is to be known of one."""

    event_type: str
    payload: _Why


_compensation = msgspec.json.Decoder(_Compensation).decode


class Histogram:
    """Values, counted by the first bound that they do not exceed."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def add_all(self, values: list[float]) -> None:
        """As `add` for each, at a fraction of the cost."""
        values.sort()
        below = 0
        for i, bound in enumerate(self._bounds):
            upto = bisect_right(values, bound, below)
            self._counts[i] += upto - below
            below = upto
        self._counts[-1] += len(values) - below
        self._sum += sum(values)

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated, as Prometheus has them."""
        total, buckets = 0, []
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((str(bound), float(total)))
        return buckets

    @property
    def sum(self) -> float:
        return self._sum


class Metrics(Collector):
    """The metrics of one worker, whose observer this is."""

    def __init__(self, worker: Worker, rules: RuleSet = NO_RULES) -> None:
        """What the rules have not found yet is told as 0: of a number that is there at once nobody sees that it has grown."""
        self._worker = worker
        plan = worker.plan
        self._known: dict[type, tuple[str, str]] = {kind: (kind.wire.name, topic.name) for kind, topic in plan.carrier.items()}
        self._known[type(None)] = (OWN, "")
        self._said = {"emitted." + kind.wire.name: (topic.name, kind.wire.name) for kind, topic in plan.carrier.items()}
        self._inboxes = {group.inbox for group in plan.groups}
        self._counters: dict[Metric, Counter[Labels]] = defaultdict(Counter)
        self._histograms: dict[Metric, dict[Labels, Histogram]] = defaultdict(dict)
        self._rules: set[str] = set()
        self._lag: Mapping[TopicPartition, int] = {}
        self._counters[TRANSACTIONS].update({("committed",): 0, ("failed",): 0})
        self._counters[FRAUD_ALERTS].update({(self._rule(rule.id),): 0 for rule in rules.rules})
        self._counters[FRAUD_UNRATED].update({(self._rule(rule.id),): 0 for rule in rules.converting})
        self._counters[LATE].update({(agent.name,): 0 for group in plan.groups for agent in group.agents if agent.closes is not None})
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def hear_lag(self, lag: Mapping[TopicPartition, int]) -> None:
        """Of the whole group, as the broker tells it."""
        self._lag = lag

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)

    # --- once per chunk

    def failed(self, task: Task) -> None:  # noqa: ARG002  # as every observer
        self._counters[TRANSACTIONS]["failed",] += 1

    def committed(self, task: Task, records: Sequence[Record], work: Work, seconds: float) -> None:
        agent = (task.group.name,)
        self._counters[TRANSACTIONS]["committed",] += 1
        self._histogram(BATCH_SIZE).add(work.taken)
        if work.taken:
            self._histogram(DURATION, agent).add(seconds / work.taken, work.taken)
        before, after = task.head.counts, work.chunk.head.counts
        grown = _grown(before, after)
        self._produced(grown, work.chunk.outputs)
        self._consumed(records, work)
        self._ended(work)
        self._counters[LATE][agent] += grown.get("late", 0)
        for labels, count in _under("late.", grown).items():
            self._counters[LATE][labels] += count
        summed = _grown(task.head.sums, work.chunk.head.sums)
        for (rule,), count in _under(f"{ACTIVITY}.{UNRATED}", summed).items():
            self._counters[FRAUD_UNRATED][self._rule(rule),] += count
        for movement in (CAPTURED, REFUNDED):
            for (currency,), minor in _under(f"{ORDERS.name}.{movement}", summed).items():
                self._counters[MONEY][movement.removesuffix("."), currency] += minor
        self._counters[DUPLICATES][agent] += grown.get("input.duplicate", 0) + grown.get("internal.duplicate", 0)

    def _produced(self, grown: Mapping[str, int], outputs: Sequence[Record]) -> None:
        for name, labels in self._said.items():
            if count := grown.get(name):
                self._counters[PRODUCED][labels] += count
        for letter in [record for record in outputs if record.topic == DEAD_LETTERS.name]:
            where = tuple((header(letter.headers, name) or b"").decode() for name in ("kafka_dlt-original-topic", "orderflow-reason"))
            self._counters[DEAD][where] += 1
        if marks := tuple(mark for name, mark in COMPENSATING.items() if name in grown):
            for value in [record.value for record in outputs if record.topic == ORDER_COMMANDS.name]:
                if value is not None and value.startswith(marks, TYPE_AT):  # few are: the others need not be read
                    said = _compensation(value)
                    reason = said.payload.reason
                    self._counters[COMPENSATIONS][said.event_type, reason if reason in REASONS else OTHER] += 1

    def _consumed(self, records: Sequence[Record], work: Work) -> None:
        taken = zip(records, work.read, work.outcomes, strict=False)  # the records may be more: those of the next chunk
        came = [(record.topic, item.what, outcome) for record, item, outcome in taken if outcome is not None]
        kinds = Counter(
            [(topic, type(what.payload) if isinstance(what, Envelope) else type(what), outcome) for topic, what, outcome in came]
        )
        for (topic, kind, outcome), count in kinds.items():
            event_type, carrier = self._known.get(kind, (UNKNOWN, ""))
            home = carrier if carrier and topic in self._inboxes else topic
            self._counters[CONSUMED][home, event_type, _outcome(outcome)] += count
        now = wall_ms()
        self._histogram(LAG_SECONDS).add_all([(now - what.at) / 1_000 for _, what, _ in came if isinstance(what, Envelope)])
        if any(kind is FraudAlertRaised for _, kind, _ in kinds):
            for _, what, outcome in came:
                if isinstance(what, Envelope) and isinstance(what.payload, FraudAlertRaised) and _outcome(outcome) not in HELD_BACK:
                    self._counters[FRAUD_ALERTS][self._rule(what.payload.rule),] += 1

    def _rule(self, rule: str) -> str:
        if rule not in self._rules and len(self._rules) >= MOST_RULES:
            return OTHER
        self._rules.add(rule)
        return rule

    def _ended(self, work: Work) -> None:
        for slot in work.chunk.changed.values():
            order = slot.row
            if isinstance(order, Order) and order.status in ENDS and slot.kept.status not in ENDS:
                duration_ms = (order.ended_at or 0) - (order.created_at or 0)
                self._histogram(SAGA_SECONDS, (order.status.value,)).add(max(duration_ms, 0) / 1_000)

    def _histogram(self, metric: Metric, labels: Labels = ()) -> Histogram:
        kept = self._histograms[metric]
        if (found := kept.get(labels)) is None:
            found = kept[labels] = Histogram(metric.buckets)
        return found

    # --- when Prometheus asks

    def collect(self) -> Iterator[Family]:
        gauges = self._gauges(wall_ms())
        self._counters[REBALANCES] = Counter({(): self._worker.assignments})
        for metric in METRICS:
            match metric.kind:
                case "counter":
                    counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
                    for labels, value in self._counters[metric].items():
                        counter.add_metric(labels, value)
                    yield counter
                case "histogram":
                    histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
                    for labels, values in self._histograms[metric].items():
                        histogram.add_metric(labels, values.buckets(), values.sum)
                    yield histogram
                case "gauge":
                    gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
                    for labels, level in gauges[metric].items():
                        gauge.add_metric(labels, level)
                    yield gauge

    def _gauges(self, now: Instant) -> dict[Metric, Mapping[Labels, float]]:
        worker = self._worker
        tasks, lateness_ms = worker.assigned, worker.options.lateness_ms
        sums: Counter[str] = Counter()
        remaining: Counter[Labels] = Counter()
        for task in tasks:
            sums.update(task.head.sums)
            remaining[task.group.name,] += worker.remaining(task)
        ours = ORDERS.name + "."
        statuses = [status.value for status in Status if status is not Status.UNKNOWN]
        return {
            GROUP_LAG: {(worker.plan.app, tp.topic, str(tp.partition)): lag for tp, lag in self._lag.items()},
            ORDERS_NOW: {(status,): sums[ours + status] for status in statuses},
            ORDERS_STUCK: {(): sums[ours + STUCK]},
            UNBALANCED_MONEY: dict.fromkeys(_under(ours + CURRENCY, sums), 0) | _under(ours + UNBALANCED, sums),
            WATERMARK_LAG: {(task.name,): (now - task.head.time + lateness_ms) / 1_000 for task in tasks if task.head.time >= 0},
            TABLE_ROWS: _under("rows.", sums),
            RECOVERY: remaining,
            BUILD: {(version("orderflow"),): 1},
        }


def _grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name)}


def _under(prefix: str, sums: Mapping[str, int]) -> dict[Labels, int]:
    return {(name.removeprefix(prefix),): value for name, value in sums.items() if name.startswith(prefix)}


def _outcome(outcome: str) -> str:
    return "dead_letter" if outcome.startswith("dead.") else outcome
