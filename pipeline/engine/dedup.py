"""Which events were seen: ids by the hour of their own event time, so that a whole hour is forgotten at once.

In the store one empty value per id, `d | hour | id`. In the changelog one record per chunk and hour, `D | hour | chunk`, with the
ids in a row; its local copy is empty, and only says which changelog records to delete when the hour is over.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import islice
from struct import Struct

from pipeline.engine.options import HOUR_MS
from pipeline.stores.port import Batch, Store
from schemas.message import Instant

ID_BYTES = 16
MOST_FORGOTTEN = 256
"""Changelog records deleted per chunk: the rest waits for the next one."""

_hour = Struct(">I").pack
_hour_chunk = Struct(">IQ").pack


def id_key(event_id: str, at: Instant) -> bytes:
    """Hour and a 16-byte hash; foreign ids have any length and any characters."""
    return _hour(at // HOUR_MS) + blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=ID_BYTES).digest()


class Dedup:
    """The ids of one task."""

    def __init__(self, store: Store, base: bytes) -> None:
        self._store = store
        self._base = base
        self._seen = base + b"d"
        self._hours = base + b"D"

    def known(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of `keys` that were seen in earlier chunks."""
        seen = self._seen
        return {key for key, found in zip(keys, self._store.get_many([seen + key for key in keys]), strict=True) if found is not None}

    def remember(self, keys: Iterable[bytes], chunk: int, batch: Batch, changelog: list[tuple[bytes, bytes | None]]) -> None:
        """Write what this chunk has seen."""
        by_hour: dict[bytes, list[bytes]] = defaultdict(list)
        for key in keys:
            by_hour[key[:4]].append(key[4:])
            batch.puts.append((self._seen + key, b""))
        for hour, ids in sorted(by_hour.items()):
            place = _hour_chunk(int.from_bytes(hour), chunk)
            batch.puts.append((self._hours + place, b""))
            changelog.append((b"D" + place, b"".join(ids)))

    def forget(self, before: Instant, batch: Batch, changelog: list[tuple[bytes, bytes | None]]) -> None:
        """Delete the hours that ended before `before`."""
        hour = max(before // HOUR_MS, 0)
        over = [place for place, _ in islice(self._store.scan(self._hours, self._hours + _hour(hour)), MOST_FORGOTTEN)]
        if not over:
            return
        last = over[-1][len(self._hours) :][:4]
        batch.drops.append((self._seen, self._seen + (last if len(over) == MOST_FORGOTTEN else _hour(hour))))
        batch.deletes += over
        changelog += [(place[len(self._base) :], None) for place in over]

    def recover(self, key: bytes, ids: bytes | None, batch: Batch) -> None:
        """Apply one changelog record."""
        hour = key[1:5]
        if ids is None:
            batch.deletes.append(self._base + key)
            batch.drops.append((self._seen + hour, self._seen + _hour(int.from_bytes(hour) + 1)))
            return
        batch.puts.append((self._base + key, b""))
        batch.puts += [(self._seen + hour + ids[i : i + ID_BYTES], b"") for i in range(0, len(ids), ID_BYTES)]
