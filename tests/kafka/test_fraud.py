"""Fraud rules on a broker: the alerts of brute force, once each, though workers die on the way; and what is told of them."""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.settings import variable_of
from schemas.codec import encode, format_instant
from schemas.topics import FRAUD_ALERTS, LATE
from tests.fraud.__main__ import key, keyed, ours
from tests.fraud.on_kafka import told_by
from tests.fraud.reference import SECOND, Naive, Paid
from tests.fraud.test_against_reference import envelope, history
from tests.kafka.brokers import Brokers
from tests.kafka.driver import Stage, Watch, run
from tests.kafka.test_crashes import STEPS, Dying

Names = Callable[[str], str]
CHUNK = 20


def lines(payments: Sequence[Paid]) -> list[bytes]:
    return [keyed(paid) for paid in payments]


def in_time(count: int, seed: int) -> list[Paid]:
    """Out of order, and twice, but none too late: what is too late depends on what else is in its partition."""
    payments = [paid._replace(currency="USD") for paid in history(random.Random(seed), count, 1_500, users=6)]
    late = set(Naive().play(payments).late)
    return [paid for paid in payments if paid.id not in late]


def told(watch: Watch) -> Counter[tuple[str, int, int, str]]:
    """The alerts that a reader of committed records finds."""
    found: Counter[tuple[str, int, int, str]] = Counter()
    for record in watch.records:
        if record.topic == FRAUD_ALERTS.name:
            found[ours(told_by(record.value or b""))] += 1
    return found


@pytest.mark.parametrize("step", STEPS)
def test_alerts_are_those_of_brute_force_though_workers_die(step: str, brokers: Brokers, fresh_names: Names, tmp_path: Path) -> None:
    """Neither one more nor one less, whatever step of whatever chunk they die at."""
    payments = in_time(400, 11)
    expected = Counter(key(alert) for alert in Naive().play(payments).alerts)
    dying = Dying(step, range(5, 200, 17))

    async def act(stage: Stage, watch: Watch) -> None:
        third = len(payments) // 3
        for part in (payments[:third], payments[third : 2 * third], payments[2 * third :]):
            await stage.write(lines(part))
            while not watch.done:
                async with stage.worker(tmp_path / "worker", steps=dying) as working:
                    await watch.until(lambda: watch.done or working.serving.done())
        async with stage.worker(tmp_path / "worker") as working:
            await watch.end(working)
        assert told(watch) == expected
        assert not [record for record in watch.records if record.topic == LATE.name]

    run(brokers, fresh_names("app"), act, chunk_records=CHUNK)
    assert dying.died >= 3
    assert len({rule for rule, *_ in expected}) == 5


def test_alerts_and_history_are_read_from_the_broker(
    brokers: Brokers, fresh_names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`alerts` and `why` read the topic; `whatif --since` replays what the topics hold, and says what would differ."""
    payments = in_time(200, 5)
    group = fresh_names("app")

    async def act(stage: Stage, watch: Watch) -> None:
        async with stage.worker(tmp_path / "worker") as working:
            await watch.end(working)
        producer = stage.kafka.writer()
        await producer.start()
        await producer.send_and_wait(FRAUD_ALERTS.name, b"secret")
        await producer.stop()

    run(brokers, group, act, lines(payments))
    for name, value in {"broker": f"kafka://{brokers.bootstrap}", "group": group}.items():
        monkeypatch.setenv(variable_of(name), str(value))
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["alerts", "--json"])
    alerts = json.loads(shown.stdout)
    assert len(alerts) > 5
    assert shown.stderr == "orderflow: 1 record of fraud.alerts cannot be read: it is left out.\n"
    assert CliRunner().invoke(app, ["why", alerts[0]["event_id"]]).exit_code == 0
    Path("none.toml").write_text("")
    since = format_instant(min(envelope(paid).at for paid in payments))
    result = CliRunner().invoke(app, ["whatif", "--rules", "none.toml", "--since", since, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["payments"] == len({envelope(paid).event_id for paid in payments})
    lost = {(alert["rule"], alert["user_id"], alert["window_start"]) for alert in found["lost"]}
    assert lost == {(alert["rule"], alert["user_id"], alert["window_start"]) for alert in alerts}


@pytest.mark.parametrize("when", ["idle", "away"])
def test_hours_that_come_at_once_are_not_too_late(when: str, brokers: Brokers, fresh_names: Names, tmp_path: Path) -> None:
    """To workers that had nothing to do, or were away, over all partitions: no window closes before what belongs to it was heard."""
    some = [paid._replace(currency="USD", failed=False) for paid in history(random.Random(3), 900, 12 * SECOND, users=3)]
    late = set(Naive().play(some).late)
    payments = [paid for paid in some if paid.id not in late]
    expected = {key(alert)[:3] for alert in Naive().play(payments).alerts if alert.rule == "high_volume"}

    async def act(stage: Stage, watch: Watch) -> None:
        async with stage.worker(tmp_path / "worker") as working:
            await stage.write(lines([paid._replace(number=paid.number + 10_000) for paid in payments[:5]]))
            await watch.until(lambda: watch.done and working.idle, working)
            if when == "idle":
                await stage.write(by_order(payments))
                await watch.end(working)
        if when == "away":
            await stage.write(by_order(payments))
            async with stage.worker(tmp_path / "worker") as again:
                await watch.end(again)
        assert not [record for record in watch.records if record.topic == LATE.name]
        assert {alert[:3] for alert in told(watch) if alert[0] == "high_volume"} >= expected

    run(brokers, fresh_names("app"), act)
    assert len(expected) > 20


def by_order(payments: Sequence[Paid]) -> list[bytes]:
    """As a service writes them that keys by order: what happens to a user is spread over all partitions."""
    return [encode(envelope(paid)) for paid in payments]
