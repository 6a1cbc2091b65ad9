"""The pipeline and the independent auditor say the same of every file: counts, messages, ends, money."""

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.replay.generate import generate
from tests.auditor.auditor import Auditor
from tests.engine.histories import THOROUGH
from tests.replay.making import ROOT, run

STYLES = ("orchestrated", "choreographed")
STORIES = sorted((ROOT / "samples" / "stories").glob("*.jsonl"))
FIRST_LINES = 15_000
NOT_PREDICTED = ("alerts", "stock", "FraudAlertRaised")


def came_to(lines: Iterable[bytes], **settings: Any) -> dict[str, Any]:
    """The report, without what is zero."""
    report: dict[str, Any] = msgspec.to_builtins(run(lines, **settings))
    return shown(report)


def shown(report: dict[str, Any]) -> dict[str, Any]:
    """What the auditor predicts, of a report or of a prediction."""
    kept = ("records", "events", "applied", "duplicates", "ignored", "parked", "dead_letters", "emitted", "orders", "money")
    return {
        name: {kind: many for kind, many in report[name].items() if many and kind not in NOT_PREDICTED}
        if isinstance(report[name], dict)
        else report[name]
        for name in kept
    }


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.stem)
def test_a_story_ends_as_it_was_worked_out_by_hand(story: Path, style: str) -> None:
    """Every count, every message and every sum is the one beside the story, in both styles of the saga."""
    expected = json.loads(story.with_suffix(".expected.json").read_text())
    assert came_to(story.read_bytes().splitlines(), saga=style) == shown(expected)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_generated_shop_ends_as_the_auditor_says(seed: int, style: str) -> None:
    """What the auditor predicts of any generated file is what the pipeline reports."""
    lines = list(generate(250, seed))
    assert came_to(lines, saga=style) == shown(Auditor().hear_all(lines).report())


def test_the_large_sample_ends_as_the_auditor_says() -> None:
    """20,000 orders: the expectation that is kept beside the file. While one works, its first lines and what he says of those."""
    lines = gzip.decompress((ROOT / "samples" / "orders-20k.jsonl.gz").read_bytes()).splitlines()
    if THOROUGH:
        expected = json.loads((ROOT / "samples" / "orders-20k.expected.json").read_text())
    else:
        lines = lines[:FIRST_LINES]
        expected = Auditor().hear_all(lines).report()
    assert came_to(lines) == shown(expected)


@pytest.mark.parametrize("style", STYLES)
def test_the_demo_ends_as_it_was_worked_out_by_hand(style: str) -> None:
    """With the stand-in services the ends and the money are those beside the demo."""
    expected = json.loads((ROOT / "samples" / "demo.expected.json").read_text())
    report = came_to((ROOT / "samples" / "demo.jsonl").read_bytes().splitlines(), saga=style, services="standin")
    assert {name: report[name] for name in ("records", "orders", "money", "dead_letters", "parked")} == {
        name: {kind: many for kind, many in expected[name].items() if many} if isinstance(expected[name], dict) else expected[name]
        for name in ("records", "orders", "money", "dead_letters", "parked")
    }


def every_order_of(lines: Sequence[bytes]) -> dict[str, str]:
    """Order id to end, by the auditor."""
    return {order_id: order.status for order_id, order in Auditor().hear_all(lines).orders().items()}
