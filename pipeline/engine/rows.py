"""The rows of a task, each with what waits for it and when it wants to be woken; decoded rows are kept.

In the store: `r | table | 0 | key` holds the row and its parked records; `t | due | table | 0 | key` is the index of deadlines,
which follows from the rows and is therefore in no changelog.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from struct import Struct
from typing import Any, TypeAlias, TypeVar

import msgspec

from agents.agent import AnyAgent, Deadline
from pipeline.log.record import Record
from pipeline.stores.port import Batch, Store
from schemas.message import Instant
from tables.table import Row, Table

_due = Struct(">Q").pack
R = TypeVar("R", bound=Row)
Place: TypeAlias = tuple[int, str]
"""Number of the agent in its group, and the key."""


class ParkedRecord(msgspec.Struct, frozen=True, array_like=True):
    """A record that came too early, as it came, until its row changes or its patience ends."""

    record: Record
    expires: Instant


class Slot(msgspec.Struct, gc=False, eq=False):
    """One row in one chunk: changed here, stored when the chunk is committed."""

    place: Place
    row: Any
    kept: Any
    """The row as it was committed last."""
    parked: tuple[ParkedRecord, ...] = ()
    there: bool = True
    """It is in the store, or will be with its chunk."""
    deadline: Deadline | None = None
    due: Instant | None = None
    stored_due: Instant | None = None

    def set_due(self, agent: AnyAgent) -> None:
        """The next moment at which the row wants to act, or a parked record has waited too long."""
        self.deadline = agent.due(self.row)
        self.due = None if self.deadline is None else self.deadline.at
        for parked in self.parked:
            if self.due is None or parked.expires < self.due:
                self.due = parked.expires


def prefix(table: Table[R]) -> bytes:
    """Of the keys of its rows, in the store and in the changelog."""
    return b"r" + table.name.encode() + b"\0"


def decoder(table: Table[R]) -> Callable[[bytes], tuple[R, tuple[ParkedRecord, ...]]]:
    """Of its rows, as they are stored and told."""
    kind = tuple[table.row, tuple[ParkedRecord, ...]]  # type: ignore[name-defined]  # a type made at run time
    return msgspec.msgpack.Decoder(kind).decode


class Rows:
    """All rows of one task."""

    def __init__(self, store: Store, base: bytes, agents: tuple[AnyAgent, ...], *, cached: int) -> None:
        self._store = store
        self._base = base
        self._timers = base + b"t"
        self._agents = agents
        self._cached = cached
        self._cache: dict[Place, Slot] = {}
        self._prefixes = [prefix(agent.table) for agent in agents]
        self._numbers = {agent.table.name.encode(): number for number, agent in enumerate(agents)}
        self._decoders = [decoder(agent.table) for agent in agents]
        self._encode = msgspec.msgpack.Encoder().encode

    def load(self, places: Iterable[Place]) -> dict[Place, Slot]:
        """These rows, read in one go; a key never seen has its table's initial row.

        The chunk changes them in place: where it fails, its process ends, and nobody sees them.
        """
        slots: dict[Place, Slot] = {}
        missing: list[Place] = []
        cached = self._cache.get
        for place in places:
            if (kept := cached(place)) is not None:
                slots[place] = kept
            else:
                missing.append(place)
        found = self._store.get_many([self._base + self._key(place) for place in missing])
        for place, raw in zip(missing, found, strict=True):
            slots[place] = self._decode(place, raw)
        return slots

    def _key(self, place: Place) -> bytes:
        return self._prefixes[place[0]] + place[1].encode("utf-8", "surrogatepass")

    def _decode(self, place: Place, raw: bytes | None) -> Slot:
        agent = self._agents[place[0]]
        if raw is None:
            row = agent.table.initial(place[1])
            return Slot(place, row, row, there=False)
        row, parked = self._decoders[place[0]](raw)
        slot = Slot(place, row, row, parked)
        slot.set_due(agent)
        slot.stored_due = slot.due
        return slot

    def write(
        self, changed: dict[Place, Slot], batch: Batch, changelog: list[tuple[bytes, bytes | None]], sums: Mapping[str, int]
    ) -> dict[str, int]:
        """Write these rows and their deadlines. Returns what the sums over all rows are then: `rows.` per table, and what it counts."""
        more = Counter(sums)
        base, puts, encode = self._base, batch.puts, self._encode
        for place, slot in changed.items():
            key, table = self._key(place), self._agents[place[0]].table
            empty, counted = table.empty, table.counted
            if empty is not None and not slot.parked and empty(slot.row):
                changelog.append((key, None))
                batch.deletes.append(base + key)
                more["rows." + table.name] -= slot.there
                slot.there = False
            else:
                value = encode((slot.row, slot.parked))
                changelog.append((key, value))
                puts.append((base + key, value))
                if not slot.there:
                    more["rows." + table.name] += 1
                    slot.there = True
            if counted is not None and slot.row is not slot.kept:
                for name, step in counted(slot.kept, slot.row).items():
                    more[f"{table.name}.{name}"] += step
            if slot.due != slot.stored_due:
                if slot.stored_due is not None:
                    batch.deletes.append(self._timer(slot.stored_due, key))
                if slot.due is not None:
                    puts.append((self._timer(slot.due, key), b""))
                slot.stored_due = slot.due
        return {name: total for name, total in more.items() if total}  # how the input was cut into chunks leaves no trace

    def keep(self, changed: dict[Place, Slot]) -> None:
        """These rows are committed: later chunks may start from them."""
        cache = self._cache
        cache.update(changed)
        for slot in changed.values():
            slot.kept = slot.row
        if len(cache) > self._cached:
            for place in list(islice(cache, len(cache) - self._cached)):
                del cache[place]

    def due(self, until: Instant) -> Iterator[tuple[Instant, Place]]:
        """Deadlines up to and with `until`, in order; some may be of rows that have changed since."""
        start = len(self._timers)
        for entry, _ in self._store.scan(self._timers, self._timers + _due(max(until, -1) + 1)):
            yield int.from_bytes(entry[start : start + 8]), self._place(entry[start + 8 :])

    def forget_due(self, due: Instant, place: Place, batch: Batch) -> None:
        """Delete an entry of the index that is no longer true."""
        batch.deletes.append(self._timer(due, self._key(place)))

    def first_due(self) -> Instant | None:
        """The earliest deadline that is stored."""
        for entry, _ in self._store.scan(self._timers, self._timers + b"\xff" * 9):
            return int.from_bytes(entry[len(self._timers) :][:8])
        return None

    def recover(self, key: bytes, value: bytes | None, batch: Batch) -> None:
        """Apply one changelog record. Deadlines of older values stay in the index until they pass; `due` says so."""
        if value is None:
            batch.deletes.append(self._base + key)
            return
        batch.puts.append((self._base + key, value))
        slot = self._decode(self._place(key), value)
        if slot.due is not None:
            batch.puts.append((self._timer(slot.due, key), b""))

    def all(self, number: int) -> Iterator[tuple[str, Any, tuple[ParkedRecord, ...]]]:
        """Every committed row of one agent: key, row, parked records."""
        prefix = self._base + self._prefixes[number]
        for key, raw in self._store.scan(prefix, prefix[:-1] + b"\1"):
            row, parked = self._decoders[number](raw)
            yield key[len(prefix) :].decode("utf-8", "surrogatepass"), row, parked

    def get(self, place: Place) -> Slot:
        """One committed row."""
        return self._decode(place, self._store.get(self._base + self._key(place)))

    def _timer(self, due: Instant, key: bytes) -> bytes:
        return self._timers + _due(max(due, 0)) + key

    def _place(self, key: bytes) -> Place:
        table, _, name = key[1:].partition(b"\0")
        return self._numbers[table], name.decode("utf-8", "surrogatepass")
