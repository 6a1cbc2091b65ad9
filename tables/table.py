"""A table: a name, the row of a key never seen, the key, and the fold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A value, stored as an array of its fields: add new ones at the end, each with a default, so that old rows can be read.

    Every field has a default: the empty row is what is known of a key never seen.
    """


R = TypeVar("R", bound=Row)
ONLY = "*"
"""The key of a partition's only row."""


@dataclass(frozen=True)
class Table(Generic[R]):
    """What is remembered per key. One agent writes it."""

    name: str
    row: type[R]
    key: str
    """The message field that is the key. A topic with the same key and partitions is read in place, others are re-keyed."""
    partitions: int
    evolve: Callable[..., R]
    """Folds what was heard, and then what was said because of it: of the row, the message, and the row beside it where its agent has one.
    Never refuses: it only remembers."""
    initial: Callable[[str], R]
    """The row of a key never seen."""
    spread_by: str = ""
    """The message field that says which partition a row is in, where that is not its key: rows then live beside those of that field."""
    empty: Callable[[R], bool] | None = None
    """Whether a row says nothing more than that of a key never seen: it is deleted."""
    one_row: bool = False
    """Each partition has one row, under `ONLY`, whatever a message's key. A message without the partition key is heard by all partitions,
    and each remembers it for itself."""
    counted: Callable[[R, R], Mapping[str, int]] | None = None
    """What the step from one row to the next adds to sums over all rows: nobody reads them all to know how many stand where."""

    @property
    def partition_key(self) -> str:
        return self.spread_by or self.key


AnyTable: TypeAlias = Table[Any]
