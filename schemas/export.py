"""What others may rely on, worked out from the types: JSON Schemas, one AsyncAPI document, and whether a change breaks anybody."""

from typing import Any, TypeAlias

import msgspec

from schemas.message import Message
from schemas.topics import TOPICS, Topic

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_IN_SCHEMA = "#/$defs/{name}"
_IN_ASYNCAPI = "#/components/schemas/{name}"

_NAME = {"type": "string", "maxLength": 256}
_METADATA = {
    "correlation_id": "The whole business flow; copied unchanged from the cause.",
    "causation_id": "The event that caused this one.",
    "user_id": "The operator or account that acted, never the customer.",
    "source_service": "Who says it.",
    "trace_id": "W3C trace context, 32 hexadecimal digits.",
    "span_id": "W3C trace context, 16 hexadecimal digits.",
}


def event_schema(kind: type[Message]) -> Schema:
    """JSON Schema (2020-12) of a whole event of this type in canonical form, in its newest version."""
    (payload,), definitions = msgspec.json.schema_components([kind], ref_template=_IN_SCHEMA)
    return _plain({"$schema": DIALECT, **_envelope(kind, payload), "$defs": definitions})


def event_schemas() -> dict[str, Schema]:
    """The schema of every type that a topic carries, by wire name."""
    return {kind.wire.name: event_schema(kind) for topic in TOPICS for kind in topic.carries}


def asyncapi(version: str) -> Schema:
    """One AsyncAPI 3 document: a channel per topic, a message per type. `version` is the product's."""
    carried = [(topic, kind) for topic in TOPICS for kind in topic.carries]
    payloads, definitions = msgspec.json.schema_components([kind for _, kind in carried], ref_template=_IN_ASYNCAPI)
    messages = {kind.wire.name: _message(kind, payload, topic) for (topic, kind), payload in zip(carried, payloads, strict=True)}
    return _plain(
        {
            "asyncapi": "3.0.0",
            "info": {"title": "Orderflow", "version": version, "description": "Orders and payments as a stream of events."},
            "defaultContentType": "application/json",
            "channels": {topic.name: _channel(topic) for topic in TOPICS},
            "components": {"messages": messages, "schemas": definitions},
        }
    )


