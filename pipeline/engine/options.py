"""What a task may do, and how much of it."""

from dataclasses import dataclass

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Options:
    """The engine's limits; `pipeline.settings` fills them in. Times are event time."""

    lateness_ms: int = 30_000
    """How far behind the newest event time the watermark stays."""
    dedup_ms: int = 24 * HOUR_MS
    """How long an event id is remembered."""
    jump_ms: int = 24 * HOUR_MS
    """How far ahead of everything seen so far an event may be, before its clock is not believed."""
    chunk_records: int = 2_000
    """Records per chunk, at most."""
    chunk_outputs: int = 4_000
    """A chunk that has this many outputs ends early: timers can fire without end between two records."""
    largest_record_bytes: int = 1_000_000
    """Of an output; a broker refuses what is larger, and the whole transaction with it."""
    parked_per_key: int = 100
    rows_cached: int = 8_192
    """Decoded rows per task."""
    gated: bool = False
    """Whether deadlines wait for the stream time of the tasks upstream, which then tell it: where nobody else keeps tasks in step."""
    told_every_ms: int = 1_000
    """Stream time between two such tellings, at least."""
