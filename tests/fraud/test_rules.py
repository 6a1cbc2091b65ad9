"""Rules as they are written: what is taken, and what is refused with the rule, the field and what to do."""

import pickle
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.fraud import RuleError, read_rules
from agents.fraud.rules import SequenceRule, WindowRule
from agents.fraud.written import read_rule
from pipeline.composition import rules
from pipeline.problem import Problem
from schemas.codec import Bad
from schemas.message import Invalid
from tables.windows import Hopping, Pane, Session, Sliding, Tumbling

RULE = """
[[rule]]
id = "r"
on = ["PaymentProcessed"]
window = { kind = "tumbling", size = "5m" }
aggregate = "sum"
above = "10.00"
"""


def windowed(more: str = "", **changed: str) -> WindowRule:
    """The rule above with these lines changed."""
    lines = {line.partition(" = ")[0]: line for line in RULE.strip().splitlines()} | {
        name: f"{name} = {value}" for name, value in changed.items()
    }
    (rule,) = read_rules("\n".join(line for line in lines.values() if not line.endswith("= -")) + "\n" + more).rules
    assert isinstance(rule, WindowRule)
    return rule


def pane(*values: int) -> Pane:
    return Pane(0, 0, len(values), sum(values), min(values), max(values))


def test_the_shipped_rules_are_those_of_the_contract() -> None:
    """Five of them, which alert and no more."""
    shipped = {rule.id: rule for rule in rules(None).rules}
    assert set(shipped) == {"high_volume", "velocity", "probe_then_spend", "card_testing", "high_average"}
    assert {rule.action for rule in shipped.values()} == {"alert"}
    assert {rule.version for rule in shipped.values()} == {1}


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ('{ kind = "tumbling", size = "1h30m" }', Tumbling(5_400_000)),
        ('{ kind = "hopping", size = "5m", every = "1m" }', Hopping(300_000, 60_000)),
        ('{ kind = "sliding", size = "90s" }', Sliding(90_000)),
        ('{ kind = "session", gap = "1d" }', Session(86_400_000)),
    ],
)
def test_every_kind_of_window_can_be_written(window: str, expected: object) -> None:
    """Times are numbers with a unit."""
    assert windowed(window=window).window == expected


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=6), st.integers(1, 3_000))
def test_a_limit_is_exact(cents: list[int], limit: int) -> None:
    """Each aggregate against each word, as fractions say it; never as binary ones."""
    values: dict[str, Decimal | int] = {"sum": sum(cents), "avg": Decimal(sum(cents)) / len(cents), "min": min(cents), "max": max(cents)}
    for aggregate, value in values.items():
        amount = Decimal(limit).scaleb(-2)
        for word, holds in (("above", value > limit), ("below", value < limit)):
            rule = windowed(aggregate=f'"{aggregate}"', **{"above": "-", word: f'"{amount}"'})
            assert rule.over("USD")((pane(*cents),)) == holds
        if limit > 1:
            assert windowed(aggregate='"count"', above=str(limit)).over("")((pane(*cents),)) == (len(cents) > limit)


