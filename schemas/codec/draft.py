"""An event whose envelope has been read, and whose payload waits until its type and version are known."""

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Raw, Struct

Headers: TypeAlias = Sequence[tuple[str, bytes]]

ENVELOPE = frozenset({
    "event_id", "event_type", "event_version", "timestamp", "sequence", "aggregate_id", "aggregate_type", "correlation_id", "causation_id",
    "source_service", "trace_id", "span_id", "metadata",
})  # fmt: skip
"""What is no payload in a flat event. No field of any type has one of these names."""


class Draft(Struct, gc=False):
    """What all forms come to."""

    event_id: str
    event_type: str
    timestamp: str
    time_path: str
    """What the sender calls the time, for a letter that finds it wrong."""
    payload: Raw
    version: int = 1
    """Of the payload's shape. A form that cannot say one has version 1."""
    aggregate_id: str = ""
    aggregate_type: str = ""
    sequence: int | None = None
    correlation_id: str = ""
    causation_id: str = ""
    source: str = ""
    user_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    flat: bool = False
    """The payload is the whole record, envelope and all."""
    plain: bool = False
    """Quickly read, and the record has neither escapes nor control characters: a name that is in it stands in its bytes as it is."""
