"""Names in the pages exist in the code, and what the code has is in the pages."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from msgspec.inspect import type_info
from typer.testing import CliRunner

from agents.agent import Deadline
from agents.orders.timeouts import Timeouts, due
from pipeline.cli.app import app
from pipeline.engine.letters import Failure, letter
from pipeline.log.record import FED, Order, Record
from pipeline.replay.report import Report
from pipeline.settings import FILE, Settings, variable_of
from pipeline.worker.kafka import INBOX_CHUNKS
from schemas.codec import Reason
from schemas.topics import CARRIER, DEAD_LETTERS, TOPICS
from tables.orders import UNDONE_FOR_DEADLINE, Status
from tests.docs.generated import DIAGRAM, PARTS, ROOT, pages, written

LETTERS = ROOT / "docs" / "dead-letters.md"
LIFE = ROOT / "docs" / "order-life.md"
REPLAY = ROOT / "docs" / "replay.md"
SETTINGS = {variable_of(name) for name in Settings.model_fields}
DEADLINES = {*UNDONE_FOR_DEADLINE, "delivery", "compensation", "stuck"}


def everything() -> str:
    return "\n".join(page.read_text() for page in pages())


def first_column(page: Path, heading: str) -> list[str]:
    """The names in the first column of the table that begins with this heading."""
    lines = iter(page.read_text().splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            next(lines)
            break
    names: list[str] = []
    for line in lines:
        if not line.startswith("|"):
            break
        names += re.findall(r"`([^`]+)`", line.split("|")[1])
    return names


@pytest.mark.parametrize("name", sorted(PARTS.keys() - {DIAGRAM}))
def test_a_part_made_from_the_code_is_up_to_date(name: str) -> None:
    """`python -m tests.docs.generated` writes it anew. For the diagram, see tests/model: it takes a while, and there it is at hand."""
    assert written(name) == [PARTS[name]()]


def test_every_setting_that_is_named_exists() -> None:
    """And the other way round: the table of settings is made from them."""
    named = set(re.findall(r"ORDERFLOW_[A-Z][A-Z_]*[A-Z]", everything()))
    assert {name.removesuffix(FILE) for name in named} == SETTINGS


def test_the_defaults_in_the_readme_are_the_defaults() -> None:
    """A setting that moves takes the page along."""
    rows = re.findall(r"^\| `ORDERFLOW_(\w+)` \| (?:`(.*?)`|none) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert rows
    for name, default in rows:
        field = Settings.model_fields[name.lower()]
        assert default == ("" if field.default is None else str(field.default))


def reasons_in_code() -> Iterator[str]:
    """What a letter may say: the codec's reasons, and each literal with which the engine gives a record up."""
    yield from get_args(Reason)
    for path in sorted((ROOT / "pipeline" / "engine").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Failure":
                reason = node.args[0]
                if isinstance(reason, ast.Constant):
                    yield str(reason.value)


def test_every_reason_has_a_remedy() -> None:
    """A dead letter that nobody can look up helps nobody."""
    assert sorted(first_column(LETTERS, "reason")) == sorted(set(reasons_in_code()))


def test_every_header_of_a_letter_is_told() -> None:
    """As they are written."""
    record = Record("order.events", 0, None, b"", (), 0, Order(0, FED, 0))
    written = {name for name, _ in letter(record, Failure("invalid", "Bad", ""), Order(0, FED, 0), 0).headers}
    assert set(first_column(LETTERS, "header")) == written


def test_every_state_is_told() -> None:
    """In the order of an order's life."""
    assert first_column(LIFE, "state") == [status.value for status in Status]


def test_every_deadline_is_told() -> None:
    """With the setting that moves it."""
    assert set(first_column(LIFE, "deadline")) == DEADLINES
    source = (ROOT / "agents" / "orders" / "timeouts.py").read_text()
    assert due.__module__ == "agents.orders.timeouts"
    assert all(f'"{name}"' in source for name in DEADLINES)
    assert set(Deadline._fields) == {"at", "name", "correlation_id"}
    assert len(Timeouts.__struct_fields__) == len(
        [name for name in SETTINGS if ("TIMEOUT" in name or "TRIES" in name) and "SESSION" not in name and "TRANSACTION" not in name]
    )


def test_every_reason_of_an_undoing_is_told() -> None:
    """What OrderCancelled may say of its own."""
    source = (ROOT / "tables" / "orders" / "evolve.py").read_text()
    own = {*re.findall(r'_undone\([^"\n]*"(\w+)"', source), *UNDONE_FOR_DEADLINE.values()}
    told = set(re.findall(r"^\|[^|]*\| `(\w+)` \|$", LIFE.read_text(), re.MULTILINE))
    assert own <= told <= own


def test_every_field_of_the_report_is_told() -> None:
    """In docs/replay.md; none is told that is not there."""
    fields = {field.name for field in type_info(Report).fields}  # type: ignore[attr-defined]  # a struct's type_info has fields
    assert set(first_column(REPLAY, "field")) == fields


def test_every_stage_of_the_bench_is_told(elsewhere: Path) -> None:
    """None is told that is not measured."""
    told = CliRunner().invoke(app, ["bench", "--orders", "20", "--json"])
    stages = json.loads(told.stdout)["stages_us"]
    assert list(elsewhere.iterdir()) == []
    assert sorted(first_column(ROOT / "docs" / "performance.md", "line")) == sorted(stages.keys() - {"all"})


def members() -> Iterator[str]:
    """`Class.name` of every method and field in the four rooms."""
    for room in ("agents", "pipeline", "schemas", "tables"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    for each in ast.walk(node):
                        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                            yield f"{node.name}.{each.name}"
                        elif isinstance(each, ast.AnnAssign | ast.Assign):
                            targets = [each.target] if isinstance(each, ast.AnnAssign) else each.targets
                            yield from (f"{node.name}.{t.id if isinstance(t, ast.Name) else getattr(t, 'attr', '')}" for t in targets)


def test_methods_that_are_named_exist() -> None:
    """`Task.work` is where the page says."""
    named = set(re.findall(r"`([A-Z]\w+\.\w+)(?:\([^`]*\))?`", everything()))
    assert named - set(members()) == set()


def test_types_and_topics_are_spelt_right() -> None:
    """Whatever looks like one of ours is one of ours."""
    ours = {name for kind in CARRIER for name in (kind.wire.name, *kind.wire.also)}
    looks = re.compile(r"`((?:Order|Payment|Inventory|Shipment|Fraud|Hold|Item)(?:[A-Z][a-z]+)+)`")
    assert set(looks.findall(everything())) <= ours
    topics = set(
        re.findall(r"`((?:order|payment|inventory|shipping|user|notification|fraud)\.(?:events|commands|alerts|rules))`", everything())
    )
    assert topics <= {topic.name for topic in TOPICS}
    assert DEAD_LETTERS.name in everything()


def test_no_metric_is_promised_that_nobody_counts() -> None:
    """A name that ends as counters do stands in the code."""
    named = set(re.findall(r"`([a-z_]+_total)\b", everything()))
    code = "\n".join(path.read_text() for path in sorted((ROOT / "pipeline").rglob("*.py")))
    assert {name for name in named if name not in code} == set()


def test_how_far_partitions_may_be_apart_is_as_it_is_told() -> None:
    """Records of an inbox that are read ahead, and the lateness, by default; README has both."""
    options = Settings().options()
    told = (ROOT / "README.md").read_text()
    assert f"more than {INBOX_CHUNKS * options.chunk_records:,} records behind" in told
    assert f"the lateness ({options.lateness_ms // 1_000} s)" in told
