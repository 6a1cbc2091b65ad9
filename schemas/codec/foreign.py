"""The forms in which events come in, told apart in the order of the table, each turned into the same draft."""

import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import Raw

from schemas.codec.bad import Bad
from schemas.codec.draft import Draft, Headers
from schemas.codec.members import Members, members_of

TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}.*")
_BINARY_MARKS = frozenset({"ce_specversion", "ce_id", "ce_type"})
_STRUCTURED = b"application/cloudevents"
NOTHING = Raw(b"{}")
NULL = Raw(b"null")
_SILENT = Members({})


class Form(NamedTuple):
    """One line of the table."""

    name: str
    recognised: Callable[[Members], bool]
    read: Callable[[Members], Draft]


def read(raw: bytes, headers: Headers) -> Draft:
    """The draft of an event in any known form. Raises Bad: malformed or invalid."""
    if is_binary_cloud_event(headers):
        return _cloud_event(_from_headers(headers, raw))
    event = members_of(raw)
    for form in FORMS:
        if form.recognised(event):
            return form.read(event)
    raise Bad("malformed", "", "no known form")


def is_binary_cloud_event(headers: Headers) -> bool:
    """CloudEvents Kafka binding 3.2: attributes are in headers `ce_*`, and the value is the data."""
    if all(name not in _BINARY_MARKS for name, _ in headers):
        return False
    return not any(name.lower() == "content-type" and (value or b"").startswith(_STRUCTURED) for name, value in headers)


def _from_headers(headers: Headers, raw: bytes) -> Members:
    attributes = {"data": Raw(raw)}
    for name, value in headers:
        if name.startswith("ce_") and value is not None:
            try:
                attributes[name.removeprefix("ce_")] = Raw(msgspec.json.encode(value.decode()))
            except UnicodeDecodeError:
                raise Bad("malformed", name, "not UTF-8") from None
    return Members(attributes, prefix="ce_")


def _cloud_event(event: Members) -> Draft:
    """CloudEvents 1.0; the payload's version is the extension `dataversion` or `eventversion`, else 1."""
    if "specversion" in event and event.name("specversion") != "1.0":
        raise Bad("invalid", event.path("specversion"), "not 1.0")
    trace = TRACEPARENT.fullmatch(event.name("traceparent"))
    return Draft(
        event_id=event.needed("id"),
        event_type=event.needed("type"),
        timestamp=event.needed("time"),
        time_path=event.path("time"),
        payload=event.raw["data"] if event.said(["data"]) else NOTHING,
        version=event.loose_version("dataversion", "eventversion"),
        aggregate_id=event.name("subject"),
        correlation_id=event.name("correlationid"),
        causation_id=event.name("causationid"),
        source=event.name("source"),
        trace_id=trace["trace"] if trace else "",
        span_id=trace["span"] if trace else "",
    )


def _camel_case(event: Members) -> Draft:
    event_id, event_type, timestamp = event.needed("eventId"), event.needed("eventType"), event.needed("timestamp")
    metadata = event.inner("metadata")
    return Draft(
        event_id=event_id,
        event_type=event_type,
        timestamp=timestamp,
        time_path="timestamp",
        payload=event.raw.get("payload", NULL),
        version=event.loose_version("version"),
        aggregate_id=event.name("aggregateId"),
        aggregate_type=event.name("aggregateType"),
        sequence=event.sequence("sequence"),
        correlation_id=event.name("correlationId") or metadata.name("correlationId"),
        causation_id=event.name("causationId") or metadata.name("causationId"),
        source=event.name("sourceService", "source") or metadata.name("sourceService", "source"),
        user_id=event.name("userId") or metadata.name("userId"),
        trace_id=event.name("traceId") or metadata.name("traceId"),
        span_id=event.name("spanId") or metadata.name("spanId"),
    )


def _bus(event: Members) -> Draft:
    draft = _snake_case(event, event.raw["data"], top=event)
    draft.version = event.loose_version("event_version")
    if not draft.aggregate_id:
        data = event.inner("data")
        draft.aggregate_id = data.name("order_id", "orderId")
        if not draft.aggregate_id:
            draft.aggregate_id = data.name("user_id", "userId")
            draft.aggregate_type = draft.aggregate_type or ("User" if draft.aggregate_id else "")
    return draft


def _flat(event: Members) -> Draft:
    draft = _snake_case(event, Raw(msgspec.json.encode(event.raw)), top=event)
    draft.flat = True
    draft.version = event.loose_version("event_version")
    return draft


def _canonical(event: Members) -> Draft:
    draft = _snake_case(event, event.raw["payload"])
    draft.version = event.version("event_version")
    return draft


def _older(event: Members) -> Draft:
    draft = _snake_case(event, event.raw["payload"], top=event)
    draft.sequence = event.sequence("version", "sequence")
    draft.source = draft.source or event.inner("metadata").name("source")
    return draft


def _snake_case(event: Members, payload: Raw, top: Members = _SILENT) -> Draft:
    """What bus, flat, canonical and older events share. All but the canonical may have their metadata at the `top` level."""
    event_id, event_type, timestamp = event.needed("event_id"), event.needed("event_type"), event.needed("timestamp")
    metadata = event.inner("metadata")
    return Draft(
        event_id=event_id,
        event_type=event_type,
        timestamp=timestamp,
        time_path="timestamp",
        payload=payload,
        aggregate_id=event.name("aggregate_id"),
        aggregate_type=event.name("aggregate_type"),
        sequence=event.sequence("sequence"),
        correlation_id=metadata.name("correlation_id") or top.name("correlation_id"),
        causation_id=metadata.name("causation_id") or top.name("causation_id"),
        source=metadata.name("source_service") or top.name("source_service"),
        user_id=metadata.name("user_id"),
        trace_id=metadata.name("trace_id") or top.name("trace_id"),
        span_id=metadata.name("span_id") or top.name("span_id"),
    )


FORMS = (
    Form("CloudEvents", lambda event: "specversion" in event, _cloud_event),
    Form("camelCase", lambda event: "eventId" in event, _camel_case),
    Form("bus", lambda event: "data" in event and "payload" not in event, _bus),
    Form("flat", lambda event: "event_id" in event and not ("payload" in event or "data" in event), _flat),
    Form("canonical", lambda event: "payload" in event and "event_version" in event, _canonical),
    Form("older", lambda event: "payload" in event, _older),
)
