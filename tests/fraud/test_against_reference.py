"""The shipped rules through the engine, against brute force: out of order, late, repeated, cut into chunks, over several partitions."""

import json
import random
from collections.abc import Sequence
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from agents.fraud import fraud
from pipeline.composition import rules
from pipeline.engine.options import Options
from pipeline.engine.plan import make_plan
from pipeline.testing.specs import NOON
from schemas.codec import parse_instant
from schemas.message import Envelope, Message
from schemas.payments import PaymentFailed, PaymentProcessed
from tests.engine.tasks import Tasks
from tests.fraud.reference import LATENESS, MINUTE, SECOND, Alert, Naive, Paid

CURRENCIES = ("USD", "EUR")
CENTS = (50, 99, 100, 9_000, 50_000, 50_001, 120_000, 400_000)


def envelope(paid: Paid) -> Envelope[Message]:
    amount, order, user = Decimal(paid.cents).scaleb(-2), f"o-{paid.number}", f"u-{paid.user}"
    payload: Message
    if paid.failed:
        payload = PaymentFailed(order, f"p-{paid.number}", user, amount=amount, currency=paid.currency)
    else:
        payload = PaymentProcessed(order, amount, f"p-{paid.number}", user, paid.currency)
    return Envelope(paid.id, NOON + paid.at, payload)


def played(payments: Sequence[Paid], chunk: int = 1_000) -> Tasks:
    """Fed in one go, keyed by order as services do."""
    tasks = Tasks(make_plan(fraud(rules(None)), app="fraud"), Options(lateness_ms=LATENESS), chunk=chunk)
    tasks.feed("payment.events", [(f"o-{paid.number}", envelope(paid)) for paid in payments])
    return tasks


def alerts(tasks: Tasks) -> list[Alert]:
    """In some order."""
    found = []
    for (_, user), row in tasks.rows("alerts").items():
        for raised in row.raised:
            alert = raised.alert
            start = parse_instant(alert.window_start) - NOON
            found.append(Alert(alert.rule, int(user[2:]), start, alert.value, alert.event_ids[-1]))
    return sorted(found)


def causes(tasks: Tasks) -> list[str]:
    """The payments that alerts were raised at, from the topic itself."""
    return sorted(json.loads(record.value or b"")["metadata"]["causation_id"] for record in tasks.said("fraud.alerts"))


def without_cause(found: Sequence[Alert]) -> list[tuple[str, int, int, str]]:
    return sorted((a.rule, a.user, a.start, a.value) for a in found)


@st.composite
def histories(draw: st.DrawFn) -> list[Paid]:
    """Three users who spend at a pace at which every rule is near its limit; some payments come out of order, or too late, or twice."""
    rng = random.Random(draw(st.integers(0, 1 << 32)))
    pace = draw(st.sampled_from((SECOND, 5 * SECOND, 20 * SECOND, 2 * MINUTE)))
    return history(rng, draw(st.integers(0, 60)), pace)


def history(rng: random.Random, count: int, pace: int, users: int = 3) -> list[Paid]:
    found: list[Paid] = []
    now = 2 * LATENESS
    for number in range(count):
        now += rng.randrange(pace)
        late = rng.choice((0, 0, 0, rng.randrange(20 * SECOND), rng.randrange(2 * LATENESS)))
        failed = rng.random() < 0.3
        found.append(Paid(number, rng.randrange(users), now - late, rng.choice(CENTS), rng.choice(CURRENCIES), failed))
        if rng.random() < 0.1:
            found.append(rng.choice(found))
    return found


@given(histories(), st.sampled_from((1, 7, 1_000)))
def test_alerts_are_those_of_brute_force(payments: list[Paid], chunk: int) -> None:
    """The same alerts with the same values, raised at the same payments; who was too late is told apart, once."""
    expected, tasks = Naive().play(payments), played(payments, chunk)
    assert without_cause(alerts(tasks)) == without_cause(expected.alerts)
    assert causes(tasks) == sorted(alert.cause for alert in expected.alerts)
    late = [json.loads(record.value or b"")["event_id"] for record in tasks.said("late-events")]
    assert sorted(late) == sorted(expected.late)
    assert tasks.count("late.fraud") == len(late)


@given(histories())
def test_what_is_kept_is_let_go(payments: list[Paid]) -> None:
    """When all windows have passed there is nothing left of anybody but those of whom it was just heard; recovery finds the same."""
    tasks = played(payments)
    assert tasks.recovered("activity") == tasks.rows("activity")
    assert tasks.recovered("alerts") == tasks.rows("alerts")
    later = max((paid.at for paid in payments), default=0) + 60 * MINUTE
    tasks.feed("payment.events", [(f"o-{900 + user}", envelope(Paid(900 + user, 900 + user, later, 100))) for user in range(20)])
    assert {user for _, user in tasks.rows("activity")} == {f"u-{900 + user}" for user in range(20)}


def test_the_histories_reach_every_rule() -> None:
    """A reference that is never asked proves nothing."""
    played = [Naive().play(history(random.Random(seed), 60, (1 + seed % 20) * SECOND)) for seed in range(40)]
    found = {alert.rule for each in played for alert in each.alerts}
    assert found == {rule.id for rule in rules(None).rules}
