"""What other rules would have done: the difference of two runs, held against two real replays."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.problem import Problem
from pipeline.replay.generate import generate
from pipeline.settings import Settings
from pipeline.whatif import SEGMENTS, Ended, Found, Outcome, compared, difference, plot
from schemas.codec import encode
from tests.fraud.test_against_reference import envelope, history

LOW = """
[[rule]]
id = "high_volume"
version = 2
on = ["PaymentProcessed"]
window = { kind = "tumbling", size = "5m" }
aggregate = "sum"
above = "500.00"
"""
CANCEL = LOW.replace('"500.00"', '"300.00"\naction = "cancel"')
HOLD = CANCEL.replace("cancel", "hold")


@pytest.fixture
def payments(tmp_path: Path) -> Path:
    """A history in which every shipped rule alerts."""
    path = tmp_path / "payments.jsonl"
    found = [paid._replace(currency="USD") for paid in history(random.Random(7), 900, 1_000, users=12)]
    path.write_bytes(b"".join(encode(envelope(paid)) + b"\n" for paid in found))
    return path


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """A shop with its services' answers."""
    path = tmp_path / "orders.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in generate(60, 3)))
    return path


def written(folder: Path, name: str, toml: str) -> Path:
    (folder / name).write_text(toml)
    return folder / name


