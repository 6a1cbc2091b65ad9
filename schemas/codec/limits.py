"""What a record may be at all, whatever it says: size, encoding, depth, and the characters of names."""

import re

from schemas.codec.bad import Bad

LARGEST_RECORD_BYTES = 1_048_576
DEEPEST = 400
"""Levels of nesting. Fixed, because how deep a decoder can go depends on how deep its caller already is."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)', re.DOTALL)
_ONE_KIND_OF_BRACKET = bytes.maketrans(b"[]", b"{}")
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_BACKSLASH = ord("\\")
_DELETE = 0x7F
_C1_IN_UTF8 = re.compile(rb"\xc2[\x80-\x9f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def admit(raw: bytes | None) -> bytes:
    """The record, if it is worth reading. Raises Bad: malformed or too_large."""
    if not raw:
        raise Bad("malformed", "", "no value")
    if len(raw) > LARGEST_RECORD_BYTES:
        raise Bad("too_large", "", f"more than {LARGEST_RECORD_BYTES} bytes")
    # The ordinary record is too short to be too deep: each level takes two brackets.
    if len(raw) > 2 * DEEPEST and raw.count(b"{") + raw.count(b"[") > DEEPEST and _too_deep(raw):
        raise Bad("malformed", "", f"nested deeper than {DEEPEST} levels")
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            raise Bad("malformed", "", "not UTF-8") from None
    return raw


def is_plain(raw: bytes) -> bool:
    """No escapes and no control characters can be in its strings: a JSON parser lets C0 pass only as escapes."""
    return _BACKSLASH not in raw and _DELETE not in raw and (raw.isascii() or _C1_IN_UTF8.search(raw) is None)


def printable(name: str) -> bool:
    """Fit for a key, a header, a log line or a database."""
    return _CONTROL.search(name) is None


def readable(text: str) -> bool:
    """As `printable`, with tabs and line ends."""
    return _CONTROL_IN_TEXT.search(text) is None


def _too_deep(raw: bytes) -> bool:
    """Takes the innermost pairs away, level by level. Brackets that do not match are left for the parser to refuse."""
    left = _STRING.sub(b"", raw).translate(_ONE_KIND_OF_BRACKET, _NO_BRACKET)
    for _ in range(DEEPEST):
        left = left.replace(b"{}", b"")
        if not left:
            return False
    return True
