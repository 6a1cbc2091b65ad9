"""The canonical form: what we always write."""

import msgspec
from msgspec import UNSET, Struct, UnsetType

from schemas.codec.instants import format_instant
from schemas.codec.plans import PLANS
from schemas.message import Envelope, Message


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
