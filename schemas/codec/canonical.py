"""The canonical form: what we always write, and the quick way to read it."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from schemas.codec.instants import format_instant, parse_instant
from schemas.codec.limits import is_plain, printable
from schemas.codec.plans import PLANS, Plan
from schemas.codec.synonyms import dotted
from schemas.fields import LARGEST_SEQUENCE, LONGEST_ID, Id
from schemas.message import Envelope, Invalid, Message

_Name = Annotated[str, Meta(max_length=LONGEST_ID)] | None
_ABSENT = Raw()


class _Metadata(Struct):
    """Each may be absent or null."""

    correlation_id: _Name = None
    causation_id: _Name = None
    user_id: _Name = None
    source_service: _Name = None
    trace_id: _Name = None
    span_id: _Name = None


class _Record(Struct):
    """The canonical members, and those by which an earlier form of the table would be told apart."""

    event_id: Id
    event_type: str
    event_version: int
    timestamp: Annotated[str, Meta(max_length=LONGEST_ID)]
    payload: Raw
    aggregate_id: _Name = None
    aggregate_type: _Name = None
    sequence: Annotated[int, Meta(ge=1, le=LARGEST_SEQUENCE)] | None = None
    metadata: _Metadata | None = None
    specversion: Raw = _ABSENT
    event_id_in_camel_case: Raw = msgspec.field(default=_ABSENT, name="eventId")


_NO_METADATA = _Metadata()
_NEWEST: dict[tuple[str, int], Plan] = {
    (name, plan.version): plan for plan in PLANS.values() for said in (plan.name, *plan.kind.wire.also) for name in (said, dotted(said))
}
_record = msgspec.json.Decoder(_Record)


def read_quickly(raw: bytes) -> Envelope[Message] | None:
    """The message, if the record is in canonical form, in the newest version, under canonical names, and right; else None.

    It only ever says what the careful way (`schemas.codec.decode`) would say too; whatever is odd is left to that.
    """
    try:
        record = _record.decode(raw)
        plan = _NEWEST[record.event_type, record.event_version]
        message: Message = plan.decode(record.payload)
        at = parse_instant(record.timestamp)
    except (msgspec.DecodeError, Invalid, KeyError, RecursionError):
        return None
    if record.specversion is not _ABSENT or record.event_id_in_camel_case is not _ABSENT:
        return None
    plain = is_plain(raw)
    aggregate_id, aggregate_type = record.aggregate_id or "", record.aggregate_type or ""
    if plan.optional and _may_be_elsewhere(plan, message, raw, plain=plain, aggregate_type=aggregate_type):
        return None
    if not aggregate_id or not aggregate_type:
        aggregate_id, aggregate_type = plan.aggregate(message, aggregate_id, aggregate_type)
    metadata = record.metadata or _NO_METADATA
    said = Envelope(
        record.event_id,
        at,
        message,
        metadata.correlation_id or record.event_id,
        metadata.causation_id or "",
        aggregate_id,
        aggregate_type,
        record.sequence,
        metadata.source_service or "",
        metadata.user_id or "",
        metadata.trace_id or "",
        metadata.span_id or "",
    )
    return said if plain or _is_printable(plan, said) else None


def _may_be_elsewhere(plan: Plan, message: Message, raw: bytes, *, plain: bool, aggregate_type: str) -> bool:
    """An optional field has its default, and the record could have it under another name or in its aggregate."""
    for field, default, other_names in plan.optional:
        if getattr(message, field) == default:
            if not plain or (field == "payment_id" and aggregate_type.lower() == "payment"):
                return True
            for name in other_names:
                if name in raw:
                    return True
    return False


def _is_printable(plan: Plan, said: Envelope[Message]) -> bool:
    try:
        plan.check_characters(said.payload)
    except Invalid:
        return False
    return all(map(printable, envelope_names(said).values()))


def envelope_names(said: Envelope[Message]) -> dict[str, str]:
    """The envelope's own strings, by the canonical path of each."""
    return {
        "event_id": said.event_id,
        "aggregate_id": said.aggregate_id,
        "aggregate_type": said.aggregate_type,
        "metadata.correlation_id": said.correlation_id,
        "metadata.causation_id": said.causation_id,
        "metadata.source_service": said.source,
        "metadata.user_id": said.user_id,
        "metadata.trace_id": said.trace_id,
        "metadata.span_id": said.span_id,
    }


class _MetadataOut(Struct, omit_defaults=True):
    correlation_id: str = ""
    causation_id: str = ""
    user_id: str = ""
    source_service: str = ""
    trace_id: str = ""
    span_id: str = ""


class _RecordOut(Struct):
    """Members in the order in which we write them."""

    event_id: str
    event_type: str
    aggregate_id: str
    aggregate_type: str
    event_version: int
    sequence: int | UnsetType
    timestamp: str
    metadata: _MetadataOut
    payload: Message


_encode = msgspec.json.Encoder(decimal_format="string").encode


def encode(said: Envelope[Message]) -> bytes:
    """The canonical form in UTF-8, members always in one order: the same envelope gives the same bytes.

    A message without an aggregate is about its own order, user, customer or rule; one without a correlation id begins its own flow.
    Empty metadata is left out. Raises KeyError for a type that no topic carries.
    """
    message = said.payload
    plan = PLANS[type(message)]
    aggregate_id, aggregate_type = said.aggregate_id, said.aggregate_type
    if not aggregate_id or not aggregate_type:
        aggregate_id, aggregate_type = plan.aggregate(message, aggregate_id, aggregate_type)
    return _encode(
        _RecordOut(
            said.event_id,
            plan.name,
            aggregate_id,
            aggregate_type,
            plan.version,
            UNSET if said.sequence is None else said.sequence,
            format_instant(said.at),
            _MetadataOut(said.correlation_id or said.event_id, said.causation_id, said.user_id, said.source, said.trace_id, said.span_id),
            message,
        )
    )
