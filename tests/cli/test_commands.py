"""The commands: what they print where, and how they exit."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import app, running
from pipeline.cli.say import version
from pipeline.replay import report
from pipeline.settings import Settings, variable_of
from tests.replay.making import ROOT, happy, write

DEMO = ROOT / "samples" / "demo.jsonl"
ORDERFLOW = (sys.executable, "-m", "pipeline")
COMMANDS = ("demo", "replay", "order", "generate", "bench", "settings", "schema export", "schema check")


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of ours, and a folder without .env."""
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.chdir(tmp_path)


def orderflow(*arguments: object, given: bytes = b"") -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)


def report_of(result: Result) -> Any:
    """The one JSON document on standard output."""
    return json.loads(result.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_an_example(command: str) -> None:
    """Usage, options, and one line to copy."""
    result = orderflow(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"orderflow {command}" in " ".join(result.stdout.partition("Example: ")[2].split())


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["replay"], ["replay", "-x", "f"], ["replay", "f", "--to", "kafka"], ["order"]], ids=" ".join
)
def test_bad_usage_exits_2(arguments: list[str]) -> None:
    """What cannot be understood is not guessed at."""
    assert orderflow(*arguments).exit_code == 2


def test_help_is_quick() -> None:
    """Help loads neither Faust nor the settings."""
    heavy = "'faust', 'pydantic', 'rocksdict', 'msgspec', 'rich'"
    code = f"import sys; from pipeline.cli import app; print([m for m in ({heavy}) if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert found.stdout.strip() == "[]"


def test_the_version_is_that_of_the_package() -> None:
    """One line, and exit 0."""
    result = orderflow("--version")
    assert (result.exit_code, result.stdout) == (0, f"orderflow {version()}\n")


