"""The Grafana dashboards, as code. `python -m tests.grafana.dashboards` writes them to grafana/dashboards."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "grafana" / "dashboards"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS = 24
HEIGHT = 8
LAG = "max by (topic, partition) (kafka_consumer_group_lag)"
"""Each worker tells the lag of the whole group."""
PAYMENTS = 'events_consumed_total{event_type="PaymentProcessed",outcome=~"applied|ignored|parked"}'
"""Each once."""
ENDED = "saga_duration_seconds_count"
OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}},
    "stat": {"colorMode": "value"},
    "table": {},
}
ONE_ROW_EACH = {"format": "table", "instant": True, "range": False}
"""A table is of the values now."""


class Query(NamedTuple):
    """A line of a panel, and its name."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """What it shows, and in which unit of Grafana's."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 12
    tells: str = ""


class Dashboard(NamedTuple):
    uid: str
    title: str
    panels: tuple[Panel, ...]


def quantiles(metric: str, by: str = "") -> tuple[Query, ...]:
    """The median, and what one in a hundred exceeds."""
    names = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return tuple(
        Query(f"histogram_quantile({quantile}, sum by ({names}) (rate({metric}_bucket[$__rate_interval])))", name + legend)
        for quantile, name in (("0.5", "p50"), ("0.99", "p99"))
    )


def rate(metric: str, *by: str) -> Query:
    names = ", ".join(by)
    return Query(f"sum by ({names}) (rate({metric}[$__rate_interval]))", " ".join(f"{{{{{name}}}}}" for name in by))


