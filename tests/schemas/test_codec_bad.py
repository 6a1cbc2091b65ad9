"""What cannot be read: the reason, the field, and no word of what the record said."""

import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.codec import decode, event_time
from schemas.codec.bad import LONGEST_WORDS
from schemas.codec.limits import DEEPEST, LARGEST_RECORD_BYTES
from schemas.payments import PaymentProcessed
from tests.schemas.loader import SAMPLES, Sample
from tests.schemas.makers import LEFT_OUT, PAYMENT, bad, event, heard, paying, refusal

CREATED: dict[str, Any] = {
    "order_id": "o-1",
    "customer_id": "c-1",
    "total": "12.30",
    "currency": "EUR",
    "items": [{"sku": "A", "quantity": 1}],
}


def creating(**changed: Any) -> bytes:
    payload = {name: value for name, value in {**CREATED, **changed}.items() if value is not LEFT_OUT}
    return event(event_type="OrderCreated", event_version=2, payload=payload)


def item(**changed: Any) -> bytes:
    return creating(items=[CREATED["items"][0], {"sku": "B", "quantity": 1, **changed}])


def with_amount(written: bytes) -> bytes:
    return paying().replace(b'"12.30"', written)


MALFORMED = {
    "nothing": b"",
    "not JSON": b"hello",
    "half of it": event()[:-5],
    "two of it": event() * 2,
    "null": b"null",
    "an array": b"[" + event() + b"]",
    "a string": b'"x"',
    "a number": b"1",
    "empty object": b"{}",
    "no known form": b'{"id": "e-1", "type": "OrderCreated", "time": "2025-10-29T10:00:00Z"}',
    "no id": event(event_id=LEFT_OUT),
    "null id": event(event_id=None),
    "no type": event(event_type=LEFT_OUT),
    "no time": event(timestamp=LEFT_OUT),
    "not UTF-8": event().replace(b"o-1", b"\xff\xfe"),
    "a surrogate in UTF-8": event().replace(b"o-1", b"\xed\xa0\x80"),
    "half a surrogate pair": event().replace(b"o-1", b"\\ud800 and more"),
    "the other half": event().replace(b"o-1", b"\\udc00 and more"),
    "half a pair in an ignored field": event(note="?").replace(b"?", b"\\ud83d"),
    "bad UTF-8 in an ignored field": event(note="?").replace(b"?", b"\xc3"),
    "a bare control character": event().replace(b"o-1", b"o\n1"),
    "a byte order mark": b"\xef\xbb\xbf" + event(),
    "UTF-16": event().decode().encode("utf-16"),
    "NaN": with_amount(b"NaN"),
    "Infinity": with_amount(b"-Infinity"),
    "a number in octal": with_amount(b"012"),
    "nested too deep": b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "opened too deep": b"[" * 100_000,
    "objects too deep": event(x=1).replace(b'"x":1', b'"x":' + b'{"x":' * DEEPEST + b"1" + b"}" * DEEPEST),
}

