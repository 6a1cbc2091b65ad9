"""Fraud in the whole pipeline in memory: rules of all kinds, rules that change, holds and cancellations, and what is too late."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.composition import agents
from pipeline.embedded import Embedded
from pipeline.engine.options import HOUR_MS, Options
from pipeline.replay.feed import draft
from pipeline.settings import load
from pipeline.testing.app import App
from pipeline.testing.specs import NOON
from schemas.codec import encode
from schemas.fraud import FraudAlertRaised, FraudRuleChanged, HoldReleased
from schemas.inventory import InventoryReserved
from schemas.message import Envelope
from schemas.orders import OrderCreated, RefundPayment, ReleaseInventory, ScheduleShipment
from schemas.payments import PaymentFailed, PaymentProcessed

COUNT: dict[str, Any] = {"on": ["PaymentProcessed"], "window": {"kind": "sliding", "size": "1m"}, "aggregate": "count"}


def paid(number: int, amount: str = "10.00", *, user: str = "u-1", currency: str | None = "USD", order: str = "") -> PaymentProcessed:
    return PaymentProcessed(order or f"o-{number}", Decimal(amount), f"p-{number}", user, currency)


def failed(number: int, user: str = "u-1") -> PaymentFailed:
    return PaymentFailed(f"o-{number}", f"p-{number}", user)


def written(folder: Path, toml: str) -> Path:
    path = folder / "rules.toml"
    path.write_text(toml)
    return path


def rule(kind: str, *lines: str) -> str:
    return "\n".join(('[[rule]]\nid = "r"', f"window = {{ {kind} }}", *lines, ""))


PAID = 'on = ["PaymentProcessed"]'


def test_each_shipped_rule_alerts_once() -> None:
    """At the payment that crosses, with what it saw; under an id of its own that a second run makes again."""

    def run() -> list[tuple[str, str, str, str, int]]:
        with App() as app:
            app.feed(*(paid(n, "1000.00") for n in range(13)))
            app.feed(failed(20, "u-2"), failed(21, "u-2"), failed(22, "u-2"), paid(23, user="u-2"), paid(24, user="u-2"))
            app.feed(paid(30, "0.50", user="u-3"), paid(31, "500.01", user="u-3"), paid(32, "600", user="u-3"))
            app.feed(*(paid(40 + n, "1500.00", user="u-4") for n in range(4)))
            return sorted((a.rule, a.user_id, a.value, a.order_id, len(a.event_ids)) for a in app.emitted[FraudAlertRaised])

    assert run() == [
        ("card_testing", "u-2", "10.00", "o-23", 4),
        ("high_average", "u-4", "1500.00", "o-42", 3),
        ("high_volume", "u-1", "11000.00", "o-10", 11),
        ("probe_then_spend", "u-3", "500.01", "o-31", 2),
        ("velocity", "u-1", "11", "o-10", 11),
    ]
    assert run() == run()


@pytest.mark.parametrize(
    ("toml", "seconds", "expected"),
    [
        (rule('kind = "hopping", size = "4s", every = "2s"', PAID, 'aggregate = "count"', "above = 2"), (1, 2, 3, 5, 9), ["3", "3"]),
        (rule('kind = "session", gap = "3s"', PAID, 'aggregate = "count"', "above = 2"), (0, 3, 6, 9, 13, 14, 15), ["3", "3"]),
        (rule('kind = "tumbling", size = "10s"', PAID, 'aggregate = "max"', 'above = "9"', "having = 2"), (1, 2, 3), ["10.00"]),
        (rule('kind = "tumbling", size = "10s"', PAID, 'aggregate = "min"', 'below = "11"', "having = 3"), (1, 2, 3, 4), ["10.00"]),
        (rule('kind = "sliding", size = "10s"', PAID, 'aggregate = "distinct"', 'of = "order_id"', "at_least = 3"), (1, 2, 3, 4), ["3"]),
        (rule('kind = "tumbling", size = "10s"', PAID, 'where = { above = "10.00" }', 'aggregate = "count"', "above = 1"), (1, 2, 3), []),
        (
            rule(
                'kind = "tumbling", size = "10s"',
                PAID,
                'where = { at_most = "10.00", currency = ["USD"] }',
                'aggregate = "count"',
                "above = 1",
            ),
            (1, 2, 3),
            ["2"],
        ),
    ],
)
def test_rules_of_every_kind(toml: str, seconds: tuple[int, ...], expected: list[str], tmp_path: Path) -> None:
    """The payments are of 10.00 each, at these seconds after a full minute."""
    with App(rules=written(tmp_path, toml)) as app:
        for number, second in enumerate(seconds):
            app.feed(paid(number), at=f"2025-10-29T12:00:{second:02}Z")
        assert [alert.value for alert in app.emitted[FraudAlertRaised]] == expected


@pytest.mark.parametrize(
    "kind", ['kind = "tumbling", size = "10s"', 'kind = "session", gap = "10s"', 'kind = "hopping", size = "10s", every = "10s"']
)
def test_a_final_result_comes_when_its_window_closes(kind: str, tmp_path: Path) -> None:
    """Once, with all that came in time, however late; nothing before that."""
    toml = rule(kind, PAID, 'aggregate = "sum"', 'above = "15.00"', 'emit = "close"')
    with App(rules=written(tmp_path, toml), lateness_seconds=5) as app:
        app.feed(paid(1), at="2025-10-29T12:00:01Z")
        app.feed(paid(2), at="2025-10-29T12:00:09Z")
        app.feed(paid(3), at="2025-10-29T12:00:05Z")
        app.wait(seconds=5)
        assert not app.emitted[FraudAlertRaised]
        app.wait(seconds=60)
        (alert,) = app.emitted[FraudAlertRaised]
        assert (alert.value, set(alert.event_ids), alert.order_id) == ("30.00", {"test-1", "test-2", "test-3"}, "")
        app.wait(hours=1)
        assert len(app.emitted[FraudAlertRaised]) == 1
        assert not app.rows("activity")


def test_what_did_not_follow_is_told_when_its_time_is_over(tmp_path: Path) -> None:
    """A refused payment that nobody tried again; not where somebody did."""
    toml = '[[rule]]\nid = "given_up"\nwithin = "1m"\nsteps = [{ on = "PaymentFailed" }, { on = "PaymentProcessed", follows = "never" }]\n'
    with App(rules=written(tmp_path, toml)) as app:
        app.feed(failed(1), failed(2, "u-2"), paid(3))
        app.wait(minutes=2)
        assert [(alert.rule, alert.user_id, alert.order_id) for alert in app.emitted[FraudAlertRaised]] == [("given_up", "u-2", "o-2")]


def test_currencies_are_never_added_but_by_a_rate(tmp_path: Path) -> None:
    """Each has its own sum; where a rule converts, one without a rate is left out and counted, never guessed."""
    rates = '[[rate]]\nfrom = "EUR"\nto = "USD"\nsince = 2025-01-01\nrate = "2"\n'
    plain = rule('kind = "tumbling", size = "1h"', PAID, 'aggregate = "sum"', 'above = "25"')
    events = [paid(1, "20"), paid(2, "20", currency="EUR"), paid(3, "20", currency="GBP")]
    with App(rules=written(tmp_path, plain)) as app:
        app.feed(*events)
        assert not app.emitted[FraudAlertRaised]
    with App(rules=written(tmp_path, plain + 'convert_to = "USD"\n' + rates)) as app:
        app.feed(*events)
        assert [(alert.value, alert.currency) for alert in app.emitted[FraudAlertRaised]] == [("60.00", "USD")]
        assert app.row("activity", "u-1").unrated == {"r": 1}


def test_rules_change_while_they_run() -> None:
    """From the change on, for users of every partition; versions are told; an older one and a broken one change nothing."""
    users = [f"u-{n}" for n in range(12)]

    def alerted(app: App, number: int) -> set[tuple[str, int]]:
        app.emitted.clear()
        app.feed(*(paid(number * 100 + n, user=user) for n, user in enumerate(users)))
        return {(alert.user_id, alert.rule_version) for alert in app.emitted[FraudAlertRaised] if alert.rule == "twice"}

    with App() as app:
        assert alerted(app, 1) == set()
        app.feed(FraudRuleChanged("twice", 2, {**COUNT, "above": 1}))
        assert alerted(app, 2) == set(), "the windows of a new rule begin empty"
        assert alerted(app, 3) == {(user, 2) for user in users}
        app.feed(FraudRuleChanged("twice", 1, {**COUNT, "above": 5}))
        app.feed(FraudRuleChanged("twice", 3, {**COUNT, "above": "none"}))
        assert app.outcomes["duplicate"] == 1
        assert [(letter.reason, letter.field) for letter in app.dead_letters] == [("invalid", "rule.above")]
        app.wait(minutes=5)
        assert alerted(app, 4) == set()
        assert alerted(app, 5) == {(user, 2) for user in users}
        app.wait(minutes=5)
        app.feed(FraudRuleChanged("twice", 4))
        assert alerted(app, 6) | alerted(app, 7) == set()
        assert app.outcomes == {"applied": 2, "dead.invalid": 1, "duplicate": 1, "parked": 7 * len(users)}


def test_a_rule_whose_limit_changes_goes_on_with_its_windows() -> None:
    """What was paid before counts; the file's rule is replaced by the change."""
    with App() as app:
        app.feed(*(paid(n) for n in range(3)))
        app.feed(FraudRuleChanged("velocity", 2, {**COUNT, "above": 3}))
        app.feed(paid(3))
        (alert,) = app.emitted[FraudAlertRaised]
        assert (alert.rule, alert.rule_version, alert.value, alert.threshold) == ("velocity", 2, "4", "3")


