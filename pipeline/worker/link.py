"""The port between the worker and a log: what a broker, or the log in this process, must give."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import faust

from pipeline.log.record import Logged, Outbox, TopicPartition

if TYPE_CHECKING:
    from faust.transport.base import Transport

    from pipeline.worker.app import Worker


class Span(NamedTuple):
    """Offsets of a changelog partition: from the first one to read, to the first one not to read; None: as they come, without end."""

    start: int
    end: int | None


class Part(NamedTuple):
    """Some records of a changelog partition."""

    tp: TopicPartition
    records: Sequence[Logged]
    position: int
    """The offset to go on from: behind the last record, and the markers after it."""


class Link(Protocol):
    """One worker's way to the log."""

    url: str

    def transport(self, app: faust.App, worker: "Worker") -> "Transport":
        """Faust's transport over this log: membership, and the inputs as chunks."""
        ...

    async def begin(self, transactional_id: str) -> None:
        """Fence every earlier writer with this id."""
        ...

    async def ends(self, changelogs: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The end of each changelog partition: everything that is committed is before it."""
        ...

    async def commit(self, transactional_id: str, outbox: Outbox, changelog: TopicPartition) -> int:
        """All of the outbox, or nothing, and only if nobody has begun since. Returns the offset of its last changelog record."""
        ...

    def changelogs(self, wanted: Mapping[TopicPartition, Span]) -> AsyncGenerator[Part]:
        """Everything committed in these spans; ends when all of them do."""
        ...

    async def purge(self, read: Mapping[TopicPartition, int]) -> None:
        """Nobody will read what lies before these offsets: it may be dropped."""
        ...

    async def close(self) -> None:
        """Let go of what the link holds."""
        ...
