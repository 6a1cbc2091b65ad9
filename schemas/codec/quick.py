"""The forms of `foreign.py` once more, each in one typed pass: the quick way to read an envelope in which nothing is odd.

It only ever says what the careful way would say too. Names twice, a wrong type, control characters, a version that is no number:
whatever is odd is None here, and left to `foreign.py`, which knows how to name what is wrong.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from schemas.codec.draft import Draft, Headers
from schemas.codec.foreign import NOTHING, NULL, TRACEPARENT
from schemas.codec.limits import is_plain, printable
from schemas.fields import LARGEST_SEQUENCE, Id, MaybeId, Version

_Name: TypeAlias = MaybeId | None
_Sequence: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST_SEQUENCE)] | None
_Version: TypeAlias = Version | MaybeId | None
"""2, "2" or "v2"."""
_Nothing: TypeAlias = Annotated[str, Meta(min_length=1, max_length=0)]
"""No value fits: the mark of a form that comes before this one in the table."""
_ABSENT = Raw()
_VERSIONS = {f"{v}{number}": number for v in ("", "v", "V") for number in range(1, 100)}


class _Metadata(Struct):
    correlation_id: _Name = None
    causation_id: _Name = None
    user_id: _Name = None
    source_service: _Name = None
    trace_id: _Name = None
    span_id: _Name = None
    source: _Name = None


class _SnakeCase(Struct, kw_only=True):
    """Bus, flat, canonical and older: members in the order in which we write them, then what only foreign events have here."""

    event_id: Id
    event_type: Id
    aggregate_id: _Name = None
    aggregate_type: _Name = None
    event_version: _Version | UnsetType = UNSET
    sequence: _Sequence = None
    timestamp: Id
    metadata: _Metadata | None = None
    payload: Raw = _ABSENT
    data: Raw = _ABSENT
    version: Raw = _ABSENT
    correlation_id: _Name = None
    causation_id: _Name = None
    source_service: _Name = None
    trace_id: _Name = None
    span_id: _Name = None
    specversion: _Nothing = ""
    camel_case_id: _Nothing = field(default="", name="eventId")


class _CamelMetadata(Struct, rename="camel"):
    correlation_id: _Name = None
    causation_id: _Name = None
    user_id: _Name = None
    source_service: _Name = None
    source: _Name = None
    trace_id: _Name = None
    span_id: _Name = None


class _CamelCase(Struct, rename="camel", kw_only=True):
    event_id: Id
    event_type: Id
    aggregate_id: _Name = None
    aggregate_type: _Name = None
    version: _Version = None
    sequence: _Sequence = None
    timestamp: Id
    correlation_id: _Name = None
    causation_id: _Name = None
    user_id: _Name = None
    source_service: _Name = None
    source: _Name = None
    trace_id: _Name = None
    span_id: _Name = None
    metadata: _CamelMetadata | None = None
    payload: Raw = NULL
    specversion: _Nothing = ""


class _CloudEvent(Struct, kw_only=True):
    specversion: Literal["1.0"]
    id: Id
    type: Id
    source: _Name = None
    subject: _Name = None
    time: Id
    correlationid: _Name = None
    causationid: _Name = None
    dataversion: _Version = None
    eventversion: _Version = None
    traceparent: _Name = None
    data: Raw = NOTHING


class _About(Struct):
    """What the data of a bus event is about."""

    order_id: _Name = None
    camel_case_order_id: _Name = field(default=None, name="orderId")
    user_id: _Name = None
    camel_case_user_id: _Name = field(default=None, name="userId")


_decode_snake_case = msgspec.json.Decoder(_SnakeCase).decode
_decode_camel_case = msgspec.json.Decoder(_CamelCase).decode
_decode_cloud_event = msgspec.json.Decoder(_CloudEvent).decode
_decode_about = msgspec.json.Decoder(_About).decode
_decode_sequence = msgspec.json.Decoder[int | None](_Sequence).decode

_NO_METADATA = _Metadata()
_NO_CAMEL_METADATA = _CamelMetadata()


class _Odd(Exception):
    """The careful way is to look at it."""


def read_quickly(raw: bytes) -> Draft | None:
    """What `foreign.read` would say of a record without headers; None where something is odd."""
    for read in (_snake_case, _camel_case, _cloud_event):  # the likeliest first: a record fits one of them at most
        try:
            draft = read(raw)
        except (msgspec.DecodeError, RecursionError, _Odd):
            continue
        draft.plain = is_plain(raw)
        return draft if draft.plain or _is_printable(draft) else None
    return None


def read_headers_quickly(raw: bytes, headers: Headers) -> Draft | None:
    """The same for a CloudEvent in binary mode."""
    try:
        attributes = {name.removeprefix("ce_"): value.decode() for name, value in headers if name.startswith("ce_") and value is not None}
        event = msgspec.convert({"specversion": "1.0", **attributes}, _CloudEvent)
        draft = _draft_of_cloud_event(event)
    except (msgspec.ValidationError, UnicodeDecodeError, _Odd):
        return None
    if not _is_printable(draft):
        return None
    draft.time_path = "ce_time"
    draft.payload = NOTHING if raw == b"null" else Raw(raw)
    draft.plain = is_plain(raw)
    return draft


def _cloud_event(raw: bytes) -> Draft:
    return _draft_of_cloud_event(_decode_cloud_event(raw))


def _draft_of_cloud_event(event: _CloudEvent) -> Draft:
    trace = TRACEPARENT.fullmatch(event.traceparent) if event.traceparent else None
    if event.traceparent and not trace:
        raise _Odd
    return Draft(
        event.id,
        event.type,
        event.time,
        "time",
        NOTHING if bytes(event.data) == b"null" else event.data,
        _version(event.eventversion if event.dataversion is None else event.dataversion),
        aggregate_id=event.subject or "",
        correlation_id=event.correlationid or "",
        causation_id=event.causationid or "",
        source=event.source or "",
        trace_id=trace["trace"] if trace else "",
        span_id=trace["span"] if trace else "",
    )


def _camel_case(raw: bytes) -> Draft:
    event = _decode_camel_case(raw)
    metadata = event.metadata or _NO_CAMEL_METADATA
    return Draft(
        event.event_id,
        event.event_type,
        event.timestamp,
        "timestamp",
        event.payload,
        _version(event.version),
        event.aggregate_id or "",
        event.aggregate_type or "",
        event.sequence,
        correlation_id=event.correlation_id or metadata.correlation_id or "",
        causation_id=event.causation_id or metadata.causation_id or "",
        source=_first(event.source_service, event.source) or _first(metadata.source_service, metadata.source),
        user_id=event.user_id or metadata.user_id or "",
        trace_id=event.trace_id or metadata.trace_id or "",
        span_id=event.span_id or metadata.span_id or "",
    )


def _snake_case(raw: bytes) -> Draft:
    event = _decode_snake_case(raw)
    version = event.event_version
    if event.payload is not _ABSENT:
        if isinstance(version, int):
            return _draft(event, event.metadata or _NO_METADATA, event.payload, version)
        if version is not UNSET:
            raise _Odd
        return _older(event)
    if event.data is _ABSENT:
        return _flat(event, raw)
    return _bus(event)


def _bus(event: _SnakeCase) -> Draft:
    draft = _draft(event, _all_metadata(event), event.data, _version(event.event_version))
    if not draft.aggregate_id:
        about = _decode_about(event.data)
        draft.aggregate_id = _first(about.order_id, about.camel_case_order_id)
        if not draft.aggregate_id:
            draft.aggregate_id = _first(about.user_id, about.camel_case_user_id)
            draft.aggregate_type = draft.aggregate_type or ("User" if draft.aggregate_id else "")
    return draft


def _flat(event: _SnakeCase, raw: bytes) -> Draft:
    draft = _draft(event, _all_metadata(event), Raw(raw), _version(event.event_version))
    draft.flat = True
    return draft


def _older(event: _SnakeCase) -> Draft:
    draft = _draft(event, _all_metadata(event), event.payload, 1)
    if not draft.source and event.metadata:
        draft.source = event.metadata.source or ""
    if event.version is not _ABSENT:
        counted = _decode_sequence(event.version)
        draft.sequence = draft.sequence if counted is None else counted
    return draft


def _all_metadata(event: _SnakeCase) -> _Metadata:
    """With what stands at the top level."""
    metadata = event.metadata or _Metadata()
    metadata.correlation_id = metadata.correlation_id or event.correlation_id
    metadata.causation_id = metadata.causation_id or event.causation_id
    metadata.source_service = metadata.source_service or event.source_service
    metadata.trace_id = metadata.trace_id or event.trace_id
    metadata.span_id = metadata.span_id or event.span_id
    return metadata


def _draft(event: _SnakeCase, metadata: _Metadata, payload: Raw, version: int) -> Draft:
    return Draft(
        event.event_id,
        event.event_type,
        event.timestamp,
        "timestamp",
        payload,
        version,
        event.aggregate_id or "",
        event.aggregate_type or "",
        event.sequence,
        metadata.correlation_id or "",
        metadata.causation_id or "",
        metadata.source_service or "",
        metadata.user_id or "",
        metadata.trace_id or "",
        metadata.span_id or "",
    )


def _version(said: int | str | UnsetType | None) -> int:
    """2, "2" or "v2"; 1 where nothing is said."""
    if isinstance(said, int):
        return said
    if isinstance(said, str):
        if said not in _VERSIONS:
            raise _Odd
        return _VERSIONS[said]
    return 1


def _first(said: str | None, else_said: str | None) -> str:
    """A name that is there counts even where it is empty."""
    return (else_said if said is None else said) or ""


def _is_printable(draft: Draft) -> bool:
    return printable("".join(value for value in msgspec.structs.astuple(draft) if isinstance(value, str)))
