"""The sample files are the contract: every type, every version, every form."""

from typing import Any

import msgspec
import pytest

from schemas.codec import encode
from schemas.codec.foreign import FORMS
from schemas.codec.members import members_of
from schemas.message import Envelope
from schemas.topics import CARRIER
from tests.schemas.loader import BINARY, SAMPLES, Sample, named, sample

NO_PLACE_FOR: dict[str, dict[str, Any]] = {
    "cloudevents": {"sequence": None, "user_id": ""},
    BINARY: {"sequence": None, "user_id": ""},
    "flat": {"user_id": ""},
}
"""What a form cannot say about an event."""
NAMES_NO_AGGREGATE = {"bus", "flat"}

IN_EVERY_FORM = ("OrderCreated", "ItemAdded", "PaymentProcessed", "InventoryShortage")
FORM_OF = {"cloudevents": "CloudEvents", "camelcase": "camelCase"}
NEWEST = {kind.wire.name: kind.wire.version for kind in CARRIER}


@pytest.mark.parametrize("one", SAMPLES, ids=named)
def test_a_sample_is_the_type_its_file_is_named_after(one: Sample) -> None:
    """Synonyms, dotted names and old versions all come out as the one type, newest version."""
    said = one.decoded()
    assert isinstance(said, Envelope)
    assert said.payload.wire.name == one.type


@pytest.mark.parametrize("one", [one for one in SAMPLES if one.form != "canonical"], ids=named)
def test_the_form_makes_no_difference(one: Sample) -> None:
    """An event in any form is the same envelope as in canonical form, but for what the form has no place for."""
    said, canonical = one.decoded(), sample(one.type).decoded()
    assert isinstance(said, Envelope)
    assert isinstance(canonical, Envelope)
    changes = dict(NO_PLACE_FOR.get(one.form, {}))
    if one.form in NAMES_NO_AGGREGATE:
        changes |= {"aggregate_id": "order-1001", "aggregate_type": "Order"}
    assert said == msgspec.structs.replace(canonical, **changes)


@pytest.mark.parametrize("one", [one for one in SAMPLES if one.form != BINARY], ids=named)
def test_a_form_is_told_apart_by_the_table(one: Sample) -> None:
    """The first line of the table that fits is the form that the file is named after."""
    event = members_of(one.raw)
    assert next(form.name for form in FORMS if form.recognised(event)) == FORM_OF.get(one.form, one.form)


@pytest.mark.parametrize("one", [one for one in SAMPLES if one.form == "canonical" and one.version == NEWEST[one.type]], ids=named)
def test_a_canonical_sample_is_what_we_write(one: Sample) -> None:
    """Written again, it has the same members with the same values in the same order; a null says no more than nothing."""
    said = one.decoded()
    assert isinstance(said, Envelope)
    written = msgspec.json.decode(encode(said))
    written["payload"] = {name: value for name, value in written["payload"].items() if value is not None}
    assert list(written) == list(one.members())
    assert written == one.members()


def test_there_is_a_canonical_sample_of_every_type_and_version() -> None:
    """A type cannot be added, or changed, without a file that shows it."""
    wanted = {(kind.wire.name, version) for kind in CARRIER for version in range(1, kind.wire.version + 1)}
    assert {(one.type, one.version) for one in SAMPLES if one.form == "canonical"} == wanted


@pytest.mark.parametrize("kind", IN_EVERY_FORM)
def test_there_is_a_sample_in_every_form(kind: str) -> None:
    """The types that other services send most are shown in all forms."""
    forms = {"cloudevents", BINARY, "camelcase", "bus", "flat", "canonical", "older"}
    assert {one.form for one in SAMPLES if one.type == kind} == forms
