"""Whole replays: what is counted, what is kept, what is written."""

import asyncio
import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.composition import MARKER, levels
from pipeline.engine.task import Task
from pipeline.problem import Problem
from pipeline.replay.chaos import chaos
from pipeline.replay.feed import draft
from pipeline.replay.out import Out
from pipeline.replay.report import Report
from pipeline.replay.run import BrokeOff, How
from pipeline.settings import Settings
from tests.replay.making import ROOT, STORIES, event, happy, read, run

STORY_FILES = sorted(STORIES.glob("*.jsonl"))
DEMO = ROOT / "samples" / "demo.jsonl"


def accounted(report: Report) -> int:
    return report.applied + report.duplicates + report.ignored + report.parked - report.settled + sum(report.dead_letters.values())


@pytest.mark.parametrize("saga", ["orchestrated", "choreographed"])
@pytest.mark.parametrize("story", STORY_FILES, ids=lambda path: path.stem)
def test_a_story_ends_as_it_is_told(story: Path, saga: str) -> None:
    """Each sample ends as the file beside it says, in both styles; every record is accounted for."""
    report = run(read(story), saga=saga)
    expected = json.loads(story.with_suffix(".expected.json").read_bytes())
    assert {name: msgspec.to_builtins(report)[name] for name in expected} == expected
    assert (report.records, report.problems) == (accounted(report), [])
    assert report.events == report.records - report.dead_letters.get("malformed", 0)


def test_an_empty_input_is_a_report_of_zeros() -> None:
    """Nothing to do is nothing wrong."""
    report = run([])
    assert (report.records, report.orders, report.money, report.dead_letters, report.problems) == (0, {}, {}, {}, [])


def test_the_stock_is_empty_unless_the_stand_ins_answer() -> None:
    """With recorded services the stock is somebody else's; with ours every SKU of the levels is there."""
    created = happy("o-1")[:1]
    assert run(created).stock == {}
    stock = run(created, services="standin").stock
    assert stock.keys() == levels().keys()
    assert (stock["SKU001"].on_hand, stock["SKU001"].shipped) == (levels()["SKU001"] - 1, 1)


def test_what_the_pipeline_reads_of_itself_is_counted_apart() -> None:
    """One record in, and all that follows is internal."""
    report = run(happy("o-1")[:1], services="standin")
    assert (report.records, report.applied) == (1, 1)
    assert report.internal["applied"] > 0
    assert report.orders == {"COMPLETED": 1}


def test_a_second_replay_finds_duplicates_only(tmp_path: Path) -> None:
    """What is kept in a folder is known there; the orders stay as they are, and nothing is said twice."""
    lines = read(*STORY_FILES)
    first, second = (run(lines, how=How(folder=tmp_path / "state")) for _ in range(2))
    bad = {reason: count for reason, count in first.dead_letters.items() if reason in {"malformed", "invalid", "unsupported_version"}}
    assert second.duplicates == len(lines) - sum(bad.values())
    assert (second.applied, second.ignored, second.parked, second.dead_letters, second.emitted) == (0, 0, 0, bad, {})
    assert (second.orders, second.money, second.problems) == (first.orders, first.money, [])


def test_payments_without_a_rate_are_those_of_the_whole_state(tmp_path: Path) -> None:
    """By rule, also in a second run, which counts none anew."""
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rule]]\nid = "in_pounds"\non = ["PaymentProcessed"]\nwindow = { kind = "tumbling", size = "1m" }\n'
        'aggregate = "sum"\nabove = "1.00"\nconvert_to = "GBP"\n'
    )
    lines = [event(f"e-{n}", "PaymentProcessed", f"10:0{n}:00", order_id="o", payment_id="p", user_id="u", amount="5.00") for n in range(3)]
    first, second = (run(lines, how=How(folder=tmp_path / "state"), rules=rules) for _ in range(2))
    assert first.unrated == second.unrated == {"in_pounds": 3}
    assert (first.problems, second.duplicates) == ([], 3)


def test_event_ids_are_not_forgotten_however_long_the_input_is(tmp_path: Path) -> None:
    """Weeks later the first line of a file is still known."""
    late = event("x", "OrderShipped", "10:00:00", order_id="o-9").replace(b"2025-10-29", b"2025-11-20")
    lines = [*happy("o-1"), late]
    run(lines, how=How(folder=tmp_path / "state"))
    assert run(lines, how=How(folder=tmp_path / "state")).duplicates == len(lines)


def test_a_replay_goes_on_where_another_ended(tmp_path: Path) -> None:
    """Two halves into one folder are the whole; a record that waited is counted by the run that read it."""
    lines = happy("o-1")
    early = [lines[1], lines[0]]
    waiting = run(early[:1], how=How(folder=tmp_path / "state"))
    assert (waiting.parked, waiting.orders) == (1, {})
    rest = run([*early[1:], *lines[2:]], how=How(folder=tmp_path / "state"))
    assert (rest.records, rest.parked, rest.settled, rest.orders) == (4, 0, 1, {"COMPLETED": 1})
    assert (accounted(rest), rest.problems) == (4, [])


