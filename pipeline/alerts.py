"""The fraud alerts that were raised: in the state of a replay, or on the broker's topic."""

from collections.abc import AsyncIterable
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pipeline.composition import embedded, kept
from pipeline.log.kafka import read_through
from pipeline.log.record import Record
from pipeline.reach import kafka_of, reach
from pipeline.settings import Settings
from schemas.codec import Bad, decode, format_instant
from schemas.fraud import FraudAlertRaised
from schemas.message import Envelope, Instant
from schemas.topics import FRAUD_ALERTS


class Told(NamedTuple):
    """What a topic says, each alert once."""

    alerts: list[dict[str, Any]]
    unreadable: int
    """Records that are left out."""


def _shown(event_id: str, at: Instant, alert: FraudAlertRaised) -> dict[str, Any]:
    return {"event_id": event_id, "at": format_instant(at), **msgspec.to_builtins(alert)}


async def kept_alerts(folder: Path, settings: Settings) -> list[dict[str, Any]]:
    """Of all users, as many as are kept of each. Raises Problem where no state is kept there."""
    async with embedded(kept(folder, settings), folder=folder) as pipeline:
        return [_shown(each.event_id, each.at, each.alert) for _, row in pipeline.rows("alerts") for each in row.raised]


async def told_alerts(settings: Settings) -> Told:
    """All that the topic still has. Raises Problem where the broker cannot be reached."""
    kafka = kafka_of(settings)
    await reach(kafka)
    async with aclosing(read_through(kafka, {FRAUD_ALERTS.name: FRAUD_ALERTS.partitions})) as records:
        return await alerts_of(records)


async def alerts_of(records: AsyncIterable[Record]) -> Told:
    """The alerts among these records; what others say there is passed over."""
    found: dict[str, dict[str, Any]] = {}
    unreadable = 0
    async for record in records:
        try:
            said = decode(record.value, record.headers)
        except Bad:
            unreadable += 1
            continue
        if isinstance(said, Envelope) and isinstance(alert := said.payload, FraudAlertRaised):
            found.setdefault(said.event_id, _shown(said.event_id, said.at, alert))
    return Told(list(found.values()), unreadable)
