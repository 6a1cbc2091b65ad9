"""Dead letters: the record as it came, and why nobody could act on it.

Header names are those that JVM tools read: `__streams.errors.*` of KIP-1034 (text) and `kafka_dlt-*` of Spring for Apache Kafka
(big-endian numbers). Ours say what those have no name for.
"""

import re
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

import msgspec

from pipeline.log.record import FED, Headers, Order, Record, header
from schemas.message import Instant
from schemas.topics import DEAD_LETTERS, LATE

ORIGIN = "orderflow-origin"
"""On a re-keyed record: where it came from."""

LONGEST_TEXT = 300
_CARD_NUMBER = re.compile(r"\d[\d -]{10,}\d")
_int32 = Struct(">i").pack
_int64 = Struct(">q").pack


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """The place and the key of a record before it was re-keyed."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None


_encode = msgspec.msgpack.Encoder().encode
_origin = msgspec.msgpack.Decoder(Origin).decode


class Failure(NamedTuple):
    """Why a record was given up."""

    reason: str
    error: str
    """The name of the error's class."""
    text: str
    agent: str = ""
    field: str = ""


def rekeyed(record: Record, topic: str, partition: int, key: bytes | None) -> Record:
    """The same record for another topic, its origin in a header. Its place in time stays."""
    origin = Origin(record.topic, record.partition, record.offset, record.timestamp, record.key)
    headers = (*record.headers, (ORIGIN, _encode(origin)))
    return Record(topic, partition, key, record.value, headers, record.timestamp, record.order, read=record.read)


def origin_of(headers: Sequence[tuple[str, bytes]]) -> Origin | None:
    """Where a re-keyed record came from."""
    raw = header(headers, ORIGIN)
    return None if raw is None else _origin(raw)


def original(record: Record) -> Record:
    """The record as its sender wrote it, re-keyed or not."""
    o = origin_of(record.headers)
    if o is None:
        return record
    return Record(o.topic, o.partition, o.key, record.value, record.headers[:-1], o.timestamp, record.order, o.offset)


def late(record: Record, agent: str, order: Order) -> Record:
    """The record as its sender wrote it, for those who read what came too late, and for which agent that was."""
    first = original(record)
    return Record(LATE.name, 0, first.key, first.value, (*first.headers, ("orderflow-late", agent.encode())), first.timestamp, order)


def letter(record: Record, failure: Failure, order: Order, at: Instant) -> Record:
    """The dead letter for `record`, which failed at stream time `at`."""
    first = original(record)
    text = _CARD_NUMBER.sub("***", failure.text)[:LONGEST_TEXT].encode("utf-8", "replace")
    error, when = failure.error.encode(), _int64(at)
    # Of what replay fed, how many lines came before it: its offset in the log follows from how the input was cut as well.
    offset = first.order.number - 1 if first.order.source == FED and first.order.number else first.offset
    why: Headers = (
        ("__streams.errors.exception", error),
        ("__streams.errors.message", text),
        ("__streams.errors.topic", first.topic.encode()),
        ("__streams.errors.partition", str(first.partition).encode()),
        ("__streams.errors.offset", str(offset).encode()),
        ("kafka_dlt-exception-fqcn", error),
        ("kafka_dlt-exception-message", text),
        ("kafka_dlt-original-topic", first.topic.encode()),
        ("kafka_dlt-original-partition", _int32(first.partition)),
        ("kafka_dlt-original-offset", _int64(offset)),
        ("kafka_dlt-original-timestamp", _int64(first.timestamp)),
        ("orderflow-reason", failure.reason.encode()),
        ("orderflow-field", failure.field.encode()),
        ("orderflow-agent", failure.agent.encode()),
        ("orderflow-attempts", b"1"),
        ("orderflow-first-failed-at", when),
        ("orderflow-last-failed-at", when),
    )
    return Record(DEAD_LETTERS.name, 0, first.key, first.value, (*first.headers, *why), first.timestamp, order)
