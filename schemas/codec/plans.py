"""How each type is read and written, worked out once: its decoder, other names to look for, what it borrows, its aggregate."""

import re
from typing import get_args

import msgspec

from schemas.codec.bad import Bad, invalid
from schemas.codec.draft import Draft
from schemas.codec.limits import printable, readable
from schemas.codec.synonyms import camel, names_of, renamed
from schemas.fields import Amount
from schemas.message import Invalid, Message
from schemas.topics import CARRIER, topic_of

_AGGREGATES = {"order_id": "Order", "user_id": "User", "customer_id": "Customer", "rule_id": "Rule"}
NOT_AN_ORDER = frozenset({"payment", "user", "customer"})
"""Aggregates (in lower case) whose id is never taken for an order's."""
_DECIMAL = r"-?+[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
"""An amount in a string. Python's Decimal takes more: spaces, a plus, underscores, the digits of any script."""
_is_decimal = re.compile(_DECIMAL).fullmatch
_text = msgspec.json.Decoder(str).decode


class Plan:
    """Everything that reading or writing one type needs.

    Adding a version is a new field, a function, and a number; nothing else in the code knows that there was another:

        def _v2_had_no_gift_note(old: Payload) -> Payload:
            return {**old, "gift_note": Raw(b'""')}

        wire = Wire("OrderCreated", version=3, lifts=(_v1_was_in_dollars, _v2_had_no_gift_note))
        gift_note: Text

    An upcaster sees the members under their canonical names as `msgspec.Raw`, the bytes that were written, so that an
    amount which it does not touch can never become a float.
    """

    def __init__(self, kind: type[Message], key: str) -> None:
        self.kind = kind
        self.name = kind.wire.name
        self.version = kind.wire.version
        # A fraction in free data (a fraud rule) stays the text that was written; amounts are read from their bytes anyway.
        self.decode = msgspec.json.Decoder(kind, float_hook=str).decode
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        self.own = key if key in fields and fields[key].required else "order_id"
        self.aggregate_type = _AGGREGATES[self.own]
        self.ids, self.texts = _strings(kind)
        self.may_be_elsewhere = tuple(
            (field.name, field.default, tuple(f'"{name}"' for name in other_names))
            for field in fields.values()
            if not field.required and (other_names := _other_names(kind, field.name))
        )
        self.needs_order_id = "order_id" in fields and fields["order_id"].required
        self.has_payment_id = "payment_id" in fields
        self.has_items = "items" in fields
        self.amounts = tuple(name for name, field in fields.items() if Amount in (field.type, *get_args(field.type)))
        self._odd_amount = re.compile(rf'(?:{"|".join(self.amounts)})"\s*+:\s*+"(?!{_DECIMAL}")'.encode()).search
        self.has_event_ids = "event_ids" in fields

    def read_quickly(self, draft: Draft) -> Message | None:
        """What `read` would say of a plain draft, where it has the newest version, the canonical names, and no fault; else None."""
        if draft.version != self.version:
            return None
        try:
            message: Message = self.decode(draft.payload)
        except (msgspec.DecodeError, RecursionError):
            return None
        if self.amounts and self._odd_amount(draft.payload):
            return None
        # An optional field that has its default could be there under another name, or be the aggregate.
        for field, default, other_names in self.may_be_elsewhere:
            if getattr(message, field) == default:
                if field == "payment_id" and draft.aggregate_type.lower() == "payment":
                    return None
                payload = str(draft.payload, "utf-8")
                for name in other_names:
                    if name in payload:
                        return None
        return message

    def read(self, version: int, members: dict[str, msgspec.Raw], aggregate_id: str = "", aggregate_type: str = "") -> Message:
        """The message in its newest version. Raises Bad: unsupported_version, or invalid with the field named."""
        if version > self.version:
            raise Bad("unsupported_version", "event_version", f"{self.name} version {version}; the newest known is {self.version}")
        said = renamed(self.kind, members)
        if aggregate_id:
            self._borrow(said, msgspec.Raw(msgspec.json.encode(aggregate_id)), aggregate_type.lower())
        for lift in self.kind.wire.lifts[version - 1 :]:
            said = lift(said)
        for field in self.amounts:
            written = bytes(said.get(field, b""))
            if written.startswith(b'"') and not _is_decimal(_text(written)):
                raise Bad("invalid", f"payload.{field}", "not a plain decimal number")
        try:
            return self.decode(msgspec.json.encode(said))
        except msgspec.ValidationError as error:
            raise invalid(error, "payload") from None

    def _borrow(self, said: dict[str, msgspec.Raw], aggregate_id: msgspec.Raw, aggregate: str) -> None:
        """The order's id, or the payment's, may stand in the envelope alone. An aggregate that has the payment's id is the payment."""
        if self.has_payment_id and aggregate == "payment":
            said.setdefault("payment_id", aggregate_id)
        is_payment = self.has_payment_id and bytes(said.get("payment_id", b"")) == bytes(aggregate_id)
        if self.needs_order_id and aggregate not in NOT_AN_ORDER and not is_payment:
            said.setdefault("order_id", aggregate_id)

    def aggregate(self, message: Message, aggregate_id: str, aggregate_type: str) -> tuple[str, str]:
        """Id and type of the aggregate, where the sender leaves one of them out: the message's own order, user, customer or rule."""
        own: str = getattr(message, self.own)
        if not aggregate_id or aggregate_id == own:
            return own, aggregate_type or self.aggregate_type
        if not aggregate_type and self.has_payment_id and aggregate_id == message.payment_id:  # type: ignore[attr-defined]  # has_payment_id says so
            return aggregate_id, "Payment"
        return aggregate_id, aggregate_type

    def check_characters(self, message: Message) -> None:
        """Names must be printable, free words readable. Raises Invalid."""
        names = [(field, getattr(message, field)) for field in self.ids]
        if self.has_items:
            names += [(f"items[{n}].sku", line.sku) for n, line in enumerate(message.items)]  # type: ignore[attr-defined]  # has_items
        if self.has_event_ids:
            names += [(f"event_ids[{n}]", name) for n, name in enumerate(message.event_ids)]  # type: ignore[attr-defined]  # has_event_ids
        for field, name in names:
            if not printable(name):
                raise Invalid(field, "control characters")
        for field in self.texts:
            if not readable(getattr(message, field)):
                raise Invalid(field, "control characters")


def _other_names(kind: type[Message], field: str) -> tuple[str, ...]:
    snakes = names_of(kind, field)
    return tuple(sorted({*snakes, *map(camel, snakes)} - {field}))


def _strings(kind: type[Message]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields that are names, and those that are free words."""
    ids, texts = [], []
    for field in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined]  # a struct's type_info has fields
        match field.type:
            case msgspec.inspect.Metadata(type=msgspec.inspect.StrType(), extra={"id": True}):
                ids.append(field.name)
            case msgspec.inspect.StrType(max_length=int()):
                texts.append(field.name)
    return tuple(ids), tuple(texts)


PLANS: dict[type[Message], Plan] = {kind: Plan(kind, topic_of(kind).key) for kind in CARRIER}