@pytest.mark.parametrize(("currency", "value", "limit"), [("USD", "12.35", "10.00"), ("JPY", "1235", "10"), ("BHD", "1.235", "10.000")])
def test_amounts_are_told_as_their_currency_writes_them(currency: str, value: str, limit: str) -> None:
    """A limit is in units of whatever currency the payment is in; an average is rounded to its digits."""
    rule = windowed(aggregate='"avg"')
    assert (rule.value(pane(1_234, 1_235, 1_235), currency), rule.threshold(currency)) == (value, limit)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"above": '"lots"'}, "r: above: "),
        ({"above": '"-1"'}, "r: above: must be from 0 to 10^15"),
        ({"above": '"NaN"'}, "r: above: must be from 0 to 10^15"),
        ({"at_least": '"1"'}, "r: above: a rule has exactly one limit"),
        ({"above": "-"}, "r: above: a rule has exactly one limit"),
        ({"above": "-", "at_least": "0"}, "r: at_least: every single event would match"),
        ({"aggregate": '"count"', "above": "0"}, "r: above: every single event would match"),
        ({"aggregate": '"median"'}, "r: aggregate: "),
        ({"aggregate": '"distinct"'}, "r: of: says what distinct counts"),
        ({"of": '"order_id"'}, "r: of: says what distinct counts"),
        ({"on": '["OrderCreated"]'}, "r: on: 'OrderCreated' is not one of"),
        ({"on": "-"}, "r: on: missing"),
        ({"window": '{ kind = "tumbling" }'}, "r: window.size: a tumbling window has size"),
        ({"window": '{ kind = "tumbling", size = "5 minutes" }'}, "r: window.size: '5 minutes' is not a time; write 30s"),
        ({"window": '{ kind = "tumbling", size = "-5m" }'}, "r: window.size: '-5m' is not a time"),
        ({"window": '{ kind = "tumbling", size = "0s" }'}, "r: window.size: must be from 1ms to 31d"),
        ({"window": '{ kind = "hopping", size = "5m", every = "1s" }'}, "r: window.every: must be from a 100th"),
        ({"window": '{ kind = "hopping", size = "5m", every = "6m" }'}, "r: window.every: must be from a 100th"),
        ({"window": '{ kind = "square", size = "5m" }'}, "r: window.kind: "),
        ({"window": "-"}, "r: window: a rule has either"),
        ({"abov": '"1"'}, "r: abov: no such field; see docs/fraud.md"),
        ({"id": '"r r"'}, "r r: id: must be letters"),
        ({"version": "0"}, "r: version: must be from 1 to 2147483647"),
        ({"version": "2147483648"}, "r: version: must be from 1 to 2147483647"),
        ({"version": "1" * 40}, "r: version: must be from 1 to 2147483647"),
        ({"above": '"1.0000000000001"'}, "r: above: at most 12 digits after the point"),
        ({"window": "-", "steps": "[]", "within": '"1m"'}, "r: steps: empty; write at least one"),
        ({"having": "0"}, "r: having: must be 1 or more"),
        ({"action": '"shout"'}, "r: action: "),
        ({"key": '"order_id"'}, "r: key: "),
        ({"convert_to": '"XXX"'}, "r: convert_to: 'XXX' is not an active ISO 4217 code"),
        ({"aggregate": '"count"', "convert_to": '"USD"'}, "r: convert_to: count is not about money"),
        ({"where": '{ currency = ["DOGE"] }'}, "r: where.currency: 'DOGE' is not an active"),
        ({"where": '{ above = "-1" }'}, "r: where.above: must be an amount"),
        ({"emit": '"close"', "action": '"hold"'}, "r: emit: a window that has closed names no order"),
        ({"emit": '"close"', "window": '{ kind = "sliding", size = "5m" }'}, "r: emit: a sliding window ends with each event"),
        ({"within": '"5m"'}, "r: within: belongs to steps"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(changed: dict[str, str], told: str) -> None:
    """Which rule, which field, and what is wrong with it."""
    with pytest.raises(RuleError) as caught:
        windowed(**changed)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"above": '"0.00"'}, "above: every single event would match; raise it"),
        (
            {"above": "-", "at_least": "0", "on": '["PaymentFailed"]', "emit": '"close"'},
            "at_least: every single event would match; raise it",
        ),
        ({"above": '"0.00"', "aggregate": '"max"'}, "above: every single event would match; raise it"),
        ({"above": "-", "at_least": "0.0001", "aggregate": '"avg"'}, "at_least: every single event would match; raise it"),
        ({"above": "-", "at_least": "0.01", "convert_to": '"USD"'}, "at_least: every single event would match; raise it"),
        ({"above": "-", "at_least": "1", "where": '{ currency = ["JPY"] }'}, "at_least: every single event would match; raise it"),
        ({"above": "-", "at_most": "1", "aggregate": '"count"'}, "at_most: every single event would match; lower it"),
        ({"above": "-", "below": "2", "aggregate": '"distinct"', "of": '"order_id"'}, "below: every single event would match; lower it"),
        ({"above": "-", "below": "0"}, "below: nothing can match; raise it"),
        ({"above": "-", "below": "3", "having": "3", "aggregate": '"count"'}, "below: nothing can match; raise it"),
        ({"where": '{ above = "5", below = "3" }'}, "where.below: nothing can match: no amount is above and below these"),
        ({"where": '{ at_least = "5", below = "5.00" }'}, "where.below: nothing can match: no amount is at_least and below these"),
        ({"where": '{ above = "5", at_most = "5" }'}, "where.at_most: nothing can match: no amount is above and at_most these"),
        ({"where": '{ below = "0" }'}, "where.below: nothing can match: no amount is below 0"),
        ({"where": '{ reason = ["declined"] }'}, "where.reason: nothing can match: only a PaymentFailed has one"),
    ],
)
def test_a_rule_for_everything_or_nothing_is_refused(changed: dict[str, str], told: str) -> None:
    """Where the rule alone shows it: no history is needed."""
    with pytest.raises(RuleError) as caught:
        windowed(**changed)
    assert str(caught.value) == f"r: {told}"