INVALID: dict[str, tuple[bytes, str]] = {
    "empty id": (event(event_id=""), "event_id"),
    "id is a number": (event(event_id=7), "event_id"),
    "id too long": (event(event_id="x" * 257), "event_id"),
    "control character in id": (event(event_id="e\n1"), "event_id"),
    "type is a number": (event(event_type=7), "event_type"),
    "version 0": (event(event_version=0), "event_version"),
    "version -1": (event(event_version=-1), "event_version"),
    "version is a string": (event(event_version="1"), "event_version"),
    "version is null": (event(event_version=None), "event_version"),
    "version is true": (event(event_version=True), "event_version"),
    "version is a fraction": (event(event_version=1.0), "event_version"),
    "version is huge": (event(event_version=10**40), "event_version"),
    "sequence 0": (event(sequence=0), "sequence"),
    "sequence is a string": (event(sequence="1"), "sequence"),
    "aggregate is a number": (event(aggregate_id=7), "aggregate_id"),
    "metadata is a list": (event(metadata=[]), "metadata"),
    "flow is a number": (event(metadata={"correlation_id": 7}), "metadata.correlation_id"),
    "operator with a tab": (event(metadata={"user_id": "a\tb"}), "metadata.user_id"),
    "time is a number": (event(timestamp=1_761_732_000), "timestamp"),
    "time is no time": (event(timestamp="yesterday"), "timestamp"),
    "time is before 1970": (event(timestamp="1969-12-31T23:59:59.999Z"), "timestamp"),
    "payload is null": (event(payload=None), "payload"),
    "payload is a list": (event(payload=[]), "payload"),
    "payload is a string": (event(payload="{}"), "payload"),
    "bus data is null": (event(payload=LEFT_OUT, data=None), "payload"),
    "bus data is a list": (event(payload=LEFT_OUT, data=[]), "data"),
    "camelCase without payload": (b'{"eventId":"e","eventType":"OrderPaid","timestamp":"2025-10-29T10:00:00Z"}', "payload"),
    "CloudEvents 0.3": (b'{"specversion":"0.3","id":"e","type":"t","time":"2025-10-29T10:00:00Z"}', "specversion"),
    "CloudEvents null": (b'{"specversion":null,"id":"e","type":"t","time":"2025-10-29T10:00:00Z"}', "specversion"),
    "CloudEvents time": (b'{"specversion":"1.0","id":"e","type":"t","time":"now"}', "time"),
    "no order": (paying(order_id=LEFT_OUT), "payload.order_id"),
    "null order": (paying(order_id=None), "payload.order_id"),
    "empty order": (paying(order_id=""), "payload.order_id"),
    "order is a number": (paying(order_id=7), "payload.order_id"),
    "order too long": (paying(order_id="x" * 257), "payload.order_id"),
    "order with NUL": (paying(order_id="o\x00"), "payload.order_id"),
    "order with DEL": (paying(order_id="o\x7f"), "payload.order_id"),
    "order with C1": (paying(order_id="o\x85"), "payload.order_id"),
    "user with a line end": (paying(user_id="u\n"), "payload.user_id"),
    "reason with NUL": (event(event_type="OrderCancelled", payload={"order_id": "o", "reason": "a\x00b"}), "payload.reason"),
    "reason too long": (event(event_type="OrderCancelled", payload={"order_id": "o", "reason": "x" * 4_097}), "payload.reason"),
    "status pending": (paying(status="pending"), "payload.status"),
    "currency unknown": (paying(currency="XXX"), "payload.currency"),
    "currency in small letters": (paying(currency="usd"), "payload.currency"),
    "currency is a number": (paying(currency=840), "payload.currency"),
    "no amount": (paying(amount=LEFT_OUT), "payload.amount"),
    "amount true": (paying(amount=True), "payload.amount"),
    "amount list": (paying(amount=[1]), "payload.amount"),
    "amount empty": (paying(amount=""), "payload.amount"),
    "amount in words": (paying(amount="twelve"), "payload.amount"),
    "amount with comma": (paying(amount="1,000.00"), "payload.amount"),
    "amount NaN": (paying(amount="NaN"), "payload.amount"),
    "amount sNaN": (paying(amount="sNaN"), "payload.amount"),
    "amount infinite": (paying(amount="Infinity"), "payload.amount"),
    "amount negative": (paying(amount="-0.01"), "payload.amount"),
    "amount with underscores": (paying(amount="1_0.0_0"), "payload.amount"),
    "amount in full-width digits": (paying(amount="\uff11\uff12.30"), "payload.amount"),
    "amount in Arabic digits": (paying(amount="\u0661\u0662"), "payload.amount"),
    "amount with a space before": (paying(amount=" 12.30"), "payload.amount"),
    "amount with a space behind": (paying(amount="12.30 "), "payload.amount"),
    "amount with a line end": (paying(amount="12.30\n"), "payload.amount"),
    "amount with a plus": (paying(amount="+5"), "payload.amount"),
    "amount without a whole part": (paying(amount=".5"), "payload.amount"),
    "amount with a bare point": (paying(amount="5."), "payload.amount"),
    "amount in hexadecimal": (paying(amount="0x10"), "payload.amount"),
    "total with a plus": (creating(total="+5"), "payload.total"),
    "total under another name": (creating(total=LEFT_OUT, totalAmount="5_0"), "payload.total"),
    "price with a plus": (event(event_type="ItemAdded", payload={"order_id": "o", "sku": "A", "price": "+1"}), "payload.price"),
    "amount huge": (with_amount(b"1e400"), "payload.amount"),
    "amount huge in words": (paying(amount="1e400"), "payload.amount"),
    "amount out of any range": (with_amount(b"1e99999999999999999999"), "payload.amount"),
    "amount tiny": (with_amount(b"1e-400"), "payload.amount"),
    "amount of a million digits": (with_amount(b"9" * 1_000_000), "payload.amount"),
    "amount too fine": (with_amount(b"12.340"), "payload.amount"),
    "amount too large": (with_amount(b"10000000000000.01"), "payload.amount"),
    "yen with a fraction": (paying(amount="12.3", currency="JPY"), "payload.amount"),
    "amount of no currency too fine": (paying(amount="1.00001", currency=None), "payload.amount"),
    "amount of no currency too large": (paying(amount=10**15 + 1, currency=None), "payload.amount"),
    "total too fine": (creating(total="12.345"), "payload.total"),
    "no currency in version 2": (creating(currency=LEFT_OUT), "payload.currency"),
    "null currency in version 2": (creating(currency=None), "payload.currency"),
    "no customer": (creating(customer_id=LEFT_OUT), "payload.customer_id"),
    "items is an object": (creating(items={}), "payload.items"),
    "items of strings": (creating(items=["A"]), "payload.items[0]"),
    "too many items": (creating(items=CREATED["items"] * 1_001), "payload.items"),
    "quantity 0": (item(quantity=0), "payload.items[1].quantity"),
    "quantity -1": (item(quantity=-1), "payload.items[1].quantity"),
    "quantity true": (item(quantity=True), "payload.items[1].quantity"),
    "quantity 1.0": (item(quantity=1.0), "payload.items[1].quantity"),
    "quantity in words": (item(quantity="1"), "payload.items[1].quantity"),
    "quantity too large": (item(quantity=1_000_001), "payload.items[1].quantity"),
    "sku empty": (item(sku=""), "payload.items[1].sku"),
    "sku with a line end": (item(sku="B\n"), "payload.items[1].sku"),
    "item without total or price": (event(event_type="ItemAdded", payload={"order_id": "o", "sku": "A"}), "payload.total"),
    "item with negative price": (event(event_type="ItemAdded", payload={"order_id": "o", "sku": "A", "price": -1}), "payload.price"),
    "resolved otherwise": (event(event_type="OrderResolved", payload={"order_id": "o", "status": "PAID"}), "payload.status"),
    "alert with another action": (
        event(event_type="FraudAlertRaised", payload={"user_id": "u", "rule": "r", "action": "x"}),
        "payload.action",
    ),
    "number out of range in a rule": (
        event(event_type="FraudRuleChanged", payload={"rule_id": "r", "rule": {"a": 0}}).replace(b"0}", b"9" * 5_000 + b"}"),
        "payload.rule[...]",
    ),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_malformed(raw: bytes) -> None:
    """Not JSON, not an object, or no known form."""
    assert bad(raw).reason == "malformed"


def test_a_record_without_a_value_is_malformed() -> None:
    """A tombstone says nothing that could be applied."""
    assert bad(None).reason == "malformed"


@pytest.mark.parametrize(("raw", "field"), INVALID.values(), ids=INVALID)
def test_invalid(raw: bytes, field: str) -> None:
    """A known form with a bad field: the letter names it."""
    refused = bad(raw)
    assert (refused.reason, refused.field) == ("invalid", field)
    assert refused.text.startswith(f"{field}: ")


@pytest.mark.parametrize("written", [b"0", b"0.00", b"-0", b"-0.0", b"-0.00", b'"0"', b'"-0"', b'"-0.00"', b'"-0e1"'])
def test_minus_nothing_is_nothing(written: bytes) -> None:
    """A sign before zero says nothing, in a number and in a string; what the range allows decides."""
    said = heard(with_amount(written)).payload
    assert isinstance(said, PaymentProcessed)
    assert said.amount_minor("USD") == 0


@pytest.mark.parametrize("written", [b"12.30", b"1.23e1", b'"12.30"', b'"12.3"', b'"0012.30"', b'"1.23e1"', b'"123E-1"', b'"1\\u0032.3"'])
def test_an_amount_is_a_number_or_the_same_in_a_string(written: bytes) -> None:
    """ASCII digits, a point, an exponent: as JSON writes a number, however the string is escaped."""
    said = heard(with_amount(written)).payload
    assert isinstance(said, PaymentProcessed)
    assert said.amount_minor("USD") == 1230


def test_the_limits_themselves_are_allowed() -> None:
    """256 characters, 1,000 lines, a million pieces, 10^15 minor units, free words in several lines."""
    heard(paying(order_id="ö" * 256, amount="10000000000000.00"))
    heard(creating(items=[{"sku": "A", "quantity": 1_000_000}] * 1_000))
    heard(event(event_type="OrderCancelled", payload={"order_id": "o", "reason": "first\r\n\tsecond"}))
    heard(event(x=1).replace(b'"x":1', b'"x":' + b"[" * (DEEPEST - 1) + b"]" * (DEEPEST - 1)))
    heard(event(x='"[[[[{{{{\\"' * 1_000))


def test_a_record_over_one_mebibyte_is_too_large() -> None:
    """At the limit it is read, one byte over it is not looked at."""
    padded = event() + b" " * (LARGEST_RECORD_BYTES - len(event()))
    heard(padded)
    assert bad(padded + b" ").reason == "too_large"


@pytest.mark.parametrize(("version", "kind"), [(2, "PaymentProcessed"), (3, "OrderCreated"), (99, "order.created")])
def test_a_version_newer_than_we_know_is_unsupported(version: int, kind: str) -> None:
    """Whatever its payload looks like: it waits for the upgrade."""
    refused = bad(event(event_type=kind, event_version=version, payload={"anything": 1}))
    assert (refused.reason, refused.field) == ("unsupported_version", "event_version")


@pytest.mark.parametrize(
    "headers",
    [
        (("ce_id", b"e"),),
        (("ce_specversion", b"1.0"), ("ce_id", b"e"), ("ce_type", b"order.paid")),
        (("ce_id", b"e"), ("ce_type", b"\xff"), ("ce_time", b"2025-10-29T10:00:00Z")),
    ],
)
def test_a_binary_cloud_event_needs_id_type_and_time(headers: tuple[tuple[str, bytes], ...]) -> None:
    """Headers that say CloudEvents and no more are no known form, whatever the value is."""
    assert bad(event(), *headers).reason == "malformed"


CARD = "4111 1111 1111 1111 Bearer s3cr3t"


@pytest.mark.parametrize("field", ["order_id", "payment_id", "user_id", "amount", "currency", "status", "total"])
@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: [text], lambda text: {text: text}, lambda text: text * 200])
def test_the_letter_repeats_nothing_of_the_payload(field: str, wrap: Callable[[str], object]) -> None:
    """No card numbers, no secrets: names of fields and types only, and not many."""
    refused = str(refusal(paying(**{field: wrap(CARD)})))
    assert "4111" not in refused
    assert "s3cr3t" not in refused
    assert len(refused) <= LONGEST_WORDS


