"""Every reach into Faust's internals, in one place: written against faust-streaming 0.15.3, which is pinned for that reason.

Faust moves messages one at a time, commits what was acknowledged, and keeps tables by itself. Here one message is a whole chunk of one
task, offsets are committed in the chunk's own transaction, and a table is the state of a group of agents.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import faust
from faust.serializers.schemas import Schema
from faust.stores.base import Store
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer, TransactionManager
from faust.transport.producer import Producer
from faust.types import TP, ConsumerMessage, EventT, Message

from pipeline.engine.head import IDLE
from pipeline.engine.plan import Group
from pipeline.engine.task import Task
from pipeline.log.record import Record
from schemas.message import Instant


class TaskChunk(NamedTuple):
    """The value of one Faust message."""

    task: Task
    records: Sequence[Record]
    horizon: Instant = IDLE
    """No input has anything earlier to be read."""
    left: int | None = None
    """Up to this offset of the inbox everything is in this chunk, or was in an earlier one; None where chunks are in its order."""
    positions: Mapping[str, int] | None = None
    """Of its inputs, where none has anything to be read."""


class ChunkSchema(Schema[Any, Any]):
    """No decoding in Faust, where one bad record is acknowledged and forgotten: the engine decodes."""

    def compile(  # type: ignore[override]  # decodes nothing, so that it needs no callbacks
        self,
        app: Any,  # noqa: ANN401  # as in Faust
        *,
        on_key_decode_error: Callable[..., Awaitable[None]],  # noqa: ARG002  # as in Faust
        on_value_decode_error: Callable[..., Awaitable[None]],  # noqa: ARG002  # as in Faust
        default_propagate: bool = False,  # noqa: ARG002  # as in Faust
    ) -> Callable[..., Awaitable[EventT[Any]]]:
        create = app.create_event

        async def decode(message: Message, *, propagate: bool = False) -> EventT[Any]:  # noqa: ARG001  # as in Faust
            event: EventT[Any] = create(None, message.value, None, message)
            return event

        return decode


class ChunkConsumer(Consumer):
    """A consumer whose messages are chunks and whose offsets somebody else commits.

    Stock `commit` moves past unfinished, gapped and failed messages (consumer.py, `_new_offset` and `_add_gap`); the chunk's
    transaction carries the offsets, so there is nothing for Faust to commit and nothing to keep books about.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # as in Faust
        super().__init__(*args, **kwargs)
        self.news = asyncio.Event()
        """There may be a chunk to fetch."""
        self.in_flight: set[Task] = set()
        """The tasks that have a chunk: they get no other one before they are `free`."""

    def free(self, task: Task) -> None:
        self.in_flight.discard(task)
        self.news.set()

    def go_on(self) -> None:
        """Let chunks flow: what Faust does when its own recovery is completed (tables/recovery.py, `on_recovery_completed`)."""
        tables = cast("EagerTables", self.app.tables)
        self.app.flow_control.resume()  # which empties all queues
        self.resume_partitions({tp for tp in self.assignment() if not self._is_changelog_tp(tp)})
        self.resume_flow()
        tables.on_actives_ready()
        tables.on_standbys_ready()
        self.app.on_rebalance_end()
        tables.recovery.completed.set()
        self.news.set()

    async def hand_on(self) -> None:
        """Give Faust's streams chunks as they come. Never returns.

        In place of Faust's Fetcher, which drops what it has in hand and places the inputs anew where messages do not flow (consumer.py,
        `getmany`), and ends without a word where what it awaits is cancelled. Each chunk bears the generation in which it was cut: streams
        skip those of an earlier one, which are read again.
        """
        while True:
            await self.news.wait()
            self.news.clear()
            found = self.cut(self._get_active_partitions()) if self.flow_active else []
            self.in_flight.update(chunk.task for chunk in found)
            for message in [self._to_message(TP(*chunk.task.inputs[0]), chunk) for chunk in found]:
                await self.callback(message)

    def cut(self, active: set[TP]) -> list[TaskChunk]:
        """Chunks of what is there, for tasks that have none; reading goes on behind them."""
        raise NotImplementedError

    def idle(self, task: Task) -> bool:
        """It has no chunk, and there is nothing to make one of."""
        raise NotImplementedError

    def passed(self, task: Task, until: Instant) -> bool:
        """Nothing earlier is to come to it; where that is not known yet, it will be asked."""
        raise NotImplementedError

    def positions(self, task: Task) -> dict[str, int]:
        """The next offsets of its inputs, where there is nothing to read."""
        raise NotImplementedError

    async def place(self) -> None:
        """Each input goes on where the state of its task ends."""
        raise NotImplementedError

    def ack(self, message: Message) -> bool:
        """Stock keeps the offset, in lists that only its own commits empty."""
        self._unacked_messages.discard(message)
        message.acked = True
        return True

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ANN401, ARG002, FBT001, FBT002  # as in Faust
        return False

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        raise NotImplementedError

    async def create_topic(self, topic: str, partitions: int, replication: int, **kwargs: Any) -> None:  # noqa: ANN401  # as in Faust
        """Topics are there before a worker starts."""

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    def close(self) -> None:
        """The link closes what it holds."""

    def _to_message(self, tp: TP, chunk: TaskChunk) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            offset=0,
            timestamp=0.0,
            timestamp_type=0,
            headers=None,
            key=None,
            value=chunk,  # type: ignore[arg-type]  # a whole chunk for one message's bytes: ChunkSchema passes it through
            checksum=None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    # --- what only Faust's own fetcher, recovery and commits would ask

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[TaskChunk]]:  # noqa: ASYNC109  # as in Faust
        raise NotImplementedError

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        raise NotImplementedError

    async def _seek(self, partition: TP, offset: int) -> None:
        raise NotImplementedError

    async def seek_to_committed(self) -> Mapping[TP, int]:
        raise NotImplementedError

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        raise NotImplementedError

    async def position(self, tp: TP) -> int | None:
        raise NotImplementedError

    def highwater(self, tp: TP) -> int:
        raise NotImplementedError

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        raise NotImplementedError

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        raise NotImplementedError


