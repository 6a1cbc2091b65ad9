"""What we write is what we read."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode, encode, event_time, format_instant, parse_instant
from schemas.fraud import FraudRuleChanged
from schemas.message import SOURCE, Due, Envelope, Message, follow
from schemas.orders import OrderCreated, RefundPayment
from tests.schemas.loader import SAMPLES, Sample, named, sample
from tests.schemas.makers import envelopes, event, heard, messages


@given(envelopes())
def test_what_is_written_is_read_again(said: Envelope[Message]) -> None:
    """Decoding is the inverse of encoding, for every message that can be made."""
    assert decode(encode(said)) == said


@given(envelopes())
def test_the_same_envelope_is_the_same_bytes(said: Envelope[Message]) -> None:
    """Doing the same work twice repeats the same bytes, also after a round trip."""
    assert encode(heard(encode(said))) == encode(said)


@given(messages())
def test_what_an_agent_says_gets_an_aggregate_and_keeps_its_flow(said: Message) -> None:
    """`follow` names no aggregate; the record does, and is the same record each time."""
    envelope = follow(heard(event()), "orders", 0, said)
    read_again = heard(encode(envelope))
    assert read_again.aggregate_type in {"Order", "User", "Customer", "Rule"}
    assert msgspec.structs.replace(read_again, aggregate_id="", aggregate_type="") == envelope


def test_the_written_form() -> None:
    """Members in the order of the contract, the empty ones left out, money as a string, time with milliseconds and Z."""
    said = Envelope("e-1", 1_761_732_000_007, RefundPayment("o-1", "p-1", Decimal("9.50"), "USD", "customer"), source=SOURCE)
    assert encode(said) == (
        b'{"event_id":"e-1","event_type":"RefundPayment","aggregate_id":"o-1","aggregate_type":"Order","event_version":1,'
        b'"timestamp":"2025-10-29T10:00:00.007Z","metadata":{"correlation_id":"e-1","source_service":"orderflow"},'
        b'"payload":{"order_id":"o-1","payment_id":"p-1","amount":"9.50","currency":"USD","reason":"customer","part":0}}'
    )


def test_a_sequence_is_written_where_there_is_one() -> None:
    """Before the timestamp, as in the contract; `orderflow` itself counts none."""
    said = sample("OrderCreated").decoded()
    assert isinstance(said, Envelope)
    assert b'"event_version":2,"sequence":1,"timestamp"' in encode(said)
    assert b"sequence" not in encode(msgspec.structs.replace(said, sequence=None))


def test_what_no_topic_carries_is_not_written() -> None:
    """Deadlines are the engine's own and never travel."""
    with pytest.raises(KeyError):
        encode(Envelope("e", 0, Due("o-1", "payment")))


@pytest.mark.parametrize("one", SAMPLES, ids=named)
def test_the_time_can_be_peeked_at_in_every_form(one: Sample) -> None:
    """Merging files by event time reads nothing else."""
    said = one.decoded()
    assert isinstance(said, Envelope)
    assert event_time(one.raw, one.headers) == said.at


@pytest.mark.parametrize("raw", [None, b"", b"[]", b"x", b"[" * 10_000, event(timestamp=5), event(timestamp="now"), event(timestamp=None)])
def test_a_time_that_cannot_be_read_is_none(raw: bytes | None) -> None:
    """The record keeps its place and becomes a dead letter later."""
    assert event_time(raw) is None


def test_the_time_of_an_event_is_not_a_field_of_its_payload() -> None:
    """Only a CloudEvent has its time in `time`."""
    assert event_time(event(time="2030-01-01T00:00:00Z")) == parse_instant("2025-10-29T10:00:00.000Z")


def test_numbers_are_the_decimals_that_were_written() -> None:
    """0.1 + 0.2 never meets a float, neither in messages nor in free data."""
    raw = event(event_type="OrderCreated", payload={"order_id": "o", "customer_id": "c", "total": 1, "currency": "CLF"})
    said = heard(raw.replace(b'"total":1', b'"total":123456789.0001'))
    assert isinstance(said.payload, OrderCreated)
    assert said.payload.total_minor == 1_234_567_890_001
    rule: dict[str, Any] = {"rule_id": "r", "rule": {"threshold": 0}}
    changed = heard(event(event_type="FraudRuleChanged", payload=rule).replace(b":0}", b":0.10}"))
    assert changed.payload == FraudRuleChanged("r", rule={"threshold": "0.10"})


@given(st.integers(0, parse_instant("2200-12-31T23:59:59.999Z")))
def test_times_are_read_as_they_are_written(at: int) -> None:
    """To the millisecond, over all the years that a record can have."""
    assert parse_instant(format_instant(at)) == at