@pytest.mark.parametrize("command", ["generate --orders 1", "schema check", "settings", "order o-1"])
def test_every_command_tells_of_a_variable_that_sets_nothing(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line on standard error, with what may have been meant."""
    monkeypatch.setenv("ORDERFLOW_SAGGA", "choreographed")
    monkeypatch.setenv("ORDERFLOW_XYZ", "1")
    first, second, *_ = orderflow(*command.split()).stderr.splitlines()
    assert first == "orderflow: ORDERFLOW_SAGGA is not a setting; did you mean ORDERFLOW_SAGA?"
    assert second == "orderflow: ORDERFLOW_XYZ is not a setting; `orderflow settings` prints them all."


def test_a_dot_env_that_is_no_text_exits_2(tmp_path: Path) -> None:
    """Two lines: which file, why, and what to do."""
    (tmp_path / ".env").write_bytes(b"ORDERFLOW_SAGA=\xff\n")
    result = orderflow("settings")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"orderflow: {tmp_path / '.env'}: cannot be read: not UTF-8 text.",
        "Mend the file, or remove it.",
    ]


SPEAKING = ["--help", "settings --json", "schema export", "generate --orders 500"]
"""Little and much, from all who print."""


@pytest.mark.parametrize("command", SPEAKING)
def test_a_full_disk_under_standard_output_exits_1(command: str) -> None:
    """One line on standard error, and no traceback."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*ORDERFLOW, *command.split()], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False, timeout=30)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert done.stderr.startswith(b"orderflow: standard output")


@pytest.mark.parametrize("command", SPEAKING)
def test_a_pipe_that_nobody_reads_ends_a_command_quietly(command: str) -> None:
    """As in `orderflow ... | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run([*ORDERFLOW, *command.split()], cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (1, b"")


# --- sales


def test_sales_are_shown_for_people_and_for_machines(tmp_path: Path) -> None:
    """Five minutes by five minutes, with the money, and the products of the hour."""
    orderflow("replay", write(tmp_path / "a.jsonl", happy("o-1")), "--data-dir", tmp_path / "state")
    result = orderflow("sales", "--data-dir", tmp_path / "state")
    assert result.exit_code == 0
    assert all(words in result.stdout for words in ("10.00", "0.0%", "most wanted"))
    found = report_of(orderflow("sales", "--data-dir", tmp_path / "state", "--json"))
    assert sum(window["orders"] for window in found["windows"]) == 1
    assert {amount for window in found["windows"] for amount in window["revenue"].values()} == {"10.00"}


def test_sales_of_nothing_say_so(tmp_path: Path) -> None:
    """An empty table would look like a fault."""
    orderflow("replay", write(tmp_path / "a.jsonl", []), "--data-dir", tmp_path / "state")
    assert orderflow("sales", "--data-dir", tmp_path / "state").stdout == "nothing was sold\n"


def test_sales_of_nowhere_are_refused(tmp_path: Path) -> None:
    """Exit 2, and what to name."""
    result = orderflow("sales")
    assert (result.exit_code, "--data-dir or ORDERFLOW_BROKER" in result.stderr) == (2, True)
    assert orderflow("sales", "--data-dir", tmp_path / "none").exit_code == 2


# --- replay


def test_replay_prints_a_report_for_people(tmp_path: Path) -> None:
    """Orders, money, and the verdict; nothing on standard error."""
    result = orderflow("replay", write(tmp_path / "a.jsonl", happy("o-1")))
    assert (result.exit_code, result.stderr) == (0, "")
    assert all(words in result.stdout for words in ("COMPLETED", "10.00", "every law holds", "per second"))


def test_replay_prints_one_json_document(tmp_path: Path) -> None:
    """The names of the report are fixed."""
    result = orderflow("replay", write(tmp_path / "a.jsonl.zst", happy("o-1")), "--json")
    report = report_of(result)
    assert result.exit_code == 0
    assert list(report)[:14] == [
        *("records", "events", "applied", "duplicates", "ignored", "parked", "dead_letters"),
        *("emitted", "orders", "alerts", "money", "stock", "seconds", "events_per_second"),
    ]
    assert (report["records"], report["orders"]) == (5, {"COMPLETED": 1})


def test_replay_reads_standard_input() -> None:
    """A dash is standard input, packed or not."""
    assert report_of(orderflow("replay", "-", "--json", given=gzip.compress(b"\n".join(happy("o-1")))))["orders"] == {"COMPLETED": 1}


def test_an_empty_file_is_a_report_with_zeros(tmp_path: Path) -> None:
    """Nothing is no error."""
    result = orderflow("replay", write(tmp_path / "a.jsonl", []), "--json")
    assert (result.exit_code, report_of(result)["records"]) == (0, 0)


def test_bad_lines_do_not_end_the_run(tmp_path: Path) -> None:
    """A file full of rubbish is a file full of dead letters: exit 0."""
    path = tmp_path / "rubbish"
    path.write_bytes(bytes(range(256)) * 20)
    result = orderflow("replay", path, "--json")
    report = report_of(result)
    assert (result.exit_code, report["dead_letters"]) == (0, {"malformed": report["records"]})
    assert report["records"] > 10


def test_an_unreadable_file_starts_nothing(tmp_path: Path) -> None:
    """Exit 2 with what and what to do; no state, no output folder."""
    good = write(tmp_path / "good.jsonl", happy("o-1"))
    result = orderflow("replay", good, tmp_path / "gone.jsonl", "--data-dir", tmp_path / "state", "--out", tmp_path / "out", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"orderflow: {tmp_path / 'gone.jsonl'}: No such file")
    assert len(result.stderr.splitlines()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.jsonl"]


def test_a_file_without_a_name_is_refused() -> None:
    """An empty name is a variable that was not set, and not the current folder."""
    result = orderflow("replay", "")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 2)
    assert "without a name" in result.stderr


def test_what_breaks_off_on_standard_input_is_reported_and_exits_2(tmp_path: Path) -> None:
    """What was read is in the report and in the state; the same input again, whole, adds only what was missing."""
    lines = [line for n in range(200) for line in happy(f"o-{n}")]
    whole = gzip.compress(b"\n".join(lines))
    result = orderflow("replay", "-", "--json", "--data-dir", tmp_path / "state", given=whole[: len(whole) // 2])
    before = report_of(result)
    assert (result.exit_code, before["problems"]) == (2, [])
    assert f"breaks off after line {before['records']};" in result.stderr
    after = report_of(orderflow("replay", "-", "--json", "--data-dir", tmp_path / "state", given=whole))
    assert after["duplicates"] == before["records"] > 0
    assert after["orders"] == {"COMPLETED": 200}


def test_an_output_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    """Exit 2, and nothing in it changes."""
    result = orderflow("replay", write(tmp_path / "a.jsonl", happy("o-1")), "--out", tmp_path)
    assert result.exit_code == 2
    assert "not empty" in result.stderr


@pytest.mark.parametrize("out", ["state", "state/x", "state/../state/x/y"])
def test_an_output_folder_in_the_state_is_refused(tmp_path: Path, out: str) -> None:
    """Whether that is there or not; exit 2, and nothing is made."""
    file = write(tmp_path / "a.jsonl", happy("o-1"))
    result = orderflow("replay", file, "--data-dir", "state", "--out", out)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 2)
    assert f"{out}: in state, which keeps the state" in result.stderr
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast"])
def test_a_speed_is_max_or_a_positive_number(tmp_path: Path, speed: str) -> None:
    """Anything else is bad usage."""
    result = orderflow("replay", write(tmp_path / "a.jsonl", []), "--speed", speed)
    assert result.exit_code == 2


def test_a_bad_setting_exits_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lines, no traceback."""
    monkeypatch.setenv("ORDERFLOW_SAGA", "improvised")
    result = orderflow("replay", write(tmp_path / "a.jsonl", []))
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 2)
    assert "ORDERFLOW_SAGA (env)" in result.stderr