@pytest.mark.parametrize(
    "changed",
    [
        {"above": "-", "at_least": "0.01"},
        {"above": '"0"', "emit": '"close"'},
        {"above": '"0"', "having": "2"},
        {"above": '"0"', "on": '["PaymentFailed"]'},
        {"above": "-", "at_most": "0"},
        {"above": "-", "at_most": "1", "aggregate": '"count"', "emit": '"close"'},
        {"where": '{ at_least = "5", at_most = "5.00" }'},
        {"where": '{ reason = ["declined"] }', "on": '["PaymentFailed", "PaymentProcessed"]'},
        {"version": "2147483647"},
    ],
)
def test_a_rule_that_may_be_meant_is_taken(changed: dict[str, str]) -> None:
    """At the very edge of what is refused: what only a history can show is left to what-if."""
    windowed(**changed)


STEPS = """
[[rule]]
id = "s"
within = "1m"
steps = [{ on = "PaymentFailed", times = 3 }, { on = "PaymentProcessed", follows = "next" }]
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"PaymentFailed"', '"Nothing"', "s: steps[0].on: 'Nothing' is not one of"),
        ("times = 3", "times = 0", "s: steps[0].times: must be from 1 to 100"),
        ("times = 3", 'follows = "never"', "s: steps[0].follows: never must come once, after"),
        ("times = 3", "time = 3", "s: steps[0].time: no such field"),
        ('"1m"', '""', "s: within: '' is not a time"),
        ('within = "1m"', 'within = "1m"\nabove = 3', "s: above: belongs to a window"),
        ('within = "1m"', 'within = "1m"\nemit = "close"', "s: emit: belongs to a window"),
        ("times = 3", 'above = "2", below = "1"', "s: steps[0].below: nothing can match: no amount"),
        ('{ on = "PaymentProcessed"', '{ on = "PaymentProcessed", reason = ["declined"]', "s: steps[1].reason: nothing can match: only"),
        (
            "times = 3 }",
            'times = 100 }, { on = "PaymentFailed", times = 100 }, { on = "PaymentFailed", times = 56 }',
            "s: steps: nothing can",
        ),
        ('{ on = "PaymentFailed", times = 3 }, ', "", "s: steps: every single event would match"),
    ],
)
def test_a_sequence_that_cannot_be_is_refused(old: str, new: str, told: str) -> None:
    """As rules with windows are."""
    assert isinstance(read_rules(STEPS).rules[0], SequenceRule)
    with pytest.raises(RuleError) as caught:
        read_rules(STEPS.replace(old, new).replace(', follows = "next"', "" if told.endswith("match") else ', follows = "next"'))
    assert str(caught.value).startswith(told)


def test_an_id_is_used_once() -> None:
    """Two rules of one name could not be told apart in an alert."""
    with pytest.raises(RuleError, match="r: id: used twice"):
        read_rules(RULE + RULE)


RATES = """
[[rate]]
from = "EUR"
to = "USD"
since = 2025-01-01
rate = "1.10"
[[rate]]
from = "EUR"
to = "USD"
since = 2025-07-01
rate = "1.205"
"""
NEW_YEAR, SUMMER = 1_735_689_600_000, 1_751_328_000_000


@pytest.mark.parametrize(
    ("minor", "currency", "at", "expected"),
    [
        (100, "EUR", NEW_YEAR, 110),
        (100, "EUR", NEW_YEAR - 1, None),
        (100, "EUR", SUMMER, 120),
        (300, "EUR", SUMMER, 362),
        (7, "USD", 0, 7),
        (1, "GBP", SUMMER, None),
    ],
)
def test_a_rate_holds_from_its_day_on(minor: int, currency: str, at: int, expected: int | None) -> None:
    """Rounded half to even; without a rate there is no amount, and none is made up."""
    assert read_rules(RATES).converted(minor, currency, "USD", at) == expected


@pytest.mark.parametrize("rate", ['"0"', '"-1"', '"NaN"', "1e300"])
def test_a_rate_that_cannot_be_is_refused(rate: str) -> None:
    """So is a currency that is none."""
    with pytest.raises(RuleError, match="rate EUR to USD: rate: "):
        read_rules(RATES.replace('"1.10"', rate))
    with pytest.raises(RuleError, match="'ZZZ' is not an active"):
        read_rules(RATES.replace("EUR", "ZZZ"))


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (RULE.replace('"10.00"', '"-3"'), "rules.toml:7: r: above: must be from 0"),
        (RULE + RULE.replace('"r"', '"second"').replace("5m", "5x"), "rules.toml:12: second: window.size: '5x' is not a time"),
        (RULE + "nonsense", "rules.toml: not TOML: "),
        (RULE.replace("aggregate", "agregate"), "rules.toml:6: r: agregate: no such field"),
        (RULE.replace("above", "version = 2147483648\nabove"), "rules.toml:7: r: version: must be from 1 to 2147483647"),
        (RULE + RULE, "rules.toml:10: r: id: used twice"),
        ('rule = "x"', "rules.toml:1: rule: must be a table; begin each with [[rule]]"),
        ('\nrule = ["x"]', "rules.toml:2: rule[0]: must be a table; begin each with [[rule]]"),
        ("rate = { }", "rules.toml:1: rate: must be a table; begin each with [[rate]]"),
        ("a = " + "[" * 100_000, "rules.toml: file: cannot be read: nested too deeply"),
        ("a = " + "1" * 5_000, "rules.toml: file: cannot be read: a number is too long"),
        ("a = 1e" + "9" * 30, "rules.toml: file: cannot be read: a number is too long"),
    ],
)
def test_an_error_in_a_file_says_where(toml: str, told: str, tmp_path: Path) -> None:
    """File, line, rule, field; and what to do."""
    file = tmp_path / "rules.toml"
    file.write_text(toml)
    with pytest.raises(Problem) as caught:
        rules(file)
    assert caught.value.what.removeprefix(f"{tmp_path}/").startswith(told)
    assert caught.value.remedy
    with pytest.raises(Problem, match="cannot be read"):
        rules(tmp_path / "missing.toml")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As editors on Windows write it; the lines are the same."""
    file = tmp_path / "rules.toml"
    file.write_text(RULE.lstrip(), encoding="utf-8-sig")
    assert [rule.id for rule in rules(file).rules] == ["r"]


