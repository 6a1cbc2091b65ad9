"""Upcasters: each version is lifted one step at a time, and amounts stay the bytes that were written."""

from decimal import Decimal

import pytest
from msgspec import Raw

from schemas.codec import Bad
from schemas.codec.plans import Plan
from schemas.fields import Amount, Id, Text
from schemas.message import Event, Message, Payload, Wire


def _v1_had_one_name(old: Payload) -> Payload:
    return {**old, "greeting": Raw(b'"Dear "'), "addressee": old["full_name"]}


def _v2_had_no_gift_note(old: Payload) -> Payload:
    return {**old, "gift_note": Raw(b'""')}


class GiftSent(Event, frozen=True):
    """A toy: version 3 of something."""

    wire = Wire("GiftSent", version=3, lifts=(_v1_had_one_name, _v2_had_no_gift_note))

    order_id: Id
    worth: Amount
    greeting: Text
    addressee: Text
    gift_note: Text


PLAN = Plan(GiftSent, "order_id")
V1 = {"orderId": Raw(b'"o-1"'), "worth": Raw(b"12345678901.10"), "fullName": Raw(b'"Ada"')}
V2 = {"order_id": Raw(b'"o-1"'), "worth": Raw(b'"0.10"'), "greeting": Raw(b'"Hi "'), "addressee": Raw(b'"Ada"')}


@pytest.mark.parametrize(
    ("version", "payload", "said"),
    [
        (1, V1, GiftSent("o-1", Decimal("12345678901.10"), "Dear ", "Ada", "")),
        (2, V2, GiftSent("o-1", Decimal("0.10"), "Hi ", "Ada", "")),
        (3, {**V2, "gift_note": Raw(b'"x"')}, GiftSent("o-1", Decimal("0.10"), "Hi ", "Ada", "x")),
    ],
)
def test_an_old_version_is_lifted_step_by_step(version: int, payload: dict[str, Raw], said: Message) -> None:
    """From where it is to the newest; an upcaster sees old fields in snake_case, whatever form they came in."""
    assert PLAN.read(version, payload) == said


def test_a_new_version_without_upcasters_cannot_be_declared() -> None:
    """Else old events would be refused on the day of the upgrade."""
    with pytest.raises(ValueError, match="needs 2 upcasters, has 1"):
        Wire("GiftSent", version=3, lifts=(_v2_had_no_gift_note,))


def test_the_newest_version_is_not_lifted() -> None:
    """What is missing there is missing."""
    with pytest.raises(Bad) as caught:
        PLAN.read(3, V2)
    assert caught.value.field == "payload.gift_note"
