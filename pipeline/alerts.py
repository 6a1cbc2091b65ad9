"""The fraud alerts that were raised: in the state of a replay, or on the broker's topic."""

from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec

from pipeline.composition import embedded, kept
from pipeline.log.kafka import read_through
from pipeline.reach import kafka_of, reach
from pipeline.settings import Settings
from schemas.codec import decode, format_instant
from schemas.fraud import FraudAlertRaised
from schemas.message import Envelope, Instant
from schemas.topics import FRAUD_ALERTS


def _shown(event_id: str, at: Instant, alert: FraudAlertRaised) -> dict[str, Any]:
    return {"event_id": event_id, "at": format_instant(at), **msgspec.to_builtins(alert)}


async def kept_alerts(folder: Path, settings: Settings) -> list[dict[str, Any]]:
    """Of all users, as many as are kept of each. Raises Problem where no state is kept there."""
    async with embedded(kept(folder, settings), folder=folder) as pipeline:
        return [_shown(each.event_id, each.at, each.alert) for _, row in pipeline.rows("alerts") for each in row.raised]


async def told_alerts(settings: Settings) -> list[dict[str, Any]]:
    """All that the topic still has. Raises Problem where the broker cannot be reached."""
    kafka = kafka_of(settings)
    await reach(kafka)
    found: dict[str, dict[str, Any]] = {}
    async with aclosing(read_through(kafka, {FRAUD_ALERTS.name: FRAUD_ALERTS.partitions})) as records:
        async for record in records:
            said = decode(record.value, record.headers)
            if isinstance(said, Envelope) and isinstance(alert := said.payload, FraudAlertRaised):
                found.setdefault(said.event_id, _shown(said.event_id, said.at, alert))
    return list(found.values())