@pytest.mark.parametrize(
    "error",
    [
        Bad("invalid", "payload.rule_version", "Expected `int` <= 2147483647"),
        Invalid("amount", "negative"),
        Problem("rules.toml: cannot be read.", "Name another."),
        RuleError("r", "above", "missing"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_out_of_another_process(error: Exception) -> None:
    """As it was told there, with all that it names: a run beside this one ends in words, not in a broken pool."""
    there = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    assert (type(there), str(there), vars(there)) == (type(error), str(error), vars(error))


def test_a_changed_rule_is_read_as_a_written_one() -> None:
    """Its id and version are the event's; fractions are strings."""
    written = {"on": ["PaymentProcessed"], "window": {"kind": "tumbling", "size": "5m"}, "aggregate": "sum", "above": "12.50"}
    rule = read_rule("r", 7, written)
    assert isinstance(rule, WindowRule)
    assert (rule.id, rule.version, rule.limit) == ("r", 7, Decimal("12.50"))
    with pytest.raises(Invalid) as caught:
        read_rule("r", 7, {**written, "above": "-1"})
    assert caught.value.field == "rule.above"


def test_what_is_kept_stays_with_a_rule_whose_limit_changes() -> None:
    """But not with one that counts something else."""
    assert windowed().feed == windowed(above='"20"', version="2", action='"hold"', having="3").feed
    assert len({windowed().feed, windowed(window='{ kind = "sliding", size = "5m" }').feed, windowed(on='["PaymentFailed"]').feed}) == 3