PIPELINE = Dashboard(
    "orderflow-pipeline",
    "Orderflow: pipeline",
    (
        Panel("Records a second", "cps", (Query("sum(rate(events_consumed_total[$__rate_interval]))"),), "stat", 4),
        Panel("Lag", "short", (Query(f"sum({LAG})"),), "stat", 4, "Records that the group has not committed."),
        Panel("Median delay", "s", (quantiles("event_lag_seconds")[0],), "stat", 4, "From the time of an event to its commit."),
        Panel("Dead letters", "short", (Query("sum(increase(dlq_events_total[$__range]))"),), "stat", 4, "In the time that is shown."),
        Panel("Workers", "short", (Query('sum(up{job="orderflow"})'),), "stat", 4),
        Panel("Alerts", "short", (Query('count(ALERTS{alertstate="firing"}) or vector(0)'),), "stat", 4),
        Panel("Read, by what it came to", "cps", (rate("events_consumed_total", "outcome"),)),
        Panel("Said", "cps", (rate("events_produced_total", "event_type"),)),
        Panel("Lag per partition", "short", (Query(LAG, "{{topic}}/{{partition}}"),)),
        Panel("Delay", "s", quantiles("event_lag_seconds"), tells="From the time of an event to the commit of what came of it."),
        Panel("To decide one event", "s", quantiles("event_processing_duration_seconds", "agent"), tells="The mean of its chunk."),
        Panel("Records per chunk", "short", quantiles("batch_size"), tells="A chunk is one transaction."),
        Panel("Dead letters a second", "cps", (rate("dlq_events_total", "topic", "reason"),)),
        Panel("Duplicates and late events", "cps", (rate("duplicates_total", "agent"), rate("late_events_total", "agent"))),
        Panel("Transactions", "cps", (rate("transactions_total", "outcome"),)),
        Panel("Recovery", "short", (Query("sum by (instance, table) (recovery_remaining_records)", "{{instance}} {{table}}"),)),
    ),
)
ORDERS = Dashboard(
    "orderflow-orders",
    "Orderflow: orders and money",
    (
        Panel("Orders", "short", (Query("sum(orders)"),), "stat", 6),
        Panel("Stuck", "short", (Query("sum(orders_stuck)"),), "stat", 6, "A person has to end them."),
        Panel("Unbalanced", "short", (Query("sum by (currency) (unbalanced_minor_units)", "{{currency}}"),), "stat", 12, "Minor units."),
        Panel("Where orders stand", "short", (Query("sum by (status) (orders)", "{{status}}"),)),
        Panel("How long orders take", "s", quantiles("saga_duration_seconds", "outcome"), tells="In event time."),
        Panel(
            "Money in five minutes",
            "short",
            (Query("sum by (movement, currency) (increase(money_minor_units_total[5m]))", "{{movement}} {{currency}}"),),
            tells="Minor units of each currency, by when it was heard; `orderflow sales` has it by when it happened.",
        ),
        Panel(
            "Orders that ended cancelled",
            "percentunit",
            (Query(f'sum(increase({ENDED}{{outcome="CANCELLED"}}[5m])) / sum(increase({ENDED}[5m]))', "cancelled"),),
            tells="Of those that ended in the last five minutes.",
        ),
        Panel("Compensations", "cps", (rate("compensations_total", "command", "reason"),), width=COLUMNS),
    ),
)
FRAUD = Dashboard(
    "orderflow-fraud",
    "Orderflow: fraud",
    (
        Panel("Alerts", "short", (Query("sum(increase(fraud_alerts_total[$__range]))"),), "stat", 6, "In the time that is shown."),
        Panel(
            "Alerts per payment",
            "percentunit",
            (Query(f"sum(increase(fraud_alerts_total[$__range])) / sum(increase({PAYMENTS}[$__range]))"),),
            "stat",
            6,
            "Of the payments that succeeded, in the time that is shown. A payment may have the alerts of several rules.",
        ),
        Panel(
            "Late events",
            "short",
            (Query('sum(increase(late_events_total{agent="fraud"}[$__range]))'),),
            "stat",
            6,
            "In the time that is shown. They came when their windows had closed, and are on the topic late-events.",
        ),
        Panel(
            "Payments without a rate",
            "short",
            (Query("sum(increase(fraud_unrated_total[$__range])) or vector(0)"),),
            "stat",
            6,
            "In the time that is shown, once per rule that leaves them out.",
        ),
        Panel("Alerts a second", "cps", (rate("fraud_alerts_total", "rule"),)),
        Panel("Alerts in the last hour", "short", (Query("sum by (rule) (increase(fraud_alerts_total[1h]))", "{{rule}}"),), "table"),
        Panel("Late events a second", "cps", (Query('sum(rate(late_events_total{agent="fraud"}[$__rate_interval]))'),)),
        Panel("Payments without a rate a second", "cps", (rate("fraud_unrated_total", "rule"),)),
        Panel(
            "Rows",
            "short",
            (Query('sum by (table) (table_rows{table=~"activity|alerts"})', "{{table}}"),),
            width=COLUMNS,
            tells="Users whose payments a window still holds, and users that have had an alert.",
        ),
    ),
)
WORKERS = Dashboard(
    "orderflow-workers",
    "Orderflow: workers and state",
    (
        Panel("Workers", "short", (Query('up{job="orderflow"}', "{{instance}}"),), "stat", 8),
        Panel("Versions", "short", (Query("count by (version) (build_info)", "{{version}}"),), "stat", 8),
        Panel("Assignments", "short", (Query("sum by (instance) (rebalances_total)", "{{instance}}"),), "stat", 8),
        Panel("CPU", "percentunit", (rate('process_cpu_seconds_total{job="orderflow"}', "instance"),)),
        Panel("Memory", "bytes", (Query('process_resident_memory_bytes{job="orderflow"}', "{{instance}}"),)),
        Panel("Rows", "short", (Query("sum by (table) (table_rows)", "{{table}}"),)),
        Panel("Watermark behind the clock", "s", (Query("max by (partition) (watermark_lag_seconds)", "{{partition}}"),)),
        Panel(
            "Changelog left to read", "short", (Query("sum by (instance, table) (recovery_remaining_records)", "{{instance}} {{table}}"),)
        ),
        Panel("Chunks that failed", "cps", (Query('sum by (instance) (rate(transactions_total{outcome="failed"}[$__rate_interval]))'),)),
    ),
)
DASHBOARDS = (PIPELINE, ORDERS, FRAUD, WORKERS)


def queries(*dashboards: Dashboard) -> list[str]:
    """Every query of these dashboards, or of all, once."""
    return sorted({query.expr for dashboard in dashboards or DASHBOARDS for panel in dashboard.panels for query in panel.queries})


def text(dashboard: Dashboard) -> str:
    """As Grafana reads it."""
    told = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["orderflow"],
        "links": [{"type": "dashboards", "tags": ["orderflow"], "title": "Orderflow", "asDropdown": True, "icon": "external link"}],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "panels": list(_panels(dashboard)),
    }
    return json.dumps(told, indent=2) + "\n"


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """From left to right, and then below."""
    x = y = 0
    for number, panel in enumerate(dashboard.panels, start=1):
        height = HEIGHT // 2 if panel.kind == "stat" else HEIGHT
        yield {
            "id": number,
            "title": panel.title,
            "description": panel.tells,
            "type": panel.kind,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": panel.width, "h": height},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "options": OPTIONS[panel.kind],
            "targets": [
                {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": query.expr, "legendFormat": query.legend or panel.title}
                | (ONE_ROW_EACH if panel.kind == "table" else {})
                for i, query in enumerate(panel.queries)
            ],
        }
        x += panel.width
        if x >= COLUMNS:
            x, y = 0, y + height


def path(dashboard: Dashboard) -> Path:
    return FOLDER / f"{dashboard.uid.removeprefix('orderflow-')}.json"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in DASHBOARDS:
        path(each).write_text(text(each))
