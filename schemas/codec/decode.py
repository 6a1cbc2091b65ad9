"""Bytes to typed messages. Nothing after this file knows an old version, a foreign form or a foreign name."""

from typing import TypeAlias

import msgspec
from msgspec import Struct

from schemas.codec import foreign, quick
from schemas.codec.bad import Bad, invalid
from schemas.codec.draft import ENVELOPE, Draft, Headers
from schemas.codec.instants import parse_instant
from schemas.codec.limits import admit
from schemas.codec.plans import PLANS
from schemas.codec.synonyms import kind_of
from schemas.message import Envelope, Instant, Invalid, Message


class Unknown(Struct, frozen=True):
    """A known form with a type that nobody here knows: no error; counted as ignored, stored, passed over."""

    event_id: str
    event_type: str
    at: Instant
    correlation_id: str


Decoded: TypeAlias = Envelope[Message] | Unknown


def decode(raw: bytes | None, headers: Headers = ()) -> Decoded:
    """The event in a Kafka record's value, and headers for CloudEvents in binary mode.

    Raises Bad and nothing else: `malformed` (not JSON, not an object, no known form, nothing at all), `invalid` (a known form with
    a bad field, which is named), `unsupported_version` (newer than we know), `too_large` (over 1 MiB).
    """
    record = admit(raw)
    binary = bool(headers) and foreign.is_binary_cloud_event(headers)
    draft = quick.read_headers_quickly(record, headers) if binary else quick.read_quickly(record)
    return event_of(foreign.read(record, headers) if draft is None else draft)


class _Times(Struct):
    """Where the forms have their event time."""

    specversion: object = None
    timestamp: object = None
    time: object = None


_times = msgspec.json.Decoder(_Times)


def event_time(raw: bytes | None, headers: Headers = ()) -> Instant | None:
    """The event time of a record in any form, without reading the rest; None where it cannot be read."""
    try:
        for name, value in headers:
            if name == "ce_time":
                return parse_instant(value.decode())
        times = _times.decode(raw or b"")
        said = times.timestamp if times.specversion is None else times.time
        return parse_instant(said) if isinstance(said, str) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Invalid):
        return None


def event_of(draft: Draft) -> Decoded:
    """The event, quickly read where the draft is plain. Raises Bad: malformed, invalid or unsupported_version."""
    try:
        at = parse_instant(draft.timestamp)
    except Invalid as error:
        raise Bad("invalid", draft.time_path, str(error).removeprefix(f"{error.field}: ")) from None
    correlation_id = draft.correlation_id or draft.event_id
    kind = kind_of(draft.event_type)
    if kind is None:
        return Unknown(draft.event_id, draft.event_type, at, correlation_id)
    plan = PLANS[kind]
    message = plan.read_quickly(draft) if draft.plain else None
    if message is None:
        message = plan.read(draft.version, _payload(draft), draft.aggregate_id, draft.aggregate_type)
    aggregate_id, aggregate_type = draft.aggregate_id, draft.aggregate_type
    if not aggregate_id or not aggregate_type:
        aggregate_id, aggregate_type = plan.aggregate(message, aggregate_id, aggregate_type)
    if not draft.plain:
        try:
            plan.check_characters(message)
        except Invalid as error:
            raise invalid(error, "payload") from None
    return Envelope(
        draft.event_id,
        at,
        message,
        correlation_id,
        draft.causation_id,
        aggregate_id,
        aggregate_type,
        draft.sequence,
        draft.source,
        draft.user_id,
        draft.trace_id,
        draft.span_id,
    )


_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _payload(draft: Draft) -> dict[str, msgspec.Raw]:
    try:
        members = _object.decode(draft.payload)
    except msgspec.ValidationError as error:
        raise invalid(error, "payload") from None
    except msgspec.DecodeError:  # the value of a binary CloudEvent, which nobody has parsed yet
        raise Bad("malformed", "", "not JSON") from None
    return {name: value for name, value in members.items() if name not in ENVELOPE} if draft.flat else members
