"""The map in memory: for tests and for simulation."""

from collections.abc import Iterator, Sequence

from sortedcontainers import SortedDict

from pipeline.stores.port import Batch


class MemoryStore:
    """A sorted dictionary. `scan` reads a copy of its range, as RocksDB reads a snapshot."""

    def __init__(self) -> None:
        self._map: SortedDict[bytes, bytes] = SortedDict()

    def get(self, key: bytes) -> bytes | None:
        return self._map.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        get = self._map.get
        return [get(key) for key in keys]

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        yield from [(key, self._map[key]) for key in self._map.irange(start, stop, inclusive=(True, False))]

    def write(self, batch: Batch) -> None:
        for start, stop in batch.drops:
            for key in list(self._map.irange(start, stop, inclusive=(True, False))):
                del self._map[key]
        for key in batch.deletes:
            self._map.pop(key, None)
        self._map.update(batch.puts)

    def flush(self) -> None:
        """Nothing to do: memory is all there is."""

    def close(self) -> None:
        """Nothing is held."""
