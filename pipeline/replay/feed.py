"""Lines to records, and records to the pipeline: in batches, as fast as it goes or as fast as it happened."""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from pipeline.clock import Clock
from pipeline.embedded import Embedded
from pipeline.log.record import Headers, Record
from pipeline.problem import Problem
from schemas.codec import Bad, decode, event_time, parse_instant
from schemas.codec.instants import END
from schemas.fields import LARGEST_NUMBER
from schemas.message import Envelope, Instant, Invalid
from schemas.topics import CARRIER

BATCH_BYTES = 16 << 20
LONGEST_NAP_SECONDS = 1.0
SECOND_MS = 1_000


class Draft(NamedTuple):
    """What a line says, as far as the log wants to know."""

    topic: str | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int | None
    at: Instant | None
    """Event time; None where it cannot be read."""
    read: object = None
    """What it says, decoded: nobody needs to decode it again."""


class _Line(msgspec.Struct):
    """The members by which a record is told from a bare event, and those that it has."""

    value: Raw | UnsetType = UNSET
    value_base64: Raw | UnsetType = UNSET
    payload: Raw | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    event_id: Raw | UnsetType = UNSET
    event_id_camel: Raw | UnsetType = msgspec.field(default=UNSET, name="eventId")
    specversion: Raw | UnsetType = UNSET
    topic: Raw = Raw(b"null")
    key: Raw = Raw(b"null")
    key_base64: Raw = Raw(b"null")
    headers: Raw = Raw(b"null")
    timestamp: Raw = Raw(b"null")
    partition: Raw = Raw(b"null")

    @property
    def is_record(self) -> bool:
        """It has a value, and nothing that makes it an event itself."""
        if self.value is UNSET and self.value_base64 is UNSET:
            return False
        return all(member is UNSET for member in (self.payload, self.data, self.event_id, self.event_id_camel, self.specversion))


_line = msgspec.json.Decoder(_Line).decode
_topic = msgspec.json.Decoder[str | None](str | None).decode
_partition = msgspec.json.Decoder(Annotated[int, Meta(ge=0, le=LARGEST_NUMBER)] | None).decode
_any = msgspec.json.Decoder().decode


class _Record(NamedTuple):
    topic: str | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int | None
    partition: int | None = None


def _record(line: bytes) -> _Record | None:
    """The line as a record; None for a bare event, and for what cannot be one: read as an event, that is malformed."""
    if b'"value' not in line:  # nearly all are bare events
        return None
    try:
        said = _line(line)
        if not said.is_record:
            return None
        return _Record(
            _topic(said.topic),
            _bytes(said.key, said.key_base64),
            _bytes(said.value, said.value_base64),
            _headers(_any(said.headers)),
            _milliseconds(_any(said.timestamp)),
            _partition(said.partition),
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Invalid):
        return None


def _bytes(text: Raw | UnsetType, base64: Raw | UnsetType) -> bytes | None:
    """A string is its characters, null nothing, anything else the JSON that it is."""
    if base64 is not UNSET and isinstance(encoded := _any(base64), str):
        try:
            return b64decode(encoded, validate=True)
        except NotBase64:
            return encoded.encode()
    if text is UNSET:
        return None
    raw = bytes(text)
    if raw[:1] == b'"':
        return str(_any(raw)).encode()
    return None if raw == b"null" else raw


def _headers(said: object) -> Headers:
    """An object, or a list of pairs; a value is a string, or {"base64": …}. What is neither is left out."""
    if isinstance(said, dict):
        pairs = list(said.items())
    elif isinstance(said, list):
        pairs = [
            (name, value) for pair in said if isinstance(pair, list) for name, value in [(*pair, None, None)[:2]] if isinstance(name, str)
        ]
    else:
        return ()
    return tuple((name, raw) for name, value in pairs if (raw := _header(value)) is not None)


