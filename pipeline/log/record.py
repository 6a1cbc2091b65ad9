"""What a log carries."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

Headers: TypeAlias = tuple[tuple[str, bytes], ...]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Order(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """The place of a record in time, for merging partitions: earlier first, what was fed before what was said, then by number.

    It follows from the input alone, so that a merge is the same whatever the chunk size, the speed or the crashes on the way.
    """

    at: int
    """Stream time, ms: the greatest event time that its reader had seen when it came."""
    source: int
    """FED, or 1 + the number of the task that said it."""
    number: int
    """Of the line fed, or of what the task has said."""


FED = 0
START = Order(-1, 0, 0)
UNPLACED = -1
"""Instead of a time: its reader finds it, where the log has no order of time (`Task.work`)."""


class Record(msgspec.Struct, array_like=True):
    """One record of one partition, raw. Nobody changes it, but the log that gives it its offset."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int
    """The record's own time in ms (its producer's clock); the event's time is in its envelope."""
    order: Order
    offset: int = -1
    read: object = None
    """What its value says, where whoever appended it in this process has decoded it already; never stored."""


class Logged(Protocol):
    """What is read of a changelog's record."""

    @property
    def topic(self) -> str: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def offset(self) -> int: ...


class Outbox(msgspec.Struct):
    """What one chunk leaves behind: visible together or not at all."""

    records: list[Record]
    """Events, re-keyed records, dead letters; offsets are given by the log."""
    changelog: list[tuple[bytes, bytes | None]]
    """The newest value per touched key, None for a tombstone; the last one is the head."""
    offsets: dict[TopicPartition, int]
    """The next offset to read, per input."""


def header(headers: Sequence[tuple[str, bytes]], name: str) -> bytes | None:
    """The last value of a header, or None."""
    for key, value in reversed(headers):
        if key == name:
            return value
    return None
