"""What others may rely on: the exported schemas, and the check that a change breaks nobody."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec
import pytest

from schemas.export import Schema, as_bytes, asyncapi, backward_compatible, event_schema, event_schemas
from schemas.fraud import FraudAlertRaised
from schemas.orders import OrderCreated
from schemas.topics import CARRIER, TOPICS
from tests.schemas.loader import ROOM, SAMPLES, Sample, named

PUBLISHED = {path.stem: msgspec.json.decode(path.read_bytes()) for path in sorted((ROOM / "published").glob("*.json"))}
OLD = event_schema(OrderCreated)


def test_every_type_is_exported() -> None:
    """By wire name, as an event in canonical form and the newest version."""
    schemas = event_schemas()
    assert set(schemas) == {kind.wire.name for kind in CARRIER}
    assert schemas["OrderCreated"]["properties"]["event_version"]["const"] == 2
    assert all(schema["description"] for schema in schemas.values())


@pytest.mark.parametrize("name", [kind.wire.name for kind in CARRIER])
def test_nothing_published_is_broken(name: str) -> None:
    """The types of today are compatible with the committed schemas."""
    assert backward_compatible(PUBLISHED[name], event_schemas()[name]) == []


def test_what_is_published_is_of_today() -> None:
    """A compatible change is published in the same commit."""
    assert event_schemas() == PUBLISHED


@pytest.mark.parametrize("one", [one for one in SAMPLES if one.form == "canonical"], ids=named)
def test_a_canonical_sample_has_the_members_of_the_schema(one: Sample) -> None:
    """Nothing that is not declared, nothing missing that is required."""
    schema, members = PUBLISHED[one.type], one.members()
    payload = schema["$defs"][one.type]
    assert set(members) <= set(schema["properties"])
    assert set(schema["required"]) <= set(members)
    assert set(members["payload"]) <= set(payload["properties"])
    assert one.version < schema["properties"]["event_version"]["const"] or set(payload["required"]) <= set(members["payload"])


def payload_of(schema: Schema) -> Schema:
    found: Schema = schema["$defs"]["OrderCreated"]
    return found


def rename(schema: Schema) -> None:
    payload_of(schema)["properties"]["grand_total"] = payload_of(schema)["properties"].pop("total")


PLANTED: dict[str, tuple[Callable[[Schema], Any], str]] = {
    "removed": (lambda new: payload_of(new)["properties"].pop("items"), "payload.items: removed or renamed"),
    "renamed": (rename, "payload.total: removed or renamed"),
    "removed from a line": (lambda new: new["$defs"]["Line"]["properties"].pop("sku"), "payload.items[].sku: removed or renamed"),
    "removed from the envelope": (lambda new: new["properties"].pop("sequence"), "sequence: removed or renamed"),
    "removed from the metadata": (
        lambda new: new["properties"]["metadata"]["properties"].pop("trace_id"),
        "metadata.trace_id: removed or renamed",
    ),
    "new and required": (
        lambda new: (payload_of(new)["properties"].update(vat={"type": "string"}), payload_of(new)["required"].append("vat")),
        "payload.vat: newly required",
    ),
    "newly required": (lambda new: payload_of(new)["required"].append("items"), "payload.items: newly required"),
    "another type": (lambda new: payload_of(new)["properties"]["total"].update(type="integer"), "payload.total: no longer string"),
    "integer to string": (
        lambda new: new["$defs"]["Line"]["properties"]["quantity"].update(type="string"),
        "payload.items[].quantity: no longer integer",
    ),
    "no more null": (
        lambda new: new["properties"]["metadata"]["properties"]["span_id"].update(type="string"),
        "metadata.span_id: no longer null",
    ),
    "shorter": (lambda new: payload_of(new)["properties"]["order_id"].update(maxLength=64), "payload.order_id: maxLength is lower"),
    "fewer": (lambda new: payload_of(new)["properties"]["items"].update(maxItems=10), "payload.items: maxItems is lower"),
    "bounded": (lambda new: payload_of(new)["properties"]["currency"].update(maxLength=3), "payload.currency: maxLength is lower"),
    "not empty any more": (lambda new: payload_of(new)["properties"]["items"].update(minItems=1), "payload.items: minItems is higher"),
    "larger": (lambda new: new["$defs"]["Line"]["properties"]["quantity"].update(minimum=2), "payload.items[].quantity: minimum is higher"),
    "one of few": (
        lambda new: payload_of(new)["properties"]["currency"].update(enum=["USD"]),
        "payload.currency: was free, is one of few values",
    ),
    "another name": (
        lambda new: new["properties"]["event_type"].update(const="OrderPlaced"),
        "event_type: 'OrderCreated' is no longer allowed",
    ),
    "another format": (lambda new: payload_of(new)["properties"]["order_id"].update(pattern="^o-"), "payload.order_id: another pattern"),
    "an older version": (lambda new: new["properties"]["event_version"].update(const=1), "event_version: 1 after 2"),
}


@pytest.mark.parametrize(("plant", "found"), PLANTED.values(), ids=PLANTED)
def test_a_planted_incompatibility_is_found(plant: Callable[[Schema], Any], found: str) -> None:
    """And nothing else is."""
    new = deepcopy(OLD)
    plant(new)
    problems = backward_compatible(OLD, new)
    assert found in problems
    assert len(problems) == 1


COMPATIBLE: dict[str, Callable[[Schema], Any]] = {
    "nothing": lambda _new: None,
    "a new optional field": lambda new: payload_of(new)["properties"].update(note={"type": "string", "default": ""}),
    "no longer required": lambda new: payload_of(new)["required"].remove("customer_id"),
    "longer": lambda new: payload_of(new)["properties"]["order_id"].update(maxLength=512),
    "unbounded": lambda new: payload_of(new)["properties"]["order_id"].pop("maxLength"),
    "integer to number": lambda new: new["$defs"]["Line"]["properties"]["quantity"].update(type="number"),
    "or null": lambda new: payload_of(new)["properties"].update(
        currency={"anyOf": [payload_of(new)["properties"]["currency"], {"type": "null"}]}
    ),
    "another description": lambda new: new.update(description="Otherwise said."),
}


@pytest.mark.parametrize("change", COMPATIBLE.values(), ids=COMPATIBLE)
def test_a_compatible_change_is_let_pass(change: Callable[[Schema], Any]) -> None:
    """Whoever could send or read yesterday can today."""
    new = deepcopy(OLD)
    change(new)
    assert backward_compatible(OLD, new) == []


def test_a_value_may_be_added_and_none_taken_away() -> None:
    """Of an enumeration."""
    old = event_schema(FraudAlertRaised)
    more, fewer = deepcopy(old), deepcopy(old)
    more["$defs"]["FraudAlertRaised"]["properties"]["action"]["enum"].append("freeze")
    fewer["$defs"]["FraudAlertRaised"]["properties"]["action"]["enum"].remove("hold")
    assert backward_compatible(old, more) == []
    assert backward_compatible(old, fewer) == ["payload.action: 'hold' is no longer allowed"]


def test_a_new_version_may_change_the_payload_but_not_the_envelope() -> None:
    """Its upcaster makes the difference good; the envelope has no versions."""
    new = deepcopy(OLD)
    new["properties"]["event_version"]["const"] = 3
    rename(new)
    assert backward_compatible(OLD, new) == []
    del new["properties"]["aggregate_id"]
    assert backward_compatible(OLD, new) == ["aggregate_id: removed or renamed"]


def test_one_asyncapi_document_says_everything() -> None:
    """A channel per topic, a message per type, and every reference leads somewhere."""
    document = asyncapi("1.2.3")
    assert (document["asyncapi"], document["info"]["version"]) == ("3.0.0", "1.2.3")
    assert set(document["channels"]) == {topic.name for topic in TOPICS}
    assert document["channels"]["fraud.rules"]["bindings"]["kafka"]["topicConfiguration"] == {"cleanup.policy": ["compact"]}
    references = list(_references(document))
    assert references
    for reference in references:
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    assert set(document["components"]["messages"]) == {kind.wire.name for kind in CARRIER}


def _references(node: object) -> Any:
    match node:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            for value in node.values():
                yield from _references(value)
        case list():
            for value in node:
                yield from _references(value)


def test_a_document_is_the_same_bytes_each_time() -> None:
    """So that a committed file changes only when a type does."""
    assert as_bytes(event_schema(OrderCreated)) == as_bytes(event_schema(OrderCreated))
    assert as_bytes(OLD).endswith(b"}\n")