def test_state_is_not_mixed_with_another_kind(tmp_path: Path) -> None:
    """A folder belongs to one group, style and kind of services; what is not ours is left alone."""
    run(happy("o-1"), how=How(folder=tmp_path / "state"))
    with pytest.raises(Problem, match="saga was orchestrated, now choreographed"):
        run([], how=How(folder=tmp_path / "state"), saga="choreographed")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mother.txt").touch()
    with pytest.raises(Problem, match="not a data folder"):
        run([], how=How(folder=tmp_path / "letters"))
    (tmp_path / "state" / MARKER).write_text("{")
    with pytest.raises(Problem, match="damaged"):
        run([], how=How(folder=tmp_path / "state"))


def test_what_broke_off_is_reported_up_to_there() -> None:
    """The lines before the break are in the state and in the report that comes with the Problem."""

    def breaking() -> Any:
        yield from happy("o-1")
        raise Problem("standard input: broke off", "mend it")

    with pytest.raises(BrokeOff) as caught:
        run(breaking())
    assert (caught.value.report.records, caught.value.report.orders) == (5, {"COMPLETED": 1})


# --- Files of what was emitted


def written(folder: Path, lines: Sequence[bytes], *, batch: int = 2_000, **settings: Any) -> dict[str, bytes]:
    out = Out(folder)
    run(lines, how=How(batch=batch, hears=(out.write,)), chunk_records=batch, **settings)
    out.close()
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("services", ["recorded", "standin"])
def test_what_is_written_does_not_depend_on_the_chunks(tmp_path: Path, services: str) -> None:
    """The files are the same, byte for byte, for chunks of 1, 7 and 2000."""
    lines = read(DEMO) if services == "standin" else read(*STORY_FILES)
    one, seven, many = (written(tmp_path / str(batch), lines, batch=batch, services=services) for batch in (1, 7, 2_000))
    assert one == seven == many
    assert "order.commands.jsonl" in many


def test_what_is_written_is_what_is_counted(tmp_path: Path) -> None:
    """One line per event, per dead letter, and per event that came too late for its windows."""
    out = Out(tmp_path / "out")
    report = run(read(*STORY_FILES), how=How(hears=(out.write,)))
    out.close()
    lines = {path.stem: path.read_bytes().splitlines() for path in (tmp_path / "out").iterdir()}
    assert len(lines.pop("dead-letter-queue")) == sum(report.dead_letters.values())
    assert [json.loads(line)["headers"]["orderflow-late"] for line in lines.pop("late-events")] == ["fraud"]
    assert sum(map(len, lines.values())) == sum(report.emitted.values())
    assert {json.loads(line)["metadata"]["source_service"] for each in lines.values() for line in each} == {"orderflow"}


def test_a_dead_letter_is_written_as_it_came_and_can_be_fed_again(tmp_path: Path) -> None:
    """Key and value are text or base64, headers by name; replay reads the same bytes from it."""
    bad = [b"{bad", b"\xff\xfe", b'{"value":"{}","key":"k","headers":{"h":"1"}}']
    lines = written(tmp_path / "out", bad)["dead-letter-queue.jsonl"].splitlines()
    again = [draft(line) for line in lines]
    assert [(letter.topic, letter.key, letter.value) for letter in again] == [
        ("dead-letter-queue", None, b"{bad"),
        ("dead-letter-queue", None, b"\xff\xfe"),
        ("dead-letter-queue", b"k", b"{}"),
    ]
    headers = json.loads(lines[2])["headers"]
    assert (headers["h"], headers["orderflow-reason"]) == ("1", "malformed")
    assert headers["kafka_dlt-original-partition"] == {"base64": "AAAAAA=="}


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path) -> None:
    """Nobody's files are overwritten or mixed."""
    (tmp_path / "a").touch()
    with pytest.raises(Problem, match="not empty"):
        Out(tmp_path)
    with pytest.raises(Problem, match=r"File exists|Not a directory"):
        Out(tmp_path / "a")


# --- Crashes


def test_crashes_and_repeated_lines_leave_no_trace() -> None:
    """A process that dies again and again and a sender that repeats itself end as one quiet run does."""
    settings = Settings.model_validate({"services": "standin"})
    report, compared = asyncio.run(asyncio.wait_for(chaos(read(DEMO), settings, How(), seed=1), timeout=120))
    assert compared.crashes > 10
    assert compared.repeated_lines > 5
    assert (compared.differences, report.problems) == ([], [])


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What a shell starts in the background ignores interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("after", range(1, 20, 3))
def test_an_interrupt_in_the_middle_of_a_chunk_ends_the_run(tmp_path: Path, after: int) -> None:
    """Nobody swallows it, and what was committed is whole: the same input again gives what it gives undisturbed."""
    calls = iter(range(1_000))

    def interrupting(_step: str, _task: Task) -> None:
        if next(calls) == after:
            signal.raise_signal(signal.SIGINT)

    lines = [line for n in range(20) for line in happy(f"o-{n}", minute=n)]
    with pytest.raises(KeyboardInterrupt):
        run(lines, how=How(folder=tmp_path / "state", batch=50, steps=interrupting))
    report = run(lines, how=How(folder=tmp_path / "state"))
    assert (report.orders, report.problems) == ({"COMPLETED": 20}, [])
