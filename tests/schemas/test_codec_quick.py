"""Every form has two readers, a quick one and a careful one: nobody may be able to tell which one it was."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Bad, Decoded, Headers, decode, encode
from schemas.codec.decode import event_of
from schemas.codec.draft import ENVELOPE
from schemas.codec.foreign import read
from schemas.codec.quick import read_headers_quickly, read_quickly
from schemas.codec.synonyms import names_of
from schemas.message import Envelope, Message
from schemas.payments import PaymentProcessed
from schemas.topics import CARRIER
from tests.schemas.loader import BINARY, SAMPLES, Sample, named
from tests.schemas.makers import LEFT_OUT, PAYMENT, envelopes, event, heard

AT = "2025-10-29T10:00:00Z"
CAMEL = {"eventId": "e-1", "eventType": "OrderPaid", "timestamp": AT, "payload": PAYMENT["payload"]}
CLOUD = {"specversion": "1.0", "id": "e-1", "type": "OrderPaid", "time": AT, "data": PAYMENT["payload"]}
BUS = {"event_id": "e-1", "event_type": "OrderPaid", "timestamp": AT, "data": {}}
VALUES = st.none() | st.booleans() | st.integers() | st.sampled_from([
    "", "x", "1", "v2", "1.0", "a\nb", "\x7f", "\x85", "ä", "1.50", "o-1", "Payment", "specversion", "eventId", "userId", AT, {}, [],
    {"order_id": "o-9"}, {"correlation_id": "f"}, {"correlationId": 7}, [{"productId": "A", "quantity": 1}], [{"sku": None}], 1.5, 99,
])  # fmt: skip
"""What a member may say that a sample does not."""
ENVELOPES = [
    "event_id", "event_type", "event_version", "timestamp", "sequence", "version", "aggregate_id", "aggregate_type", "metadata", "payload",
    "data", "correlation_id", "causation_id", "source_service", "source", "trace_id", "specversion", "eventId", "eventType", "aggregateId",
    "correlationId", "userId", "sourceService", "subject", "dataversion", "eventversion", "traceparent", "time", "id", "type",
]  # fmt: skip
FIELDS = [
    "order_id", "orderId", "payment_id", "paymentId", "customer_id", "customerId", "user_id", "userId", "total", "total_amount",
    "totalAmount", "amount", "product_id", "productId", "sku", "price", "unitPrice", "ruleVersion", "currency", "items", "status",
]  # fmt: skip
"""Names that a member of the sample is given, or that come beside it."""


def outcome(read_it: Callable[[], Decoded]) -> object:
    """What is said of a record, or what is wrong with it."""
    try:
        return read_it()
    except Bad as refused:
        return refused.reason, refused.field, refused.text


def careful(raw: bytes, headers: Headers = ()) -> object:
    return outcome(lambda: event_of(read(raw, headers)))


@given(envelopes())
def test_what_we_write_is_read_the_same_both_ways(said: Envelope[Message]) -> None:
    """Any message that can be made."""
    assert careful(encode(said)) == decode(encode(said)) == said


@given(st.sampled_from(SAMPLES), st.data())
def test_both_ways_say_the_same_of_every_form(one: Sample, data: st.DataObject) -> None:
    """Also of events with members changed, added, renamed, said twice and left out; also which field is wrong, and how."""
    members = one.members()
    headers = dict(one.headers)
    inner = next((members[name] for name in ("payload", "data") if isinstance(members.get(name), dict)), members)
    for inside in (members, inner, members.get("metadata")):
        if isinstance(inside, dict):
            _disturb(inside, [*ENVELOPES, *FIELDS], data)
    if headers:
        said: dict[str, Any] = {name: value.decode() for name, value in headers.items()}
        _disturb(said, [f"ce_{name}" for name in ENVELOPES], data)
        headers = {name: str(value).encode() for name, value in said.items()}
    raw = msgspec.json.encode(members)
    if data.draw(st.booleans()):
        raw = raw.replace(b"{", b'{"' + data.draw(st.sampled_from([*inner, *members])).encode() + b'":1,', data.draw(st.integers(1, 2)))
    assert outcome(lambda: decode(raw, tuple(headers.items()))) == careful(raw, tuple(headers.items()))


def _disturb(inside: dict[str, Any], names: list[str], data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(0, 2))):
        name = data.draw(st.sampled_from([*inside, *names]))
        match data.draw(st.sampled_from(["say", "rename", "leave out"])):
            case "say":
                inside[name] = data.draw(VALUES)
            case "rename" if name in inside:
                inside[data.draw(st.sampled_from(names))] = inside.pop(name)
            case _:
                inside.pop(name, None)


@given(st.sampled_from(SAMPLES), st.data())
def test_both_ways_say_the_same_of_a_damaged_record(one: Sample, data: st.DataObject) -> None:
    """Bits flip in values, names and brackets."""
    damaged = bytearray(one.raw)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.sampled_from(b'"\\{}[],:u0\x1f\x7f9-.eE tn'))
    raw = bytes(damaged)
    assert outcome(lambda: decode(raw, one.headers)) == careful(raw, one.headers)


@pytest.mark.parametrize(
    "raw",
    [
        event(payload={"order_id": "o", "amount": 1, "payment_id": "", "paymentId": "p"}),
        event(CAMEL, sourceService="", source="x", metadata={"source": "y"}),
        event(CAMEL, sourceService=None, source="x", metadata={"source": "y"}),
        event(BUS, data={**PAYMENT["payload"], "order_id": "", "orderId": "o-2"}),
        event(BUS, data={**PAYMENT["payload"], "order_id": None, "orderId": "o-2"}),
        event(note="specversion"),
        event(payload={"order_id": "o", "amount": "+1"}),
        event(payload={"order_id": "o", "amount": "-0"}),
        event(payload={"order_id": "o", "amount": 1, "totalamount": "+1"}),
        event(payload={"order_id": "o", "amount": "\uff11"}),
        event(note={"eventId": "e-2", "eventType": "OrderPaid", "timestamp": AT}),
        event(event_version=LEFT_OUT, version=None, sequence=3),
        event(CLOUD, traceparent="a\nb"),
        event().replace(b'"event_id"', b'"\\u0065vent_id"'),
        event(eventId="e-2").replace(b'"eventId"', b'"event\\u0049d"'),
        event(payload={"order_id": "o", "amount": 1, "userId": "u"}).replace(b'"userId"', b'"user\\u0049d"'),
    ],
)
def test_both_ways_say_the_same_of_what_is_hidden(raw: bytes) -> None:
    """Marks of another form as values or deeper inside, names behind escapes, empty names beside synonyms."""
    assert outcome(lambda: decode(raw)) == careful(raw)


def test_a_name_may_be_written_with_escapes() -> None:
    """RFC 8259 section 8.3: it is the same name."""
    said = heard(event(payload={"order_id": "o-1", "amount": 1, "userId": "u"}).replace(b'"userId"', b'"user\\u0049d"'))
    assert said.payload == PaymentProcessed("o-1", Decimal(1), user_id="u")


@pytest.mark.parametrize("name", ["ce_data", "ce_traceparent", "ce_subject", "ce_dataversion"])
def test_both_ways_say_the_same_of_odd_headers(name: str) -> None:
    """A header cannot be the data, and need not be printable."""
    headers = (("ce_id", b"e-1"), ("ce_type", b"OrderPaid"), ("ce_time", AT.encode()), (name, b"a\nb"))
    raw = msgspec.json.encode(PAYMENT["payload"])
    assert outcome(lambda: decode(raw, headers)) == careful(raw, headers)


@pytest.mark.parametrize("one", SAMPLES, ids=named)
def test_ordinary_events_go_the_quick_way(one: Sample) -> None:
    """The careful way costs many times as much: what services send every day must not need it."""
    draft = read_headers_quickly(one.raw, one.headers) if one.form == BINARY else read_quickly(one.raw)
    assert draft is not None
    assert draft.plain
    slowly = read(one.raw, one.headers)
    assert msgspec.structs.replace(draft, plain=False, payload=slowly.payload) == slowly


@pytest.mark.parametrize("kind", CARRIER)
def test_no_field_is_lost_in_a_flat_event(kind: type[Message]) -> None:
    """Members of the envelope and fields of a payload stand side by side there: they cannot share names."""
    assert ENVELOPE.isdisjoint(name for field in kind.__struct_fields__ for name in names_of(kind, field))


@pytest.mark.parametrize("kind", CARRIER)
def test_each_name_means_one_field(kind: type[Message]) -> None:
    """A type with a user_id and a customer_id would need to know better which is which."""
    names = [name for field in kind.__struct_fields__ for name in names_of(kind, field)]
    assert len(names) == len(set(names))
