"""What is wrong with a record, in words that a dead letter may carry: names of fields and types, never values."""

import re
from typing import Literal, TypeAlias

import msgspec

from schemas.message import Invalid

Reason: TypeAlias = Literal["malformed", "invalid", "unsupported_version", "too_large"]

LONGEST_WORDS = 300
_WHERE = re.compile(r" - at `\$\.?(?P<path>.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>\w+)`")
_WITHOUT_VALUES = ("Expected ", "Integer value out of range", "Invalid decimal string")
"""How msgspec's messages begin that repeat nothing of the input; one about an enum repeats the value."""


class Bad(Exception):
    """A record that cannot be read. `reason` is the dead letter's, `field` what is wrong ("" where no field is to blame)."""

    def __init__(self, reason: Reason, field: str, text: str) -> None:
        super().__init__(reason, field, text)  # as they were given: so it can come out of another process
        self.reason = reason
        self.field = field
        self.text = (f"{field}: {text}" if field else text)[:LONGEST_WORDS]

    def __str__(self) -> str:
        return self.text


def invalid(error: msgspec.ValidationError | Invalid, within: str) -> Bad:
    """`error` as a Bad that names the field, `within` being where its path starts ("payload", "metadata.user_id")."""
    told = error.__cause__ if isinstance(error.__cause__, Invalid) else error
    if isinstance(told, Invalid):
        return Bad("invalid", _join(within, told.field), str(told).removeprefix(f"{told.field}: "))
    words = str(error)
    where = _WHERE.search(words)
    path = where["path"] if where else ""
    words = _WHERE.sub("", words)
    if missing := _MISSING.match(words):
        return Bad("invalid", _join(within, _join(path, missing["field"])), "missing")
    return Bad("invalid", _join(within, path), words if words.startswith(_WITHOUT_VALUES) else "not one of the allowed values")


def _join(outer: str, inner: str) -> str:
    return f"{outer}.{inner}" if outer and inner else outer or inner
