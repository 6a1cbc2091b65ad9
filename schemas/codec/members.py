"""The members of one JSON object, still raw, read one by one so that each error has a name."""

from collections.abc import Iterable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw

from schemas.codec.bad import Bad, invalid
from schemas.codec.limits import printable
from schemas.fields import LARGEST_NUMBER, LARGEST_SEQUENCE, MaybeId, Version

T = TypeVar("T")

_NULL = b"null"
_raw_object: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_name: msgspec.json.Decoder[str] = msgspec.json.Decoder(MaybeId)
_version: msgspec.json.Decoder[int] = msgspec.json.Decoder(Version)
_sequence: msgspec.json.Decoder[int] = msgspec.json.Decoder(Annotated[int, Meta(ge=1, le=LARGEST_SEQUENCE)])


class Members:
    """What an object says, by name; of a name said twice, the last. `within` is where it stands in the record."""

    def __init__(self, raw: dict[str, Raw], within: str = "", prefix: str = "") -> None:
        self.raw = raw
        self._within = within
        self._prefix = prefix

    def __contains__(self, name: str) -> bool:
        return name in self.raw

    def path(self, name: str) -> str:
        """How a letter names this member."""
        return f"{self._within}.{self._prefix}{name}" if self._within else f"{self._prefix}{name}"

    def said(self, names: Iterable[str]) -> str:
        """The first of the names that is there and not null, else ""."""
        for name in names:
            value = self.raw.get(name)
            if value is not None and bytes(value) != _NULL:
                return name
        return ""

    def needed(self, *names: str) -> str:
        """A string without which no form is a known one. Raises Bad: malformed when it is absent, invalid when it is wrong."""
        if not self.said(names):
            raise Bad("malformed", self.path(names[0]), "missing: no known form")
        text = self.name(*names)
        if not text:
            raise Bad("invalid", self.path(self.said(names)), "empty")
        return text

    def name(self, *names: str) -> str:
        """A short string; "" where nothing is said. Raises Bad: invalid."""
        found = self.said(names)
        if not found:
            return ""
        text = self._read(_name, found)
        if not printable(text):
            raise Bad("invalid", self.path(found), "control characters")
        return text

    def version(self, name: str) -> int:
        """A version of the payload's shape, strictly an integer. Raises Bad: invalid."""
        return self._read(_version, name)

    def loose_version(self, *names: str) -> int:
        """A version as flat events write it: 2, "2" or "v2"; 1 where nothing is said. Raises Bad: invalid."""
        found = self.said(names)
        if not found:
            return 1
        if not bytes(self.raw[found]).startswith(b'"'):
            return self.version(found)
        digits = self.name(found).lower().removeprefix("v")
        if not (digits.isascii() and digits.isdecimal() and len(digits) < len(str(LARGEST_NUMBER)) and int(digits)):
            raise Bad("invalid", self.path(found), "not a version")
        return int(digits)

    def sequence(self, *names: str) -> int | None:
        """The aggregate's own version, 1 or more. Raises Bad: invalid."""
        found = self.said(names)
        return self._read(_sequence, found) if found else None

    def inner(self, name: str) -> "Members":
        """The object of that name; an empty one where nothing is said. Raises Bad: invalid."""
        if not self.said((name,)):
            return Members({}, self.path(name))
        return Members(self._read(_raw_object, name), self.path(name))

    def _read(self, decoder: msgspec.json.Decoder[T], name: str) -> T:
        try:
            return decoder.decode(self.raw[name])
        except msgspec.ValidationError as error:
            raise invalid(error, self.path(name)) from None


def members_of(raw: bytes) -> Members:
    """The members of a whole record. Raises Bad: malformed."""
    try:
        return Members(_raw_object.decode(raw))
    except msgspec.ValidationError:
        raise Bad("malformed", "", "not a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Bad("malformed", "", "not JSON") from None
