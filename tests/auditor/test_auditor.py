"""The auditor agrees with the ends that were worked out by hand."""

import json
from pathlib import Path

import pytest

from tests.auditor.auditor import Auditor

STORIES = Path(__file__).parents[2] / "samples" / "stories"


@pytest.mark.parametrize("name", sorted(path.stem for path in STORIES.glob("*.jsonl")))
def test_a_story_ends_as_its_expectation_says(name: str) -> None:
    """Every count, every emitted message and every sum of a story, by hand and by the auditor, are the same; he knows no fraud rules."""
    expected = json.loads((STORIES / f"{name}.expected.json").read_text())
    expected.pop("alerts", None)
    expected["emitted"].pop("FraudAlertRaised", None)
    heard = Auditor().hear_all((STORIES / f"{name}.jsonl").read_bytes().splitlines())
    assert heard.report() == expected


def test_every_expectation_has_its_story() -> None:
    """No expectation stands alone."""
    assert {path.name.split(".")[0] for path in STORIES.glob("*.expected.json")} == {path.stem for path in STORIES.glob("*.jsonl")}