def replayed(file: Path, rules: Path | None, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A real replay with these rules."""
    with monkeypatch.context() as patch:
        if rules is not None:
            patch.setenv("ORDERFLOW_RULES", str(rules))
        return dict(json.loads(CliRunner().invoke(app, ["replay", str(file), "--json"]).stdout))


def keys(report: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(alert["rule"], alert["user_id"], alert["window_start"]) for alert in report["alerts"]}


def test_the_difference_is_that_of_two_replays(payments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alert by alert, though the orders are left out where no rule acts on them."""
    new = written(tmp_path, "new.toml", LOW)
    found = compared([str(payments)], Settings(), None, new, None)
    before, after = keys(replayed(payments, None, monkeypatch)), keys(replayed(payments, new, monkeypatch))
    assert {(a.rule, a.user_id, a.window_start) for a in found.gained} == after - before
    assert {(a.rule, a.user_id, a.window_start) for a in found.lost} == before - after
    assert after - before
    assert len({rule for rule, _, _ in before - after}) == 4, "the four other rules are switched off"
    assert found.rules["high_volume"].new == found.rules["high_volume"].base + found.rules["high_volume"].gained
    assert sum(change.new for change in found.segments.values()) == sum(change.new for change in found.rules.values())
    assert sum(moment.new for moment in found.timeline) == sum(change.new for change in found.rules.values())
    assert (found.moved, found.money) == ([], {})


def test_a_payment_that_is_told_twice_is_one(payments: Path, tmp_path: Path) -> None:
    """In `--most-percent` too: the same file twice changes nothing."""
    new = written(tmp_path, "new.toml", LOW)
    once, twice = (compared([str(payments)] * times, Settings(), None, new, None) for times in (1, 2))
    assert twice == once
    assert once.payments == len({json.loads(line)["event_id"] for line in payments.read_bytes().splitlines()})


def test_orders_that_would_be_cancelled_are_told(orders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the money that would be asked back: as a replay with those rules does it."""
    new = written(tmp_path, "new.toml", CANCEL)
    found = compared([str(orders)], Settings(), None, new, None)
    before, after = replayed(orders, None, monkeypatch), replayed(orders, new, monkeypatch)
    assert found.moved
    assert all(moved.new.undone_for == "fraud" for moved in found.moved)
    assert found.cancelled.gained == found.cancelled.new - found.cancelled.base > 0
    undone = [sum(report["orders"].get(status, 0) for status in ("CANCELLED", "COMPENSATING")) for report in (before, after)]
    assert [found.cancelled.base, found.cancelled.new] == undone
    for currency, sums in found.money.items():
        assert sums.captured == before["money"][currency]["captured"]
    assert any(sums.refunds_new != sums.refunds_base for sums in found.money.values())


def alert(rule: str, user: str, at: int) -> Found:
    return Found(rule, user, f"{at}", "USD", "alert", "o-1", "1.00", at)


def test_alerts_before_the_time_asked_for_are_left_out() -> None:
    """Windows fill before it; what they said then is not compared."""
    base, new = (
        Outcome(alerts, {"u": 1}, {}, {}, {})
        for alerts in ([alert("r", "u", 5)], [alert("r", "u", 5), alert("r", "u", 9), alert("s", "u", 3)])
    )
    assert [found.at for found in difference(base, new, 5).gained] == [9]
    assert [found.at for found in difference(base, new).gained] == [9, 3]


def test_customers_are_told_by_how_much_they_pay() -> None:
    """Each in one group."""
    users = {"one": 1, "few": 9, "many": 10}
    runs = (Outcome([], users, {}, {}, {}), Outcome([alert("r", user, 1) for user in users], users, {}, {}, {}))
    assert {name: change.gained for name, change in difference(*runs).segments.items()} == {name: 1 for _, name in SEGMENTS}


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"budget": 12}, []),
        ({"budget": 11}, ["12 alerts more, and the budget is 11"]),
        ({"budget_orders": 0}, ["1 orders end otherwise, and the budget is 0"]),
        ({"most_percent": 11}, ["r raises 12 alerts for 100 payments: more than 11 in a hundred"]),
    ],
)
def test_rules_that_do_too_much_are_refused(limits: dict[str, int], told: list[str]) -> None:
    """By what they add, by how many orders they change, and by how much of everything they match."""
    orders = ({"o": Ended(status, "")} for status in ("PAID", "CANCELLED"))
    base, new = (Outcome([alert("r", "u", n) for n in range(12 * i)], {"u": 100}, ends, {}, {}) for i, ends in enumerate(orders))
    found = difference(base, new)
    assert (
        found.too_much(budget=limits.get("budget"), budget_orders=limits.get("budget_orders"), most_percent=limits.get("most_percent", 20))
        == told
    )


def whatif(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["whatif", *(str(argument) for argument in arguments)])


def test_the_command_prints_writes_and_judges(payments: Path, tmp_path: Path) -> None:
    """Tables for people, a document for machines, a page with a plot; exit 1 over the budget."""
    new, page = written(tmp_path, "new.toml", LOW), tmp_path / "alerts.html"
    shown = whatif("--rules", new, payments, "--plot", page, "--most-percent", 100)
    assert shown.exit_code == 0, shown.output
    assert "high_volume" in shown.stdout
    assert page.read_text().count("<rect") > 2
    result = whatif("--rules", new, payments, "--json", "--budget", 0, "--most-percent", 100)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["rules"]["high_volume"]["gained"] > 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rules", "missing.toml", "x.jsonl"], "missing.toml: cannot be read"),
        ([], "There is no history to replay"),
        (["--since", "yesterday"], "--since yesterday: "),
        (["--since", "2025-10-29T10:00:00Z"], "There is no broker to read the history from"),
        (["missing.jsonl"], "missing.jsonl"),
        (["-"], "Standard input can be read once"),
    ],
)
def test_what_cannot_be_compared_exits_2(arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "new.toml", LOW)
    result = whatif(*(arguments if "--rules" in arguments else ("--rules", "new.toml", *arguments)))
    assert (result.exit_code, told in result.stderr) == (2, True), result.output


def test_a_plot_of_nothing_is_a_page() -> None:
    """Names in it are text, whatever they hold."""
    nothing = Outcome([], {}, {}, {}, {})
    assert "no alert in either run" in plot(difference(nothing, nothing))
    told = Outcome([alert("<b>", "u", 1)], {"u": 1}, {}, {}, {})
    assert "&lt;b&gt;" in plot(difference(nothing, told))


def test_a_hold_is_counted(orders: Path, tmp_path: Path) -> None:
    """Orders that a rule holds, whatever becomes of them."""
    found = compared([str(orders)], Settings(), None, written(tmp_path, "new.toml", HOLD), None)
    assert (found.held.base, found.held.gained) == (0, found.held.new)
    assert found.held.new > 0


@pytest.mark.parametrize("path", ["no-such-folder/x.html"])
def test_a_plot_that_cannot_be_written_is_told(path: str, payments: Path, tmp_path: Path) -> None:
    """With its name."""
    result = whatif("--rules", written(tmp_path, "new.toml", LOW), payments, "--plot", tmp_path / path)
    assert result.exit_code == 2
    assert path in result.stderr
    assert isinstance(result.exception, SystemExit | Problem)
