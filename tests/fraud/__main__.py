"""`python -m tests.fraud`: very many payments through the shipped rules, against brute force; in this process, or on Kafka with kills."""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from pipeline.composition import rules
from pipeline.settings import Settings
from pipeline.testing.specs import NOON
from pipeline.whatif import Found, outcome
from schemas.codec import encode, format_instant, parse_instant
from tests.fraud.on_kafka import played
from tests.fraud.reference import LATENESS, Alert, Naive, Paid
from tests.fraud.test_against_reference import envelope

SAY = Console(highlight=False, soft_wrap=True).print
USERS_PER = 40
"""Payments for each user."""
CENTS = (50, 99, 150, 2_500, 9_900, 50_000, 50_001, 99_000, 120_000, 400_000)


def payments(count: int, seed: int, *, latest: int = 3 * LATENESS) -> Iterator[Paid]:
    """Users pay in bursts, as people do, at about 100 payments a second in all; a few come late, twice, or fail."""
    rng = random.Random(seed)
    now = 2 * LATENESS
    users = max(1, count // USERS_PER)
    busy: list[int] = []
    for number in range(count):
        now += rng.randrange(20)
        if not busy or rng.random() < 0.02:
            busy.append(rng.randrange(users))
            del busy[:-50]
        late = rng.choice((0,) * 18 + (rng.randrange(LATENESS), rng.randrange(latest)))
        paid = Paid(number, rng.choice(busy), now - late, rng.choice(CENTS), rng.choice(("USD", "USD", "EUR")), rng.random() < 0.15)
        yield paid
        if rng.random() < 0.01:
            yield paid


def key(alert: Alert) -> tuple[str, int, int, str]:
    return alert.rule, alert.user, alert.start, alert.value


def ours(found: Found) -> tuple[str, int, int, str]:
    return found.rule, int(found.user_id[2:]), parse_instant(found.window_start) - NOON, found.value


def keyed(paid: Paid) -> bytes:
    """A line as a service writes it that keys by user: what happens to a user has one order."""
    said = envelope(paid)
    value = json.loads(encode(said))
    return json.dumps({"topic": "payment.events", "key": f"u-{paid.user}", "value": value, "timestamp": format_instant(said.at)}).encode()


def compare(count: int, seed: int) -> bool:
    """In this process. Whether all alerts are the same."""
    began = time.monotonic()
    expected = Naive().play(payments(count, seed))
    must = Counter(key(alert) for alert in expected.alerts)
    SAY(
        f"{count:,} payments: brute force finds {must.total():,} alerts, {len(expected.late):,} too late ({time.monotonic() - began:.0f} s)"
    )
    with TemporaryDirectory(prefix="orderflow-fraud-") as folder:
        path = Path(folder) / "payments.jsonl"
        with path.open("wb") as file:
            for paid in payments(count, seed):
                file.write(encode(envelope(paid)) + b"\n")
        began = time.monotonic()
        is_ = Counter(ours(found) for found in outcome([str(path)], Settings(), None, with_orders=False).alerts)
        seconds = time.monotonic() - began
    SAY(
        f"ours finds {is_.total():,}: {(must - is_).total()} missing, {(is_ - must).total()} too many or twice"
        f" ({seconds:.0f} s, {count / seconds:,.0f} a second)"
    )
    by_rule = {rule.id: sum(n for alert, n in is_.items() if alert[0] == rule.id) for rule in rules(None).rules}
    SAY(", ".join(f"{rule} {number:,}" for rule, number in by_rule.items()))
    return must == is_


def compare_on_kafka(count: int, seed: int, kills: int) -> bool:
    """On a broker of its own. Whether all alerts are there, once each. None is too late: that depends on what else is in its partition."""
    made = list(payments(count, seed, latest=LATENESS))
    must = Counter(key(alert) for alert in Naive().play(made).alerts)
    SAY(f"{count:,} payments: brute force finds {must.total():,} alerts")
    with TemporaryDirectory(prefix="orderflow-fraud-") as folder:
        path = Path(folder) / "payments.jsonl"
        with path.open("wb") as file:
            for paid in made:
                file.write(keyed(paid) + b"\n")
        began = time.monotonic()
        is_ = asyncio.run(played(path, kills, seed, ours, SAY))
        seconds = time.monotonic() - began
    missing, more = must - is_, is_ - must
    SAY(f"ours finds {is_.total():,}: {missing.total()} missing, {more.total()} too many or twice ({seconds:.0f} s, {kills} kills)")
    return must == is_


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payments", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kafka", action="store_true", help="on a broker of its own, with a worker that is killed")
    parser.add_argument("--kills", type=int, default=10)
    given = parser.parse_args()
    same = compare_on_kafka(given.payments, given.seed, given.kills) if given.kafka else compare(given.payments, given.seed)
    sys.exit(0 if same else 1)
