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
from faust.transport.consumer import Consumer, TransactionManager
from faust.types import TP, ConsumerMessage, EventT, Message
from faust.types.transports import SchedulingStrategyT

from pipeline.engine.plan import Group
from pipeline.engine.task import Task
from pipeline.log.record import Record


class TaskChunk(NamedTuple):
    """The value of one Faust message."""

    task: Task
    records: Sequence[Record]


class ChunkScheduler(SchedulingStrategyT):
    """The consumer has merged and cut already: hand its chunks on as they are (stock: record by record, topics in turn)."""

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        for tp, chunks in records.items():
            for chunk in chunks:
                yield tp, chunk


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

    flowing: frozenset[TP] = frozenset()
    """Where to fetch from. At the end of a recovery Faust resumes the inputs, waits, and then empties all queues (tables/recovery.py,
    `on_recovery_completed`): a chunk that was fetched while it waited would be lost, and the next one would be committed past it."""

    def resume_flow(self) -> None:
        super().resume_flow()
        self.flowing = frozenset(self._get_active_partitions())

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ANN401, ARG002, FBT001, FBT002  # as in Faust
        return False

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """A hole is a transaction's marker: nothing was lost in it."""

    def _to_message(self, tp: TP, chunk: TaskChunk) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            chunk.records[-1].offset,
            timestamp=0.0,
            timestamp_type=0,
            headers=None,
            key=None,
            value=chunk,  # type: ignore[arg-type]  # a whole chunk for one message's bytes: ChunkSchema passes it through
            checksum=None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )


class TaskTransactions(TransactionManager):
    """Calls `reset` for each assignment, before tables are recovered (app/base.py, `_on_partitions_assigned`).

    Faust asks it only if `app.in_transaction`, which takes `processing_guarantee="exactly_once"` and `app.in_worker`.
    """

    reset: Callable[[set[TP]], Awaitable[None]]

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Nothing is buffered here."""

    async def on_rebalance(self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP]) -> None:  # noqa: ARG002  # as in Faust
        await self.reset(assigned)

    async def flush(self) -> None:
        """Nothing is buffered here."""

    async def commit(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002  # as in Faust
        return True


class TaskStore(Store[bytes, bytes]):
    """Faust's recovery writes through here; the engine reads and writes the store itself."""

    tasks: Mapping[int, Task] = {}

    def persisted_offset(self, tp: TP) -> int | None:
        end = self.tasks[tp.partition].head.changelog_end
        return None if end < 0 else end

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]], to_key: Any, to_value: Any) -> None:  # noqa: ANN401, ARG002  # as in Faust
        for event in batch:
            chunk = cast("TaskChunk", event.message.value)
            chunk.task.recover(chunk.records)

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
    """The state of a group: as many partitions as tasks, one changelog."""

    def __init__(self, app: faust.App, group: Group, tasks: Mapping[int, Task]) -> None:
        self.group_tasks = tasks
        super().__init__(
            app,
            name=group.name,
            partitions=group.partitions,
            recovery_buffer_size=2,  # of chunks; with 1 Faust would go on reading the changelog after recovery (tables/recovery.py)
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

    def _new_store(self) -> TaskStore:
        store = TaskStore("memory://", self.app, self, loop=self.loop)
        store.tasks = self.group_tasks
        return store


class EagerTables(TableManager):
    """Starts at once: stock waits a second for tables that are declared late, and ours are not (tables/manager.py, `on_start`)."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


async def halt() -> None:
    """Never returns: an agent that returned would have its chunk acknowledged, and one that raised too."""
    await asyncio.Event().wait()
