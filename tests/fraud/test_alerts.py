"""What is read of the topic of alerts, whatever else lies there."""

import asyncio
from collections.abc import AsyncIterator

from pipeline.alerts import Told, alerts_of
from pipeline.log.record import FED, Order, Record
from schemas.codec import encode
from schemas.fraud import FraudAlertRaised, HoldReleased
from schemas.message import Envelope
from schemas.topics import FRAUD_ALERTS

ALERT = encode(Envelope("a-1", 1_000, FraudAlertRaised("u-1", "velocity", 2)))
RELEASED = encode(Envelope("h-1", 2_000, HoldReleased("o-1")))


def told(*values: bytes | None) -> Told:
    async def records() -> AsyncIterator[Record]:
        for offset, value in enumerate(values):
            yield Record(FRAUD_ALERTS.name, 0, None, value, (), 0, Order(0, FED, 0), offset)

    return asyncio.run(alerts_of(records()))


def test_what_cannot_be_read_is_left_out_and_counted() -> None:
    """No JSON, a field that cannot be, nothing at all; the alerts around it are listed."""
    found = told(b"\xff{", ALERT, ALERT.replace(b'"rule_version":2', b'"rule_version":2147483648'), None)
    assert ([alert["event_id"] for alert in found.alerts], found.unreadable) == (["a-1"], 3)


def test_an_alert_is_listed_once() -> None:
    """However often it is there; what others say on the topic is no alert, and nothing wrong."""
    found = told(ALERT, RELEASED, ALERT)
    assert ([alert["event_id"] for alert in found.alerts], found.unreadable) == (["a-1"], 0)
