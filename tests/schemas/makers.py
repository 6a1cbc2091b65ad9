"""Events with one thing changed, and every message that can be made."""

from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import strategies as st
from msgspec import Meta

from schemas.codec import Bad, decode
from schemas.codec.instants import END
from schemas.codec.plans import PLANS
from schemas.message import Envelope, Message
from schemas.money import major
from schemas.orders import Line
from schemas.payments import CAPTURED

LEFT_OUT: Any = object()
"""In place of a value: the member is not there at all."""

PAYMENT: dict[str, Any] = {
    "event_id": "e-1",
    "event_type": "PaymentProcessed",
    "event_version": 1,
    "timestamp": "2025-10-29T10:00:00.000Z",
    "payload": {"order_id": "o-1", "payment_id": "p-1", "user_id": "u-1", "amount": "12.30", "currency": "USD"},
}


def event(members: dict[str, Any] = PAYMENT, **changed: Any) -> bytes:
    """The event with some members of its envelope changed."""
    return msgspec.json.encode({name: value for name, value in {**members, **changed}.items() if value is not LEFT_OUT})


def paying(**changed: Any) -> bytes:
    """A payment with some fields of its payload changed."""
    return event(payload={name: value for name, value in {**PAYMENT["payload"], **changed}.items() if value is not LEFT_OUT})


def heard(raw: bytes, *headers: tuple[str, bytes]) -> Envelope[Message]:
    """What is decoded, which must be of a known type."""
    said = decode(raw, headers)
    assert isinstance(said, Envelope)
    return said


def refusal(raw: bytes, *headers: tuple[str, bytes]) -> Bad | None:
    """What is wrong with a record, or None. Any other exception is the test's to fail with."""
    try:
        decode(raw, headers)
    except Bad as refused:
        return refused
    return None


def bad(raw: bytes | None, *headers: tuple[str, bytes]) -> Bad:
    """What is wrong with a record that must be refused."""
    with pytest.raises(Bad) as caught:
        decode(raw, headers)
    return caught.value


CURRENCIES = st.sampled_from(["USD", "EUR", "JPY", "BHD", "CLF"])
NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
LINES = st.lists(st.builds(Line, NAMES, st.integers(1, 1_000_000)), max_size=3).map(tuple)
FREE_DATA = st.dictionaries(TEXTS, st.recursive(st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXTS, st.lists, max_leaves=4))


@st.composite
def messages(draw: st.DrawFn, kinds: tuple[type[Message], ...] = tuple(PLANS)) -> Message:
    """A message of any type that a topic carries, right in itself."""
    kind = draw(st.sampled_from(kinds))
    currency = draw(CURRENCIES)
    hints = get_type_hints(kind, include_extras=True)
    said = {}
    for field in msgspec.structs.fields(kind):
        if not field.required and field.name not in {"total", "currency"} and draw(st.booleans()):
            continue
        said[field.name] = draw(_values(kind, field.name, hints[field.name], currency))
    return kind(**said)


def _values(kind: type[Message], field: str, hint: Any, currency: str) -> st.SearchStrategy[Any]:
    amounts = st.integers(0, 10**15).map(lambda minor_units: major(minor_units, currency))
    special: dict[str, st.SearchStrategy[Any]] = {
        "currency": st.just(currency),
        "total": amounts,
        "amount": amounts,
        "price": st.none() | amounts,
        "items": LINES,
        "event_ids": st.lists(NAMES, max_size=3).map(tuple),
        "rule": FREE_DATA if kind.wire.name == "FraudRuleChanged" else NAMES,
        "action": st.sampled_from(["alert", "hold", "cancel"]),
        "status": st.sampled_from(sorted(CAPTURED) if kind.wire.name == "PaymentProcessed" else ["COMPLETED", "CANCELLED"]),
    }
    if field in special:
        return special[field]
    base, *meta = get_args(hint)
    limits = next(one for one in meta if isinstance(one, Meta))
    if base is int:
        return st.integers(int(limits.ge or 0), int(limits.le or 0))
    return NAMES if limits.min_length else TEXTS


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope[Message]:
    """A whole event, as decoding one gives it: with an aggregate and a flow."""
    return Envelope(
        event_id=draw(NAMES),
        at=draw(st.integers(0, END - 1)),
        payload=draw(messages()),
        correlation_id=draw(NAMES),
        causation_id=draw(TEXTS),
        aggregate_id=draw(NAMES),
        aggregate_type=draw(NAMES.filter(lambda name: name.lower() != "payment")),
        sequence=draw(st.none() | st.integers(1, 2**63 - 1)),
        source=draw(TEXTS),
        user_id=draw(TEXTS),
        trace_id=draw(TEXTS),
        span_id=draw(TEXTS),
    )