def _header(value: object) -> bytes | None:
    match value:
        case str():
            return value.encode()
        case {"base64": str(encoded)}:
            try:
                return b64decode(encoded, validate=True)
            except NotBase64:
                return None
        case int() | float():
            return msgspec.json.encode(value)
    return None


def _milliseconds(said: object) -> int | None:
    """A record's own time, where it has one: milliseconds, or ISO 8601. Raises Invalid, also outside the years of events."""
    if said is None:
        return None
    if isinstance(said, str):
        return parse_instant(said)
    if isinstance(said, int) and not isinstance(said, bool) and 0 <= said < END:
        return said
    raise Invalid("timestamp", "not milliseconds of a year from 1970 to 2200")


def time_of(line: bytes) -> Instant | None:
    """The event time of a line, and no more; None where it cannot be read."""
    record = _record(line)
    return event_time(line) if record is None else event_time(record.value, record.headers)


def given_partition(line: bytes) -> int | None:
    """The partition that a record line says it was in. In this process it means nothing: there the key decides."""
    record = _record(line)
    return None if record is None else record.partition


def draft(line: bytes) -> Draft:
    """What a line says. Without a topic the event type decides; without a key, the topic's key field does."""
    record = _record(line)
    topic, key, value, headers, timestamp, _ = record if record is not None else _Record(None, None, line, (), None)
    try:
        said = decode(value, headers)
    except Bad as bad:
        return Draft(topic, key, value, headers, timestamp, event_time(value, headers), bad.with_traceback(None))
    if isinstance(said, Envelope) and (topic is None or key is None):
        carrier = CARRIER[type(said.payload)]
        if topic is None:
            topic = carrier.name
        if key is None:
            own = getattr(said.payload, carrier.key)
            key = own.encode() if own else None
    return Draft(topic, key, value, headers, timestamp, said.at, said)


class Pace:
    """Event time against a clock: `speed` seconds of event time go by in each second."""

    def __init__(self, speed: float, clock: Clock) -> None:
        self._speed = speed
        self._clock = clock
        self._origin: tuple[Instant, float] | None = None

    def wait_seconds(self, at: Instant) -> float:
        """How long the moment `at` is still ahead; the first one asked about is now."""
        if self._origin is None:
            self._origin = (at, self._clock.now())
        start, began = self._origin
        return began + (at - start) / SECOND_MS / self._speed - self._clock.now()

    async def until(self, at: Instant) -> None:
        """Come back when it is `at`."""
        while (left := self.wait_seconds(at)) > 0:
            await self._clock.sleep(min(left, LONGEST_NAP_SECONDS))


async def feed(
    pipeline: Embedded,
    lines: Iterable[bytes],
    *,
    batch: int,
    pace: Pace | None = None,
    progress: Callable[[int], None] = lambda _lines: None,
    reads: Callable[[object], None] | None = None,
) -> int:
    """Feed all lines, `batch` at a time, and let happen what they cause. Answers how many there were; `progress` hears it after each batch.

    `reads` hears what each line says, as it was decoded.
    With a pace, what is due is fed at once, and what is not yet due is waited for.
    """
    records: list[Record] = []
    size = total = 0

    async def flush() -> None:
        nonlocal records, size, total
        if records:
            fed, records, size = records, [], 0
            await pipeline.feed(fed)
            total += len(fed)
            progress(total)

    try:
        for line in lines:
            said = draft(line)
            if reads is not None:
                reads(said.read)
            if pace is not None and said.at is not None and believable(said.at, pipeline) and pace.wait_seconds(said.at) > 0:
                await flush()
                await pace.until(said.at)
            records.append(pipeline.record(*said))
            size += len(line)
            if len(records) >= batch or size >= BATCH_BYTES:
                await flush()
    except Problem:  # where a file breaks off, what was read before is fed all the same
        await flush()
        raise
    await flush()
    return total


def believable(at: Instant, pipeline: Embedded) -> bool:
    """Whether the pipeline's time will go there; a wrong clock is not waited for."""
    return pipeline.stream_time < 0 or at <= pipeline.stream_time + pipeline.options.jump_ms