class SilentProducer(Producer):
    """Faust itself sends nothing: what a chunk says goes with its transaction."""

    async def flush(self) -> None:
        """Nothing is buffered."""

    async def create_topic(self, topic: str, partitions: int, replication: int, **kwargs: Any) -> None:  # noqa: ANN401  # as in Faust
        """Topics are there before a worker starts."""

    def supports_headers(self) -> bool:
        return True


class TaskTransactions(TransactionManager):
    """Calls `drain` before tasks are given up, and `reset` for each assignment, before tables are recovered.

    See app/base.py, `_on_partitions_revoked` and `_on_partitions_assigned`. Faust asks it only if `app.in_transaction`, which takes
    `processing_guarantee="exactly_once"` and `app.in_worker`.
    """

    drain: Callable[[], Awaitable[None]]
    reset: Callable[[set[TP]], Awaitable[None]]

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:  # noqa: ARG002  # as in Faust
        await self.drain()

    async def on_rebalance(self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP]) -> None:  # noqa: ARG002  # as in Faust
        await self.reset(assigned)

    async def flush(self) -> None:
        """Nothing is buffered here."""

    async def commit(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002  # as in Faust
        return True


class NoStore(Store[bytes, bytes]):
    """Faust keeps nothing: the engine reads, writes and recovers the state."""

    def persisted_offset(self, tp: TP) -> int | None:  # noqa: ARG002  # as in Faust
        return None

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]], to_key: Any, to_value: Any) -> None:  # noqa: ANN401  # as in Faust
        """No changelog is read through Faust."""

    def reset_state(self) -> None:
        """State is wiped by the task that finds it wrong."""

    async def backup_partition(self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1) -> None:  # noqa: FBT001, FBT002  # as in Faust
        raise NotImplementedError

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:  # noqa: FBT001, FBT002  # as in Faust
        raise NotImplementedError

    def __getitem__(self, key: bytes) -> bytes:
        raise KeyError(key)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        raise NotImplementedError

    def __delitem__(self, key: bytes) -> None:
        raise NotImplementedError

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def _clear(self) -> None:
        raise NotImplementedError


class GroupTable(faust.Table):  # type: ignore[type-arg]  # not subscriptable at run time
    """What Faust must know of a group's state: how many partitions it has, and its changelog, which is assigned with the inputs."""

    def __init__(self, app: faust.App, group: Group) -> None:
        super().__init__(
            app,
            name=group.name,
            partitions=group.partitions,
            changelog_topic=app.topic(
                group.changelog,
                schema=ChunkSchema(),
                partitions=group.partitions,
                compacting=True,
                acks=False,
                internal=True,
                allow_empty=True,
            ),
        )

    def _new_store(self) -> NoStore:
        return NoStore("memory://", self.app, self, loop=self.loop)


class NoRecovery(Recovery):
    """Calls `begin` for each assignment, which returns at once: the worker itself brings its tasks up to date.

    Stock cancels what it awaits for one assignment when the next one is there, but does not wait until it has ended (tables/recovery.py,
    `_wait`): it may let messages flow in the middle of the next one's recovery, at whose end all queues are emptied, chunks and all.
    """

    begin: Callable[[], None]

    def _get_tasks(self) -> Iterable[Any]:
        return ()

    async def on_rebalance(self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0) -> None:  # noqa: ARG002  # as in Faust
        self.begin()


class EagerTables(TableManager):
    """Starts at once: stock waits a second for tables that are declared late, and ours are not (tables/manager.py, `on_start`)."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()

    @property
    def recovery(self) -> NoRecovery:
        if self._recovery is None:
            self._recovery = NoRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return cast("NoRecovery", self._recovery)
