"""What others call the same: event types and payload fields, in whatever form they come."""

import re
from functools import cache

import msgspec

from schemas.message import Message
from schemas.orders import ItemAdded, Line
from schemas.topics import CARRIER

SAME_FIELD: dict[str, tuple[str, ...]] = {
    "sku": ("product_id",),
    "total": ("total_amount",),
    "price": ("unit_price",),
    "customer_id": ("user_id",),
    "user_id": ("customer_id",),
}
"""Canonical name: other names for it, best first. Each also goes in camelCase."""
SAME_FIELD_OF: dict[tuple[type, str], tuple[str, ...]] = {(ItemAdded, "total"): ("total_amount", "amount")}

_WORD_BREAK = re.compile(r"[._-]+")
_CAPITAL = re.compile(r"[A-Z]")
_NULL = b"null"
_EMPTY = b'""'
_lines = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_right_lines = msgspec.json.Decoder(list[Line])


def kind_of(event_type: str) -> type[Message] | None:
    """The type of that wire name, synonym or dotted name (order.item_added); None for one that nobody here knows."""
    kind = _KINDS.get(event_type)
    if kind is None and "." in event_type:
        kind = _KINDS.get("".join(word[:1].upper() + word[1:] for word in _WORD_BREAK.split(event_type)))
    return kind


def _dotted(event_type: str) -> str:
    """OrderCreated is order.created."""
    return _CAPITAL.sub(lambda capital: f".{capital[0].lower()}", event_type).removeprefix(".")


_KINDS: dict[str, type[Message]] = {
    written: kind for kind in CARRIER for name in (kind.wire.name, *kind.wire.also) for written in (name, _dotted(name))
}


def snake(name: str) -> str:
    """OrderId is not camelCase and stays unknown; orderId is order_id."""
    return _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", name)


def camel(name: str) -> str:
    """order_id is orderId."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def names_of(kind: type, field: str) -> tuple[str, ...]:
    """All snake_case names of a field, the canonical one first."""
    return (field, *SAME_FIELD_OF.get((kind, field), SAME_FIELD.get(field, ())))


@cache
def _names_of_all(kind: type[msgspec.Struct]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((field, names_of(kind, field)) for field in kind.__struct_fields__)


@cache
def _field_of(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Each name that a field of this type goes by, in snake_case and camelCase, and the field."""
    return {written: field for field, names in _names_of_all(kind) for name in names for written in (name, camel(name))}


def renamed(kind: type[msgspec.Struct], members: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """The members under their canonical names; values stay the bytes that were written.

    Null is as good as absent. Of several names for one field the first that says something counts; a name that is no
    field of the newest version stays, in snake_case, for the upcasters to see.
    """
    canonical: dict[str, msgspec.Raw] = {}
    field_of = _field_of(kind)
    for name, value in members.items():
        field = field_of.get(name) or (name if name.islower() else snake(name))
        if field in canonical or bytes(value) == _NULL:
            canonical = _chosen(kind, members)
            break
        canonical[field] = value
    if "items" in canonical and "items" in kind.__struct_fields__:
        canonical["items"] = _renamed_lines(canonical["items"])
    return canonical


def _chosen(kind: type[msgspec.Struct], members: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """Where a field has several names, or a member is null."""
    told = {name: value for name, value in members.items() if bytes(value) != _NULL}
    canonical = {snake(name): value for name, value in told.items() if not name.islower()}
    canonical.update((name, value) for name, value in told.items() if name.islower())
    for field, names in _names_of_all(kind):
        given = [canonical[name] for name in names if name in canonical]
        if given:
            canonical[field] = next((value for value in given if bytes(value) != _EMPTY), given[0])
    return canonical


def _renamed_lines(items: msgspec.Raw) -> msgspec.Raw:
    try:
        _right_lines.decode(items)
    except msgspec.ValidationError:
        pass
    else:
        return items  # nothing to rename, and nothing else wrong
    try:
        lines = _lines.decode(items)
    except msgspec.ValidationError:
        return items  # the typed decode that follows says what is wrong with them
    return msgspec.Raw(msgspec.json.encode([renamed(Line, line) for line in lines]))
