"""The log in this process: partitions, offsets, transactions, compacted changelogs; durable where its store is.

It differs from a broker in one thing that replay needs: what is appended is *held* until time is released, and is then given
its offset in the order of the records' places in time. So every reader sees one order, whatever the interleaving of the writers.
What its readers have committed is dropped; what nobody reads is only told. Changelogs live in the store.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from struct import Struct
from typing import TypeAlias

import msgspec

from pipeline.log.record import FED, START, Order, Outbox, Record, TopicPartition
from pipeline.stores.port import Batch, Store, after

COMPACT_AFTER = 50_000
"""A changelog partition is compacted when this many records, and twice as many as were live, have come since."""

_place = Struct(">HHQ").pack
_number = Struct(">Q").pack


class Fenced(Exception):
    """Another producer has begun with the same transactional id: this one is a zombie and must stop."""


class UnknownTopic(Exception):
    """Nobody created this topic."""


class Changelog(msgspec.Struct, array_like=True):
    """One compacted partition: its records are in the store, by offset."""

    number: int
    end: int = 0
    live: int = 0
    since_compaction: int = 0
    compacted_end: int = 0


class Fed(msgspec.Struct, array_like=True, tag=1):
    """Records came from outside."""

    records: list[Record]


class Committed(msgspec.Struct, array_like=True, tag=2):
    """A transaction."""

    records: list[Record]
    offsets: list[tuple[TopicPartition, int]]
    changelog: tuple[str, int, int] | None
    """Topic, partition and number of records."""


class Released(msgspec.Struct, array_like=True, tag=3):
    """What was held got its offsets."""

    topics: list[str]
    before: Order


Frame: TypeAlias = Fed | Committed | Released


class Snapshot(msgspec.Struct, array_like=True):
    """All that is not in a changelog, as of one frame."""

    partitions: list[tuple[TopicPartition, int, int, list[Record], list[Record]]]
    """Start, end, released and held records of each."""
    read: list[str]
    committed: list[tuple[TopicPartition, int]]
    changelogs: list[tuple[TopicPartition, Changelog]]
    untold: list[Record]


_order = attrgetter("order")
_encode = msgspec.msgpack.Encoder().encode
_frame = msgspec.msgpack.Decoder(Frame).decode
_snapshot = msgspec.msgpack.Decoder(Snapshot).decode
_pair = msgspec.msgpack.Decoder(tuple[bytes, bytes | None]).decode


def _bare(record: Record) -> Record:
    """Without what only this process knows."""
    return record if record.read is None else msgspec.structs.replace(record, read=None)


class Partition:
    """Offsets from `start` to `end`; a transaction's end takes an offset too, so they have holes, as a broker's do."""

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self.records: deque[Record] = deque()
        self.held: list[Record] = []
        """In the order of arrival, which is nearly that of time."""
        self.first: Order | None = None
        """The place of the earliest one that is held."""

    def drop(self, before: int) -> None:
        while self.records and self.records[0].offset < before:
            self.records.popleft()
        self.start = max(self.start, before)


class MemoryLog:
    """One broker with one consumer group.

    `store` keeps changelogs and, if `durable`, a journal: another log over the same store goes on where this one was lost.
    Checkpoint once the topics are created: the journal does not say which there are.
    """

    def __init__(self, store: Store, *, durable: bool = False) -> None:
        self.store = store
        self.durable = durable
        self.untold: list[Record] = []
        """What was said and is released, until whoever tells it to others clears this; a log that was lost tells some of it again."""
        self._partitions: dict[TopicPartition, Partition] = {}
        self._counts: dict[str, int] = {}
        self._changelogs: dict[TopicPartition, Changelog] = {}
        self._read: set[str] = set()
        self._committed: dict[TopicPartition, int] = {}
        self._epochs: dict[str, int] = {}
        self._frames = 0
        self._wakers: list[Callable[[], None]] = []
        if durable:
            self._recover()

    # --- topics

    def create(self, topic: str, partitions: int, *, read: bool = False, changelog: bool = False) -> None:
        """Create a topic, or leave it as it is. `read`: somebody will commit offsets in it, so it is kept until then."""
        self._counts[topic] = partitions
        if read:
            self._read.add(topic)
        for p in range(partitions):
            tp = TopicPartition(topic, p)
            if changelog:
                self._changelogs.setdefault(tp, Changelog(len(self._changelogs)))  # the number is its place in the store, for good
            else:
                self._partitions.setdefault(tp, Partition())

    def partitions(self, topic: str) -> int | None:
        return self._counts.get(topic)

    def topics(self) -> Mapping[str, int]:
        return self._counts

    def start(self, tp: TopicPartition) -> int:
        """The first offset that can still be read."""
        return 0 if tp in self._changelogs else self._partitions[tp].start

    def end(self, tp: TopicPartition) -> int:
        """The offset that the next record or marker will have."""
        return (self._changelogs.get(tp) or self._partitions[tp]).end

    def committed(self, tp: TopicPartition) -> int:
        return self._committed.get(tp, 0)

    def lag(self, topics: Iterable[str]) -> int:
        """Records released and not yet committed."""
        return sum(len(self._partitions[TopicPartition(topic, p)].records) for topic in topics for p in range(self._counts[topic]))

    # --- writing

    def feed(self, records: Sequence[Record]) -> None:
        """Append from outside, without a transaction."""
        self._apply(Fed(list(records)), Batch())

    def begin(self, transactional_id: str) -> int:
        """The epoch of a new producer; every earlier one with this id is fenced from now on."""
        epoch = self._epochs[transactional_id] = self._epochs.get(transactional_id, -1) + 1
        return epoch

    def commit(self, transactional_id: str, epoch: int, outbox: Outbox, changelog: TopicPartition | None) -> int:
        """All of the outbox, or nothing. Returns the offset of the last changelog record, -1 without any. Raises Fenced."""
        if self._epochs.get(transactional_id) != epoch:
            raise Fenced(transactional_id)
        for record in outbox.records:
            if record.topic not in self._counts:
                raise UnknownTopic(record.topic)
        batch, last = Batch(), -1
        if changelog is not None and outbox.changelog:
            log = self._changelogs[changelog]
            batch.puts = [(self._at(log, log.end + i), _encode(pair)) for i, pair in enumerate(outbox.changelog)]
            last = log.end + len(outbox.changelog) - 1
        written = (*changelog, len(outbox.changelog)) if changelog is not None and outbox.changelog else None
        self._apply(Committed(outbox.records, list(outbox.offsets.items()), written), batch)
        return last

    def release(self, topics: Iterable[str], before: Order) -> int:
        """Give offsets to what is held in these topics and comes before `before`. Returns how many."""
        names = [topic for topic in topics if (first := self._first_held(topic)) is not None and first < before]
        if not names:
            return 0
        released = self._apply(Released(names, before), Batch())
        self.wake()
        return released

    def next_held(self, topics: Iterable[str]) -> Order | None:
        """The place of the earliest record that is held."""
        return min((first for topic in topics if (first := self._first_held(topic)) is not None), default=None)

    def last_fed(self) -> Order:
        """The place of the latest record that is held and was fed; START without any."""
        held = (record.order for partition in self._partitions.values() for record in partition.held)
        return max((order for order in held if order.source == FED), default=START)

    def _first_held(self, topic: str) -> Order | None:
        """Of the earliest; None for a changelog too, which holds nothing."""
        firsts = [
            partition.first
            for p in range(self._counts[topic])
            if (partition := self._partitions.get(TopicPartition(topic, p))) is not None and partition.first is not None
        ]
        return min(firsts, default=None)

    # --- reading

    def fetch(self, tp: TopicPartition, offset: int, most: int) -> list[Record]:
        """Records from `offset` on, at most `most`; empty at the end."""
        if (log := self._changelogs.get(tp)) is not None:
            return self._fetch_changelog(tp, log, offset, most)
        found: list[Record] = []
        for record in self._partitions[tp].records:
            if record.offset >= offset:
                found.append(record)
                if len(found) == most:
                    break
        return found

    def _fetch_changelog(self, tp: TopicPartition, log: Changelog, offset: int, most: int) -> list[Record]:
        found: list[Record] = []
        for place, pair in self.store.scan(self._at(log, offset), self._at(log, log.end)):
            key, value = _pair(pair)
            at = int.from_bytes(place[-8:])
            found.append(Record(tp.topic, tp.partition, key, value, (), 0, START, at))
            if len(found) == most:
                break
        return found

    def on_news(self, waker: Callable[[], None]) -> None:
        """Call `waker` whenever there may be something new to read."""
        self._wakers.append(waker)

    def wake(self) -> None:
        for waker in self._wakers:
            waker()

    # --- what a frame does; the same for a new one and for one read from the journal

    def _apply(self, frame: Frame, batch: Batch) -> int:
        if self.durable:
            bare = (
                frame
                if isinstance(frame, Released)
                else msgspec.structs.replace(frame, records=[_bare(record) for record in frame.records])
            )
            batch.puts.append((b"j" + _number(self._frames), _encode(bare)))
        if batch.puts:
            self.store.write(batch)
        self._frames += 1
        return self._redo(frame)

    def _redo(self, frame: Frame) -> int:
        match frame:
            case Fed(records):
                self._hold(records)
            case Committed(records, offsets, changelog):
                self._hold(records)
                for tp, offset in offsets:
                    self._committed[tp] = offset
                    self._partitions[tp].drop(offset)
                if changelog is not None:
                    topic, partition, many = changelog
                    self._grow(self._changelogs[TopicPartition(topic, partition)], many)
            case Released(topics, before):
                return sum(self._release(topic, before) for topic in topics)
        return 0

    def _hold(self, records: Iterable[Record]) -> None:
        for record in records:
            partition = self._partitions[TopicPartition(record.topic, record.partition)]
            partition.held.append(record)
            if partition.first is None or record.order < partition.first:
                partition.first = record.order

    def _release(self, topic: str, before: Order) -> int:
        released = 0
        for p in range(self._counts[topic]):
            partition = self._partitions[TopicPartition(topic, p)]
            if partition.first is None or not partition.first < before:
                continue
            partition.held.sort(key=_order)
            many = bisect_left(partition.held, before, key=_order)
            ready, partition.held = partition.held[:many], partition.held[many:]
            partition.first = partition.held[0].order if partition.held else None
            for record in ready:
                record.offset = partition.end
                partition.end += 2  # and a marker, after each: dead letters tell offsets, which must not depend on how the input was cut
            released += many
            if topic in self._read:
                partition.records.extend(ready)
            else:
                partition.start = partition.end
            self.untold += [record for record in ready if record.order.source != FED]
        return released

    # --- changelogs

    @staticmethod
    def _at(log: Changelog, offset: int) -> bytes:
        return b"c" + _place(log.number, 0, max(offset, 0))

    def _grow(self, log: Changelog, many: int) -> None:
        log.end += many + 1  # and the marker
        log.since_compaction += many
        if log.since_compaction > max(COMPACT_AFTER, 2 * log.live):
            self._compact(log)

    def _compact(self, log: Changelog) -> None:
        """Keep the newest record per key; a tombstone goes when it was there at the last compaction too."""
        newest: dict[bytes, int] = {}
        places: list[tuple[int, bytes, bool]] = []
        for place, pair in self.store.scan(self._at(log, 0), self._at(log, log.end)):
            key, value = _pair(pair)
            at = int.from_bytes(place[-8:])
            newest[key] = at
            places.append((at, key, value is None))
        gone = [at for at, key, tombstone in places if newest[key] != at or (tombstone and at < log.compacted_end)]
        self.store.write(Batch(deletes=[self._at(log, at) for at in gone]))
        log.live, log.since_compaction, log.compacted_end = len(newest), 0, log.end

    # --- durability

    def checkpoint(self) -> None:
        """Replace the journal by a snapshot."""
        if not self.durable:
            return
        snapshot = Snapshot(
            partitions=[
                (tp, p.start, p.end, [_bare(record) for record in p.records], [_bare(record) for record in p.held])
                for tp, p in self._partitions.items()
            ],
            read=sorted(self._read),
            committed=list(self._committed.items()),
            changelogs=list(self._changelogs.items()),
            untold=[_bare(record) for record in self.untold],
        )
        self.store.write(Batch(puts=[(b"s", _encode(snapshot))], drops=[(b"j", after(b"j"))]))

    def _recover(self) -> None:
        """Make the log as it was: the snapshot, then what the journal says came after it."""
        if (raw := self.store.get(b"s")) is not None:
            snapshot = _snapshot(raw)
            self._read.update(snapshot.read)
            for tp, start, end, released, held in snapshot.partitions:
                self._counts[tp.topic] = max(self._counts.get(tp.topic, 0), tp.partition + 1)
                partition = self._partitions[tp] = Partition()
                partition.start, partition.end, partition.records = start, end, deque(released)
                self._hold(held)
            self._committed.update(snapshot.committed)
            self.untold = snapshot.untold
            for tp, changelog in snapshot.changelogs:
                self._counts[tp.topic] = max(self._counts.get(tp.topic, 0), tp.partition + 1)
                self._changelogs[tp] = changelog
        for _, raw_frame in self.store.scan(b"j", after(b"j")):
            self._redo(_frame(raw_frame))
        self.checkpoint()
