"""What a stretch of time holds: how many events, what they sum to, the extremes, how many different things, and the newest ids."""

from collections.abc import Iterable
from decimal import Decimal
from hashlib import blake2b
from typing import TypeAlias

from msgspec import Struct

from schemas.message import Instant

MOST_IDS = 20
"""Event ids that a pane keeps, the newest ones: enough to explain it."""
EXACT = 64
"""So many different things are counted exactly; more by HyperLogLog."""
_REGISTER_BITS = 11
_REGISTERS = 1 << _REGISTER_BITS
_VALUE_BITS = 64 - _REGISTER_BITS
_ALPHA_MILLIONTHS = 720_920
"""0.7213 / (1 + 1.079 / registers)."""

Marks: TypeAlias = tuple[int, ...] | bytes
"""Different things, as sorted 64-bit hashes, or as HyperLogLog registers."""


class Pane(Struct, frozen=True, array_like=True, gc=False):
    """A stretch of event time and what it holds. Values in minor units."""

    start: Instant
    """Of an aligned window, its start; else the first event."""
    last: Instant
    """The newest event."""
    count: int
    total: int
    least: int
    most: int
    ids: tuple[str, ...] = ()
    marks: Marks = ()


Panes: TypeAlias = tuple[Pane, ...]
"""Of one key, oldest first."""


def single(at: Instant, event_id: str, value: int = 0, mark: str | None = None) -> Pane:
    """One event. `mark` is the thing that is counted once however often it comes."""
    return Pane(at, at, 1, value, value, value, (event_id,), () if mark is None else (marked(mark),))


def join(one: Pane, other: Pane) -> Pane:
    """Both together; the ids of `other` are the newer ones."""
    return Pane(  # conditions where calls of min and max would be a third of the time of this step of every window
        one.start if one.start < other.start else other.start,
        one.last if one.last > other.last else other.last,
        one.count + other.count,
        one.total + other.total,
        one.least if one.least < other.least else other.least,
        one.most if one.most > other.most else other.most,
        (*one.ids, *other.ids)[-MOST_IDS:] if other.ids else one.ids,
        _union(one.marks, other.marks) if one.marks or other.marks else (),
    )


def joined(panes: Panes) -> Pane:
    """All of them together; at least one."""
    if len(panes) == 1:
        return panes[0]
    marks: Marks = ()
    for pane in panes:
        if pane.marks:
            marks = _union(marks, pane.marks)
    ids = [each for pane in panes for each in pane.ids]
    return Pane(
        min([pane.start for pane in panes]),
        max([pane.last for pane in panes]),
        sum([pane.count for pane in panes]),
        sum([pane.total for pane in panes]),
        min([pane.least for pane in panes]),
        max([pane.most for pane in panes]),
        tuple(ids[-MOST_IDS:]),
        marks,
    )


def marked(thing: str) -> int:
    """A thing's 64-bit hash: the same in every process."""
    return int.from_bytes(blake2b(thing.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def distinct(marks: Marks) -> int:
    """How many different things: exact up to `EXACT`; above that within 2.3 % (one standard error).

    HyperLogLog with 2,048 registers, linear counting where few are used: Flajolet, Fusy, Gandouet, Meunier, 2007.
    """
    if not isinstance(marks, bytes):
        return len(marks)
    empty = marks.count(0)
    harmonic = sum([1 << (_VALUE_BITS - register + 1) for register in marks])
    estimate = (_ALPHA_MILLIONTHS * _REGISTERS * _REGISTERS << (_VALUE_BITS + 1)) // (1_000_000 * harmonic)
    if 2 * estimate <= 5 * _REGISTERS and empty:
        return round(_REGISTERS * (Decimal(_REGISTERS).ln() - Decimal(empty).ln()))
    return estimate


def _union(one: Marks, other: Marks) -> Marks:
    if isinstance(one, bytes) and isinstance(other, bytes):
        return bytes(map(max, one, other))
    if isinstance(other, bytes):
        one, other = other, one
    if isinstance(one, bytes):
        return _registered(one, other)
    both = sorted({*one, *other})
    return tuple(both) if len(both) <= EXACT else _registered(bytes(_REGISTERS), both)


def _registered(registers: bytes, marks: Iterable[int]) -> bytes:
    found = bytearray(registers)
    for mark in marks:
        place = mark >> _VALUE_BITS
        rank = _VALUE_BITS - (mark & ((1 << _VALUE_BITS) - 1)).bit_length() + 1
        found[place] = max(found[place], rank)
    return bytes(found)