def reserved(app: App, order: str = "o-1", user: str = "u-1") -> None:
    app.feed(OrderCreated(order, user, Decimal("10.00"), "USD"), InventoryReserved(order))


@pytest.mark.parametrize("saga", ["orchestrated", "choreographed"])
def test_a_hold_waits_for_a_person(saga: Any, tmp_path: Path) -> None:
    """The alert names its order: its next command waits until the hold is released."""
    toml = rule('kind = "sliding", size = "1m"', 'on = ["PaymentFailed"]', 'aggregate = "count"', "above = 1", 'action = "hold"')
    with App(rules=written(tmp_path, toml), saga=saga) as app:
        app.feed(OrderCreated("o-1", "u-1", Decimal("10.00"), "USD"))
        app.feed(failed(8), PaymentFailed("o-1", "p-9", "u-1"))
        assert [alert.order_id for alert in app.emitted[FraudAlertRaised]] == ["o-1"]
        assert app.order("o-1").held
        app.feed(HoldReleased("o-1", "u-1"))
        assert not app.order("o-1").held


def test_a_cancellation_undoes_what_was_done(tmp_path: Path) -> None:
    """The money goes back and the stock is released, for fraud; once."""
    toml = rule('kind = "tumbling", size = "1m"', PAID, 'aggregate = "sum"', 'above = "5"', 'action = "cancel"')
    with App(rules=written(tmp_path, toml)) as app:
        reserved(app)
        app.feed(paid(1, order="o-1"))
        assert len(app.emitted[ScheduleShipment]) == 1
        (refund,), (release,) = app.emitted[RefundPayment], app.emitted[ReleaseInventory]
        assert (refund.amount, refund.reason, release.reason) == (Decimal("10.00"), "fraud", "fraud")
        assert app.order("o-1").undone_for == "fraud"