def as_bytes(document: Schema) -> bytes:
    """A document as it is committed: two spaces, a final line end, the same bytes each time."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def backward_compatible(old: Schema, new: Schema) -> list[str]:
    """What in `new` would refuse, or lose, something that was right by `old`; empty when nothing does.

    A higher `event_version` may change the payload as it likes: readers see the number, and its upcaster makes the difference good.
    """
    old_version, new_version = (_at(schema, "event_version").get("const", 1) for schema in (old, new))
    if new_version < old_version:
        return [f"event_version: {new_version} after {old_version}"]
    problems = _Comparison(old, new, new_version > old_version)
    problems.compare(old, new, "")
    return problems.found


def _plain(document: Schema) -> Schema:
    """As it reads once it has been written: lists, and nothing shared between two places."""
    plain: Schema = msgspec.json.decode(msgspec.json.encode(document))
    return plain


def _envelope(kind: type[Message], payload: Schema) -> Schema:
    return {
        "title": kind.wire.name,
        "description": (kind.__doc__ or "").strip(),
        "type": "object",
        "properties": {
            "event_id": {**_NAME, "minLength": 1, "description": "An event with the same id is the same event."},
            "event_type": {"const": kind.wire.name},
            "aggregate_id": {**_NAME, "description": "What it is about."},
            "aggregate_type": {**_NAME, "description": "Order, Payment, User, …"},
            "event_version": {"const": kind.wire.version, "description": "Version of the payload's shape."},
            "sequence": {"type": "integer", "minimum": 1, "description": "The aggregate's own version."},
            "timestamp": {"type": "string", "format": "date-time", "description": "Event time, by its sender's clock."},
            "metadata": {
                "type": "object",
                "properties": {
                    name: {"type": ["string", "null"], "maxLength": 256, "description": about} for name, about in _METADATA.items()
                },
            },
            "payload": payload,
        },
        "required": ["event_id", "event_type", "event_version", "timestamp", "payload"],
    }


def _message(kind: type[Message], payload: Schema, topic: Topic) -> Schema:
    return {
        "name": kind.wire.name,
        "title": kind.wire.name,
        "summary": (kind.__doc__ or "").strip(),
        "contentType": "application/json",
        "correlationId": {"location": "$message.payload#/metadata/correlation_id"},
        "payload": _envelope(kind, payload),
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": "0.5.0"}},
    }


def _channel(topic: Topic) -> Schema:
    configuration = {"topicConfiguration": {"cleanup.policy": ["compact"]}} if topic.compacted else {}
    return {
        "address": topic.name,
        "messages": {kind.wire.name: {"$ref": f"#/components/messages/{kind.wire.name}"} for kind in topic.carries},
        "bindings": {"kafka": {"topic": topic.name, "partitions": topic.partitions, **configuration, "bindingVersion": "0.5.0"}},
    }


def _at(schema: Schema, member: str) -> Schema:
    found: Schema = schema.get("properties", {}).get(member, {})
    return found


_UPPER_BOUNDS = ("maximum", "maxLength", "maxItems")
_LOWER_BOUNDS = ("minimum", "minLength", "minItems")


class _Comparison:
    """Walks two schemas side by side."""

    def __init__(self, old: Schema, new: Schema, payload_may_change: bool) -> None:  # noqa: FBT001  # internal, called once
        self.found: list[str] = []
        self._old_definitions = old.get("$defs", {})
        self._new_definitions = new.get("$defs", {})
        self._payload_may_change = payload_may_change

    def compare(self, old: Schema, new: Schema, path: str) -> None:
        if self._payload_may_change and path in {"payload", "event_version"}:
            return
        old, new = _resolved(old, self._old_definitions), _resolved(new, self._new_definitions)
        self._types(old, new, path)
        self._values(old, new, path)
        self._bounds(old, new, path)
        self._members(old, new, path)
        if "items" in new:
            self.compare(old.get("items", {}), new["items"], f"{path}[]")

    def _say(self, path: str, text: str) -> None:
        self.found.append(f"{path or 'event'}: {text}")

    def _types(self, old: Schema, new: Schema, path: str) -> None:
        before, after = _types_of(old), _types_of(new)
        lost = before - after - ({"integer"} if "number" in after else set())
        if after and not before:
            self._say(path, f"was anything, is only {', '.join(sorted(after))}")
        elif after and lost:
            self._say(path, f"no longer {', '.join(sorted(lost))}")

    def _values(self, old: Schema, new: Schema, path: str) -> None:
        before, after = _values_of(old), _values_of(new)
        if after is None:
            return
        if before is None:
            self._say(path, "was free, is one of few values")
        else:
            self.found.extend(f"{path}: {value!r} is no longer allowed" for value in before if value not in after)

    def _bounds(self, old: Schema, new: Schema, path: str) -> None:
        for bound in _UPPER_BOUNDS:
            if bound in new and (bound not in old or new[bound] < old[bound]):
                self._say(path, f"{bound} is lower")
        for bound in _LOWER_BOUNDS:
            if bound in new and (bound not in old or new[bound] > old[bound]):
                self._say(path, f"{bound} is higher")
        for shape in ("format", "pattern"):
            if shape in new and new[shape] != old.get(shape):
                self._say(path, f"another {shape}")

    def _members(self, old: Schema, new: Schema, path: str) -> None:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            where = f"{path}.{name}" if path else name
            if name in after:
                self.compare(schema, after[name], where)
            else:
                self._say(where, "removed or renamed")
        for name in new.get("required", ()):
            if name not in old.get("required", ()):
                self._say(f"{path}.{name}" if path else name, "newly required")


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """The schema behind a reference, and an optional one (anyOf with null) as one with several types."""
    if "$ref" in schema:
        target: Schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        return _resolved(target, definitions)
    if "anyOf" in schema:
        parts = [_resolved(part, definitions) for part in schema["anyOf"]]
        merged = {name: value for part in parts for name, value in part.items()}
        return {**merged, "type": sorted(set().union(*map(_types_of, parts)))}
    return schema


def _types_of(schema: Schema) -> set[str]:
    said = schema.get("type", [])
    return {said} if isinstance(said, str) else set(said)


def _values_of(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values