def test_a_broken_law_exits_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is printed all the same, and the reason is on standard error."""
    monkeypatch.setattr(report, "broken_laws", lambda _order: ["nothing is right"])
    result = orderflow("replay", write(tmp_path / "a.jsonl", happy("o-1")), "--json")
    assert result.exit_code == 1
    assert report_of(result)["broken"] == [{"table": "orders", "key": "o-1", "laws": ["nothing is right"]}]
    assert "nothing is right" in result.stderr


def test_an_interrupted_run_exits_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says that what was committed is whole."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "Merged", interrupted)
    result = orderflow("replay", write(tmp_path / "a.jsonl", happy("o-1")))
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


# --- order


@pytest.fixture
def state(tmp_path: Path) -> Path:
    orderflow("replay", write(tmp_path / "a.jsonl", happy("o-1")), "--data-dir", tmp_path / "state")
    return tmp_path / "state"


def test_an_order_is_shown_with_its_money_and_steps(state: Path) -> None:
    """Amounts are decimal strings, times are those of the events."""
    said = report_of(orderflow("order", "o-1", "--data-dir", state, "--json"))
    assert (said["status"], said["money"]["USD"]["kept"]) == ("COMPLETED", "10.00")
    assert said["steps"]["created"] == "2025-10-29T10:00:00.000Z"
    text = orderflow("order", "o-1", "--data-dir", state).stdout
    assert all(words in text for words in ("COMPLETED", "10.00", "2025-10-29T10:00:04.000Z"))


def test_an_unknown_order_exits_1(state: Path) -> None:
    """Nothing on standard output."""
    result = orderflow("order", "o-2", "--data-dir", state, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no such order" in result.stderr


def test_an_order_needs_a_folder_with_state(tmp_path: Path) -> None:
    """Without one, or with another, exit 2; no folder is made."""
    assert orderflow("order", "o-1").exit_code == 2
    assert orderflow("order", "o-1", "--data-dir", tmp_path / "none").exit_code == 2
    assert not (tmp_path / "none").exists()


# --- the others


def test_settings_are_printed_with_their_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a table and as JSON."""
    monkeypatch.setenv("ORDERFLOW_SAGA", "choreographed")
    result = orderflow("settings", "--json")
    said = report_of(result)
    assert said["saga"] == {"variable": "ORDERFLOW_SAGA", "value": "choreographed", "source": "env"}
    assert said["group"]["source"] == "default"
    assert "ORDERFLOW_LATENESS_SECONDS" in orderflow("settings").stdout


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_generated_orders_are_the_same_for_the_same_seed(tmp_path: Path, name: str) -> None:
    """To a file or to standard output, packed or not."""
    first, second = (tmp_path / f"{n}{name}" for n in (1, 2))
    result = orderflow("generate", "--orders", 20, "--seed", 3, "-o", first, "--json")
    orderflow("generate", "--orders", 20, "--seed", 3, "-o", second)
    assert first.read_bytes() == second.read_bytes()
    plain = orderflow("generate", "--orders", 20, "--seed", 3)
    assert report_of(result)["lines"] == len(plain.stdout.splitlines())
    assert report_of(orderflow("replay", first, "--json"))["records"] == len(plain.stdout.splitlines())


