"""Alerts: each is told apart from what is no alarm, and leads to a section that says what to do."""

import re

from pipeline.metrics import METRICS
from tests.grafana.dashboards import ROOT
from tests.grafana.tools import ran

ALERTS = (ROOT / "grafana" / "alerts.yml").read_text()
NAMES = re.findall(r"- alert: (\w+)", ALERTS)
CASES = ROOT / "tests" / "grafana" / "alerts_test.yml"
RUNBOOK = ROOT / "docs" / "runbook.md"


def test_each_alert_fires_when_it_should() -> None:
    """And not before: promtool plays series of numbers to it."""
    ran("promtool", "prometheus", "test", "rules", CASES.name, at=CASES.parent)


def test_no_alert_is_without_a_case() -> None:
    """Each has a moment at which it is silent, and one at which it fires with its labels."""
    cases = CASES.read_text().split("\n  - name: ")[1:]
    assert [case.partition(",")[0] for case in cases] == NAMES
    for case in cases:
        assert case.count("alertname: ") == 2
        assert case.count("exp_alerts:") == 1


def test_no_alert_is_without_a_section_in_the_runbook() -> None:
    """Under its own name, which its annotation links to."""
    assert re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE) == NAMES
    assert re.findall(r"runbook: docs/runbook\.md#(\w+)", ALERTS) == [name.lower() for name in NAMES]


def test_prometheus_takes_the_files() -> None:
    """As they are in the compose stack, the rules beside the configuration."""
    ran("promtool", "prometheus", "check", "config", "prometheus.yml", at=ROOT / "grafana")


def test_alerts_ask_for_metrics_that_there_are() -> None:
    """Ours, or those that Prometheus makes of a target."""
    known = {metric.name for metric in METRICS} | {"up"}
    for expr in re.findall(r"expr: (.+)", ALERTS):
        assert set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b|\bup\b", re.sub(r"\{.*?\}|by \(.*?\)", "", expr))) <= known, expr