def test_the_letter_repeats_no_value_that_is_not_allowed() -> None:
    """Nor where the decoder's own words would."""
    refused = bad(event(event_type="OrderResolved", payload={"order_id": "o-1", "status": CARD}))
    assert refused.text == "payload.status: not one of the allowed values"


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@example(b'{"event_id":"\\u0000"}')
def test_no_bytes_raise_anything_but_bad(raw: bytes) -> None:
    """Whatever comes from a topic, it is an event, unknown, or Bad."""
    refused = refusal(raw)
    assert refused is None or refused.reason in {"malformed", "invalid", "unsupported_version"}
    event_time(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["sku", "quantity", "x"]), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(SAMPLES), st.data())
def test_no_change_of_a_sample_raises_anything_but_bad(sample: Sample, data: st.DataObject) -> None:
    """Any member of any form may be anything: also then it is an event, unknown, or Bad."""
    members = sample.members()
    inside = data.draw(st.sampled_from([members, *(value for value in members.values() if isinstance(value, dict))]))
    inside[data.draw(st.sampled_from(sorted(inside)))] = data.draw(JSON)
    raw = msgspec.json.encode(members)
    refused = refusal(raw, *sample.headers)
    assert refused is None or refused.reason in {"malformed", "invalid", "unsupported_version"}
    event_time(raw, sample.headers)


@given(st.sampled_from(SAMPLES), st.data())
def test_no_damage_to_a_sample_raises_anything_but_bad(sample: Sample, data: st.DataObject) -> None:
    """Bits flip, and records are cut short."""
    damaged = bytearray(sample.raw)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    refused = refusal(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]), *sample.headers)
    assert len(str(refused)) <= LONGEST_WORDS


def test_how_deep_the_caller_is_makes_no_difference() -> None:
    """The depth limit is ours and not what happens to be left of the interpreter's."""
    at_the_limit = event(x=1).replace(b'"x":1', b'"x":' + b"[" * (DEEPEST - 1) + b"]" * (DEEPEST - 1))

    def below(frames: int) -> object:
        return below(frames - 1) if frames else decode(at_the_limit)

    assert below(sys.getrecursionlimit() - DEEPEST - 200) == decode(at_the_limit)


def test_the_payment_that_all_of_this_is_made_from_is_good() -> None:
    """Else every test above would pass for the wrong reason."""
    assert heard(event()).payload.wire.name == PAYMENT["event_type"]
    assert heard(creating()).payload.wire.name == "OrderCreated"
