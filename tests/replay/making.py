"""Lines and files to replay."""

import asyncio
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zstandard

from pipeline.replay.feed import time_of
from pipeline.replay.lines import Merged, opened
from pipeline.replay.report import Report
from pipeline.replay.run import How, replay
from pipeline.settings import Settings

ROOT = Path(__file__).parents[2]
STORIES = ROOT / "samples" / "stories"
DAY_MS = 86_400_000


def event(event_id: str, kind: str, at: str, **payload: Any) -> bytes:
    """A canonical event at 2025-10-29T`at`Z."""
    said = {
        "event_id": event_id,
        "event_type": kind,
        "event_version": 2 if kind == "OrderCreated" else 1,
        "timestamp": f"2025-10-29T{at}Z",
        "payload": payload,
    }
    return json.dumps(said).encode()


def happy(order: str, minute: int = 0) -> list[bytes]:
    """An order from its creation to its delivery, a second a step."""
    own = {"order_id": order}
    items = [{"sku": "SKU001", "quantity": 1}]
    steps: list[tuple[str, dict[str, Any]]] = [
        ("OrderCreated", {**own, "customer_id": "c-1", "items": items, "total": "10.00", "currency": "USD"}),
        ("InventoryReserved", {**own, "items": items}),
        ("PaymentProcessed", {**own, "payment_id": f"pay-{order}", "amount": "10.00", "currency": "USD"}),
        ("ShipmentScheduled", own),
        ("ShipmentDelivered", own),
    ]
    return [event(f"{order}-{n}", kind, f"10:{minute:02}:{n:02}.000", **payload) for n, (kind, payload) in enumerate(steps)]


def write(path: Path, lines: Iterable[bytes]) -> Path:
    """Plain, or compressed as the name says."""
    raw = b"".join(line + b"\n" for line in lines)
    if path.suffix == ".gz":
        raw = gzip.compress(raw)
    elif path.suffix == ".zst":
        raw = zstandard.compress(raw)
    path.write_bytes(raw)
    return path


def read(*paths: Path) -> list[bytes]:
    """All lines of these files, merged."""
    with opened([str(path) for path in paths]) as sources:
        return list(Merged(sources, time_of, 30 * DAY_MS))


def run(lines: Iterable[bytes], *, how: How = How(), **settings: Any) -> Report:  # noqa: B008  # frozen
    """The report of a replay, with no settings but these."""
    return asyncio.run(replay(lines, Settings.model_validate(settings), how))
