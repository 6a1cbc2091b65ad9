"""A worker with a fault in it, which a run must find. The product itself has no such switch: what is wrong is done to it here.

CHAOS_PLANT names the fault (none: the worker as it is), CHAOS_MEMTABLE the bytes that RocksDB keeps in memory.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition

from pipeline.cli import main
from pipeline.engine.head import IDLE
from pipeline.engine.task import Task, Work
from pipeline.log.kafka import Appended, Kafka, Writer, send
from pipeline.log.record import Outbox, Record, TopicPartition
from pipeline.stores import rocksdb
from pipeline.stores.rocksdb import RocksDBStore
from pipeline.worker import kafka
from pipeline.worker.kafka import KafkaLink
from schemas.message import Instant

CHUNKS = 40
"""After so many one dies between the two halves of what must be one."""
SOME = 2
"""Rows in a chunk, its head among them, that are more than a mark of time."""

chunks = count(1)


def dies_once(*, where: bool) -> None:
    """Each worker, `where` it shows; a kill from outside would hit that moment too seldom."""
    died = Path(os.environ["ORDERFLOW_DATA_DIR"]).with_suffix(".died")
    if next(chunks) > CHUNKS and where and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def offsets_first() -> None:
    """The place in the input is committed before what was said; and nobody compares the two."""
    whole = Writer.commit

    async def commit(self: Writer, outbox: Outbox, changelog: TopicPartition) -> int:
        if outbox.offsets:
            producer = self._producer
            await producer.begin_transaction()
            offsets = {KafkaPartition(*tp): offset for tp, offset in outbox.offsets.items()}
            await producer.send_offsets_to_transaction(offsets, self._group)
            await producer.commit_transaction()
            dies_once(where=any(record.value for record in outbox.records))
        return await whole(self, Outbox(outbox.records, outbox.changelog, {}), changelog)

    Writer.commit = commit  # type: ignore[method-assign]  # this is the fault
    blind()


def blind() -> None:
    """The state's own end is not compared with the group's offset."""

    def position(_self: KafkaLink, task: Task, tp: TopicPartition, committed: int | None, begin: int) -> int:
        kept = task.head.offsets.get(tp.topic)
        return max(begin, next((each for each in (committed, kept) if each is not None), begin))

    KafkaLink.position = position  # type: ignore[assignment, method-assign]  # this is the fault


def store_first() -> None:
    """Tables are written before the transaction is committed; with a log, so that what was written is there when the process dies."""
    whole, opened = Task.work, RocksDBStore.__init__

    def init(self: RocksDBStore, folder: Path, *, wal: bool) -> None:  # noqa: ARG001  # as in the product
        opened(self, folder, wal=True)

    def work(
        self: Task,
        records: Sequence[Record],
        *,
        horizon: Instant = IDLE,
        left: int | None = None,
        idle: Mapping[str, int] | None = None,
        today: Instant = -1,
    ) -> Work:
        found = whole(self, records, horizon=horizon, left=left, idle=idle, today=today)
        self.done(found, self.head.changelog_end + len(found.outbox.changelog) + 1)
        dies_once(where=len(found.outbox.changelog) > SOME)
        return found

    RocksDBStore.__init__ = init  # type: ignore[method-assign]  # this is the fault
    Task.work = work  # type: ignore[method-assign]  # this is the fault


def unfenced() -> None:
    """Transactional ids are those of a process and not of a task: nobody fences a zombie."""
    begun = Writer.__init__

    def init(self: Writer, link: Kafka, transactional_id: str, group: str) -> None:
        begun(self, link, f"{transactional_id}-{os.getpid()}", group)

    Writer.__init__ = init  # type: ignore[assignment, method-assign]  # this is the fault


def shared_id() -> None:
    """One transactional id for all."""
    begun = Writer.__init__

    def init(self: Writer, link: Kafka, _transactional_id: str, group: str) -> None:
        begun(self, link, "everybody", group)

    Writer.__init__ = init  # type: ignore[assignment, method-assign]  # this is the fault


def dies_between() -> None:
    """No fault where the guarantee is at least once: only a death between what is said, and its changelog and place in the input."""

    async def deadly(producer: AIOKafkaProducer, batches: Mapping[TopicPartition, Sequence[Appended]]) -> dict[TopicPartition, int]:
        last = await send(producer, batches)
        dies_once(where=any(value for tp, said in batches.items() if not tp.topic.endswith("-changelog") for _, value, _, _ in said))
        return last

    kafka.send = deadly  # type: ignore[attr-defined]  # this is the death


PLANTED: dict[str, Callable[[], None]] = {
    "offsets-first": offsets_first,
    "store-first": store_first,
    "dies-between": dies_between,
    "unfenced": unfenced,
    "shared-id": shared_id,
}

if __name__ == "__main__":
    rocksdb.MEMTABLE_BYTES = int(os.environ["CHAOS_MEMTABLE"])
    if plant := os.environ["CHAOS_PLANT"]:
        PLANTED[plant]()
    sys.argv = ["orderflow", "worker"]
    main()