def test_what_was_generated_is_told_beside_the_lines() -> None:
    """Where these have standard output, the report is one line on standard error."""
    result = orderflow("generate", "--orders", 20, "--seed", 3, "--json")
    assert json.loads(result.stderr) == {"file": None, "orders": 20, "seed": 3, "lines": len(result.stdout.splitlines())}


def test_the_demo_ends_well() -> None:
    """All that the samples expect, and exit 0."""
    result = orderflow("demo", "--json")
    report = report_of(result)["report"]
    expected = json.loads(DEMO.with_suffix(".expected.json").read_bytes())
    assert result.exit_code == 0
    assert {name: report[name] for name in expected} == expected


def test_the_demo_speaks_to_people() -> None:
    """Without a terminal there is no live view, and the sums are there."""
    result = orderflow("demo")
    assert result.exit_code == 0
    assert "every law holds" in result.stdout


def test_published_schemas_are_kept(tmp_path: Path) -> None:
    """What is exported now is compatible with itself and with what was published; a removed field is not."""
    assert orderflow("schema", "check").exit_code == 0
    assert orderflow("schema", "export", "--out", tmp_path / "out").exit_code == 0
    assert orderflow("schema", "check", "--published", tmp_path / "out").exit_code == 0
    file = tmp_path / "out" / "OrderShipped.json"
    was = json.loads(file.read_bytes())
    was["properties"]["gone"] = {"type": "string"}
    file.write_text(json.dumps(was))
    result = orderflow("schema", "check", "--published", tmp_path / "out", "--json")
    assert (result.exit_code, report_of(result)["problems"]) == (1, ["OrderShipped: gone: removed or renamed"])


def test_the_asyncapi_document_is_printed() -> None:
    """Without a folder, the one document that says it all."""
    assert report_of(orderflow("schema", "export"))["asyncapi"].startswith("3.")


def test_the_bench_says_where_the_time_goes() -> None:
    """Every stage has a cost, and they add up to the whole."""
    found = report_of(orderflow("bench", "--orders", 50, "--json"))
    stages = found["stages_us"]
    assert stages.keys() >= {"decode", "dedup", "load", "decide", "write", "emit", "all"}
    assert found["records"] > 200
    assert sum(cost for stage, cost in stages.items() if stage != "all") >= stages["all"] * 0.99


def test_a_damaged_state_folder_is_refused(tmp_path: Path) -> None:
    """Exit 2 with the folder and a remedy, not a traceback."""
    story, folder = ROOT / "samples" / "stories" / "happy-path.jsonl", tmp_path / "kept"
    assert orderflow("replay", story, "--data-dir", folder).exit_code == 0
    assert orderflow("replay", story, "--data-dir", folder).exit_code == 0
    next((folder / "log").glob("*.sst")).write_bytes(b"junk")
    found = orderflow("replay", story, "--data-dir", folder)
    assert found.exit_code == 2
    assert "cannot be opened" in found.stderr
    assert "replay the files again" in found.stderr
