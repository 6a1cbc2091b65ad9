"""Dashboards are made from code, and what is committed is what the code makes."""

import json
import re

import pytest

from pipeline.metrics import METRICS
from tests.grafana.dashboards import COLUMNS, DASHBOARDS, FOLDER, ROOT, Dashboard, path, queries, text


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_the_committed_dashboard_is_up_to_date(dashboard: Dashboard) -> None:
    """`python -m tests.grafana.dashboards` writes it anew."""
    assert path(dashboard).read_text() == text(dashboard)


def test_there_is_no_other_dashboard() -> None:
    """One that nobody makes any more is gone."""
    assert sorted(FOLDER.iterdir()) == sorted(path(dashboard) for dashboard in DASHBOARDS)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_panels_fill_their_rows(dashboard: Dashboard) -> None:
    """From side to side, none over another."""
    panels = json.loads(text(dashboard))["panels"]
    places = {(x, y) for panel in panels for x in range(*_span(panel, "x", "w")) for y in range(*_span(panel, "y", "h"))}
    assert sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels) == len(places)
    assert max(x for x, _ in places) < COLUMNS


def _span(panel: dict[str, dict[str, int]], start: str, length: str) -> tuple[int, int]:
    grid = panel["gridPos"]
    return grid[start], grid[start] + grid[length]


def test_every_metric_is_shown() -> None:
    """A metric that no panel shows is seen by nobody."""
    shown = "\n".join(queries())
    assert {metric.name for metric in METRICS if not re.search(rf"\b{metric.name}(?:_bucket)?\b", shown)} == set()


def test_dashboards_are_provisioned() -> None:
    """From the folder that the compose file mounts, by the source that they name."""
    provisioned = (ROOT / "grafana" / "provisioning" / "dashboards" / "orderflow.yml").read_text()
    (folder,) = re.findall(r"path: (\S+)", provisioned)
    assert f"./grafana/dashboards:{folder}:ro" in (ROOT / "docker-compose.yml").read_text()
    assert "uid: prometheus\n" in (ROOT / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
