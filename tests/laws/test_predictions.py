"""The engine reports what the auditor predicts, who knows the specification and nothing of the product."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pytest

from pipeline.replay.run import How, replay
from pipeline.settings import Settings
from tests.auditor.auditor import Auditor
from tests.engine.histories import STORIES, shop

Style = Literal["orchestrated", "choreographed"]
STYLES: tuple[Style, ...] = ("orchestrated", "choreographed")
NOT_PREDICTED = {"alerts", "stock"}
"""The auditor knows the orders only, not the rules of fraud nor the services."""


def reported(
    lines: Sequence[bytes], style: Style, services: Literal["recorded", "standin"] = "recorded", batch: int = 2_000
) -> dict[str, Any]:
    report = asyncio.run(replay(lines, Settings(saga=style, services=services), How(batch=batch)))
    assert report.problems == []
    assert report.broken == []
    told: dict[str, Any] = msgspec.to_builtins(report)
    told["emitted"].pop("FraudAlertRaised", None)
    return told


def agree(report: dict[str, Any], expected: dict[str, Any]) -> None:
    for part in expected.keys() - NOT_PREDICTED:
        assert report[part] == expected[part], part


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", sorted(path.stem for path in STORIES.glob("*.jsonl")))
def test_a_story_ends_as_it_was_written_down(name: str, style: Style) -> None:
    """Every count, every emitted message and every sum, in both styles."""
    lines = (STORIES / f"{name}.jsonl").read_bytes().splitlines()
    agree(reported(lines, style), json.loads((STORIES / f"{name}.expected.json").read_text()))


def test_the_demo_ends_as_it_was_written_down() -> None:
    """With the built-in services answering, stock included."""
    samples = STORIES.parent
    expected = json.loads((samples / "demo.expected.json").read_text())
    report = reported((samples / "demo.jsonl").read_bytes().splitlines(), "orchestrated", "standin")
    agree(report, expected)
    assert report["stock"] == expected["stock"]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_generated_shop_is_reported_as_predicted(seed: int, style: Style) -> None:
    """All stories of the shop, repetitions, late lines and rubbish, with all deadlines passed."""
    lines = shop(150, seed)
    agree(reported(lines, style, batch=300), Auditor().hear_all(lines).report())


def test_everything_at_once_is_reported_as_predicted() -> None:
    """A shop with another one's lines in between; both have the same order ids, so that facts of two lives meet in one."""
    lines = sorted(shop(40, 21) + shop(40, 22), key=lambda line: line[-40:])
    agree(reported(lines, "orchestrated"), Auditor().hear_all(lines).report())
