"""The port: an ordered map of bytes with atomic batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class Batch:
    """What is written together or not at all: ranges are dropped first, then keys are deleted, then put."""

    puts: list[tuple[bytes, bytes]] = field(default_factory=list)
    deletes: list[bytes] = field(default_factory=list)
    drops: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Ranges, from the first key within to the last without."""


class Store(Protocol):
    """One ordered map. Keys sort by their bytes."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values in the order of `keys`."""
        ...

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values from `start` (within) to `stop` (without), in order, as they were when the scan began."""
        ...

    def write(self, batch: Batch) -> None:
        """All of the batch, atomically."""
        ...

    def flush(self) -> None:
        """What was written survives the loss of the process and of the machine's memory."""
        ...

    def close(self) -> None:
        """Let go of files and locks. Further calls are errors."""
        ...


def after(prefix: bytes) -> bytes:
    """The smallest key that sorts after every key with this prefix."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
