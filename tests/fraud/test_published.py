"""Answers that were published by others, from the data that they were published with.

* Flink's walkthrough "Fraud Detection with the DataStream API" (nightlies.apache.org/flink, "Try Flink"): the amounts of its transaction
  source, a tenth of a second apart, and its answer: account 3, once each time the list is through, and nobody else.
* Flink's reference of windowing table-valued functions, TUMBLE and HOP: the table Bid, and the sums that are shown for it.
"""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.testing.app import App
from schemas.codec import format_instant
from schemas.fraud import FraudAlertRaised
from schemas.message import Envelope
from schemas.payments import PaymentProcessed

AMOUNTS = """
188.23 374.79 112.15 478.75 208.85  379.64 351.44 320.75 259.42 273.44
267.25 397.15 0.219 231.94 384.73   419.62 412.91 0.77 22.10 377.54
375.44 230.18 0.80 350.89 127.55    483.91 228.22 871.15 64.19 79.43
56.12 256.48 148.16 199.95 252.37   274.73 473.54 119.92 323.59 353.16
211.90 280.93 347.89 459.86 82.31   373.26 479.83 454.25 83.64 292.44
"""
"""Of the accounts 1 to 5 in turn. One has three decimals, so all are in a currency that has them."""
SMALL_THEN_LARGE = """
[[rule]]
id = "small_then_large"
within = "1m"
steps = [
    { on = "PaymentProcessed", below = "1.00" },
    { on = "PaymentProcessed", above = "500.00", follows = "next" },
]
"""
BIDS = {5: "4.00", 7: "2.00", 9: "5.00", 11: "3.00", 13: "1.00", 17: "6.00"}
"""Minutes after eight, and the price."""
EIGHT = round(datetime(2020, 4, 15, 8, tzinfo=UTC).timestamp() * 1_000)
SUMS = {
    'kind = "tumbling", size = "10m"': {0: "11.00", 10: "10.00"},
    'kind = "hopping", size = "10m", every = "5m"': {0: "11.00", 5: "15.00", 10: "10.00", 15: "6.00"},
}
"""Of each window, by the minute in which it starts."""


def paid(number: int, at: int, user: str, amount: str, currency: str) -> Envelope[PaymentProcessed]:
    return Envelope(f"e-{number}", at, PaymentProcessed(f"o-{number}", Decimal(amount), f"p-{number}", user, currency))


def test_flinks_walkthrough_alerts_account_3(tmp_path: Path) -> None:
    """Once in each of three passes; a small payment that another one follows is forgotten."""
    (tmp_path / "rules.toml").write_text(SMALL_THEN_LARGE)
    passes = 3
    with App(rules=tmp_path / "rules.toml") as app:
        for number, amount in enumerate(AMOUNTS.split() * passes):
            app.feed(paid(number, EIGHT + 100 * number, f"account-{number % 5 + 1}", amount, "BHD"))
        alerts = app.emitted[FraudAlertRaised]
    assert Counter(alert.user_id for alert in alerts) == {"account-3": passes}
    assert [alert.value for alert in alerts] == ["871.150"] * passes
    assert app.dead_letters == []


@pytest.mark.parametrize("window", SUMS)
def test_windows_have_the_sums_of_flinks_reference(window: str, tmp_path: Path) -> None:
    """Each once, when it closes, with its start."""
    rule = f'[[rule]]\nid = "r"\non = ["PaymentProcessed"]\nwindow = {{ {window} }}\naggregate = "sum"\nabove = "0"\nemit = "close"\n'
    (tmp_path / "rules.toml").write_text(rule)
    with App(rules=tmp_path / "rules.toml") as app:
        for minute, price in BIDS.items():
            app.feed(paid(minute, EIGHT + minute * 60_000, "u-1", price, "USD"))
        app.wait(minutes=20)
        alerts = app.emitted[FraudAlertRaised]
    expected = {format_instant(EIGHT + start * 60_000): total for start, total in SUMS[window].items()}
    assert {alert.window_start: alert.value for alert in alerts} == expected
    assert len(alerts) == len(expected)