def test_what_is_too_late_is_told_apart() -> None:
    """It counts for orders all the same; a payment exactly at the watermark is on time."""
    with App(lateness_seconds=30) as app:
        app.feed(*(paid(n) for n in range(10)), at="2025-10-29T12:00:00Z")
        app.feed(paid(20, user="u-2"), at="2025-10-29T12:00:50Z")
        app.feed(paid(10), at="2025-10-29T12:00:20Z")
        assert [alert.rule for alert in app.emitted[FraudAlertRaised]] == ["velocity"]
        app.feed(paid(11), at="2025-10-29T12:00:19.999Z")
        assert app.row("activity", "u-1").newest == Envelope("", 1_761_739_220_000, paid(10)).at
        assert app.outcomes == {"parked": 13}


@pytest.mark.parametrize("restarts", [False, True])
def test_what_was_left_out_is_not_forgotten(*, restarts: bool, tmp_path: Path) -> None:
    """Neither when the user's windows have ended, nor when a worker begins again: rows and sums are the same."""
    toml = rule('kind = "tumbling", size = "1m"', PAID, 'aggregate = "sum"', 'above = "5"', 'convert_to = "GBP"')

    async def scenario() -> None:
        async with Embedded(agents(load(rules=written(tmp_path, toml))), Options(), folder=None) as pipeline:
            for hour in range(3):
                event = encode(Envelope(f"e-{hour}", NOON + hour * HOUR_MS, paid(hour)))
                await pipeline.feed([pipeline.record(*draft(event))])
                await pipeline.settle()
                if restarts:
                    await pipeline.restart()
            assert [row.unrated for _, row in pipeline.rows("activity")] == [{"r": 3}]
            assert pipeline.sums()["activity.unrated.r"] == 3

    asyncio.run(scenario())


def test_far_in_the_future_closes_nobody_s_window() -> None:
    """A clock that is a year ahead is not believed: its payment is a dead letter, and everybody's windows go on."""
    with App() as app:
        app.feed(*(paid(n) for n in range(10)))
        app.feed(paid(99, user="u-2"), at="2027-01-01T00:00:00Z")
        app.feed(paid(10), at=app.now + 1)
        assert [alert.rule for alert in app.emitted[FraudAlertRaised]] == ["velocity"]
        assert [letter.field for letter in app.dead_letters] == ["timestamp"]


def test_a_payment_of_nobody_is_nobody_s_fraud() -> None:
    """Without a user there is no one to count it for."""
    with App() as app:
        app.feed(*(paid(n, "5000.00", user="") for n in range(20)))
        assert not app.emitted[FraudAlertRaised]
        assert not app.rows("activity")
