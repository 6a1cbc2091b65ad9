"""A task: one partition of a group, and the path of a chunk through it.

    decode → re-key → drop duplicates → load rows → decide and evolve, record by record → encode → one transaction → store → acknowledge

`work` is everything up to the transaction and touches nothing that outlives it; `done` is everything after.
"""

from collections.abc import Sequence
from typing import TypeAlias

from agents.agent import AnyAgent
from pipeline.engine.chunk import Chunk, EngineError
from pipeline.engine.dedup import Dedup, id_key
from pipeline.engine.head import Head, decode_head, encode_head
from pipeline.engine.letters import Failure, rekeyed
from pipeline.engine.options import HOUR_MS, Options
from pipeline.engine.plan import Group, Plan
from pipeline.engine.rows import Place, Rows
from pipeline.log.partitioner import partition_of
from pipeline.log.record import FED, Outbox, Record, TopicPartition
from pipeline.stores.port import Batch, Store, after
from schemas.codec import Bad, Unknown, decode
from schemas.message import Envelope, Instant, Message

TICK = "orderflow-tick"
"""Header of a record in an inbox that only says how late it is: its place in time is all there is to it."""

Read: TypeAlias = Envelope[Message] | Unknown | Bad | None
"""What a record says; None for a tick."""


class Work:
    """A chunk that is decided: what to send in one transaction, and what to write when that is committed."""

    def __init__(self, chunk: Chunk, taken: int, outbox: Outbox, batch: Batch) -> None:
        self.chunk = chunk
        self.taken = taken
        """How many of the records it is of; the rest belongs to a chunk of its own."""
        self.outbox = outbox
        self.batch = batch


class Task:
    """One partition of one group. One chunk at a time."""

    def __init__(self, plan: Plan, group: Group, partition: int, store: Store, options: Options, *, incarnation: str) -> None:
        self.group = group
        self.partition = partition
        self.name = f"{group.name}-{partition}"
        self.transactional_id = f"{plan.app}-{self.name}"
        self.inputs = tuple(TopicPartition(topic, partition) for topic in group.inputs)
        self.changelog = TopicPartition(group.changelog, partition)
        self._plan = plan
        self._incarnation = incarnation
        self._store = store
        self._options = options
        self._base = f"{group.name}/{partition}/".encode()
        self._ears: dict[type[Message], tuple[int, ...]] = {}
        self._dedup = Dedup(store, self._base)
        self.rows = Rows(store, self._base, group.agents, cached=options.rows_cached)
        self.head = self._stored_head() or Head(incarnation)

    # --- before the first chunk

    def _stored_head(self) -> Head | None:
        raw = self._store.get(self._base + b"h")
        return None if raw is None else decode_head(raw)

    def reset(self, changelog_end: int) -> str | None:
        """Forget everything that is not in the store, and the store too where it does not fit the changelog; says why, then."""
        self.rows = Rows(self._store, self._base, self.group.agents, cached=self._options.rows_cached)
        head, why = self._stored_head(), None
        if head is not None and head.incarnation != self._incarnation:
            why = "it belongs to another changelog"
        elif head is not None and head.changelog_end >= changelog_end:
            why = "it is ahead of its changelog"
        if why is not None:
            self._store.write(Batch(drops=[(self._base, after(self._base))]))
            head = None
        self.head = head or Head(self._incarnation)
        return why

    def recover(self, records: Sequence[Record]) -> None:
        """Apply records of the changelog, in order. Raises EngineError for one that nobody knows."""
        batch = Batch()
        for record in records:
            key = record.key or b""
            if key == b"h" and record.value is not None:
                self.head = decode_head(record.value)
                self.head.changelog_end = record.offset
                batch.puts.append((self._base + b"h", encode_head(self.head)))
            elif key[:1] == b"D":
                self._dedup.recover(key, record.value, batch)
            elif key[:1] == b"r":
                self.rows.recover(key, record.value, batch)
            else:
                raise EngineError(f"{record.topic}: a changelog record with an unknown key at offset {record.offset}")
        self._store.write(batch)

    def next_deadline(self) -> Instant | None:
        """Stream time at which the watermark passes the earliest deadline, or one that a row no longer has."""
        first = self.rows.first_due()
        return None if first is None else max(first + self._options.lateness_ms, self.head.time)

    # --- the path of a chunk

    def work(self, records: Sequence[Record]) -> Work:
        """Decide as many of `records` as one transaction should hold."""
        read = [self._read(record) for record in records]
        places = [self._places(record, what) for record, what in zip(records, read, strict=True)]
        ids = [id_key(what.event_id, what.at) if isinstance(what, Envelope | Unknown) else b"" for what in read]
        known = self._dedup.known([key for key, here in zip(ids, places, strict=True) if here is not None])
        chunk = Chunk(self._plan, self.group, self.partition, self.head, self.rows, self._options)
        chunk.slots = self.rows.load(dict.fromkeys(place for here in places if here for place in here))
        latest = max(self.head.time, max((record.order.at for record in records), default=-1))
        chunk.find_deadlines(latest - self._options.lateness_ms)
        new: dict[bytes, None] = {}
        taken = 0
        for record, what, here, key in zip(records, read, places, ids, strict=True):
            at = max(chunk.head.time, record.order.at)
            if len(chunk.outputs) >= self._options.chunk_outputs or not chunk.pass_deadlines(at - self._options.lateness_ms):
                break
            if what is not None:
                outcome = self._take(chunk, record, what, here, at, seen=key in known or key in new)
                if outcome is not None:
                    chunk.counts[("input." if record.order.source == FED else "internal.") + outcome] += 1
                if here is not None and outcome != "dead.invalid":
                    new[key] = None
            chunk.head.time = at
            chunk.head.offsets[record.topic] = record.offset + 1
            taken += 1
        return self._finish(chunk, records[:taken], new)

    def _finish(self, chunk: Chunk, taken: Sequence[Record], new: dict[bytes, None]) -> Work:
        head, options = chunk.head, self._options
        head.counts = dict(chunk.counts)
        batch, changelog = Batch(), list[tuple[bytes, bytes | None]]()
        for due, place in chunk.stale:
            self.rows.forget_due(due, place, batch)
        self._dedup.forget(head.time - options.lateness_ms - options.dedup_ms, batch, changelog)
        self._dedup.remember(new, head.chunk, batch, changelog)
        self.rows.write(chunk.changed, batch, changelog)
        changelog.append((b"h", encode_head(head)))
        offsets = {TopicPartition(record.topic, record.partition): record.offset + 1 for record in taken}
        return Work(chunk, len(taken), Outbox(chunk.outputs, changelog, offsets), batch)

    def done(self, work: Work, changelog_end: int) -> None:
        """The chunk is committed, its head at offset `changelog_end`: write it to the store; the next one starts from it."""
        head = work.chunk.head
        head.changelog_end = changelog_end
        work.batch.puts.append((self._base + b"h", encode_head(head)))
        self._store.write(work.batch)
        self.rows.keep(work.chunk.changed)
        self.head = head

    # --- one record

    def _read(self, record: Record) -> Read:
        if record.value is None and record.topic == self.group.inbox and record.headers and record.headers[0][0] == TICK:
            return None
        try:
            return decode(record.value, record.headers)
        except Bad as bad:
            return bad

    def _places(self, record: Record, what: Read) -> list[Place] | None:
        """The rows here that it is about, perhaps none; None where it ends elsewhere or cannot be read."""
        if not isinstance(what, Envelope):
            return [] if isinstance(what, Unknown) else None
        kind = type(what.payload)
        groups = self._plan.routes.get(kind, ())
        if self.group not in groups:
            return None if self._destinations(record, what.payload) else []
        if not self._in_place(record, what.payload):
            return None
        return [(n, key) for n in self._hearing(kind) for key in _keys(self.group.agents[n], what.payload)]

    def _hearing(self, kind: type[Message]) -> tuple[int, ...]:
        ears = self._ears.get(kind)
        if ears is None:
            ears = self._ears[kind] = tuple(n for n, agent in enumerate(self.group.agents) if kind in agent.hears)
        return ears

    def _in_place(self, record: Record, payload: Message) -> bool:
        """Its rows are in this partition: somebody re-keyed it, or its key says so, or it has none, or there is one partition only."""
        if self.group.partitions == 1 or record.topic == self.group.inbox:
            return True
        key: str = getattr(payload, self.group.key)
        return not key or record.key == key.encode()

    def _destinations(self, record: Record, payload: Message) -> list[tuple[Group, bytes | None]]:
        """The groups whose inboxes it must go to, and its key there."""
        found: list[tuple[Group, bytes | None]] = []
        if record.topic == self.group.inbox:
            return found
        for group in self._plan.routes.get(type(payload), ()):
            if group is self.group and self._in_place(record, payload):
                continue
            if group.partitions == 1:
                found.append((group, record.key))
            elif key := getattr(payload, group.key):
                found.append((group, key.encode()))
        return found

    def _take(self, chunk: Chunk, record: Record, what: Envelope[Message] | Unknown | Bad, here: list[Place] | None, at: Instant, *, seen: bool) -> str | None:
        """What it came to; None where another task says that."""
        if isinstance(what, Bad):
            chunk.write_letter(record, Failure(what.reason, "Bad", what.text, field=what.field), at)
            return "dead." + what.reason
        if what.at > at + self._options.jump_ms:
            text = f"timestamp: more than {self._options.jump_ms // HOUR_MS} hours ahead of everything seen so far"
            chunk.write_letter(record, Failure("invalid", "Invalid", text, field="timestamp"), at)
            return "dead.invalid"
        if what.at < at - self._options.lateness_ms:
            chunk.counts["late"] += 1
        if isinstance(what, Unknown):
            return "duplicate" if seen else "ignored"
        for group, key in self._destinations(record, what.payload):
            chunk.outputs.append(rekeyed(record, group.inbox, 0 if key is None else partition_of(key, group.partitions), key))
        if here is None:
            return None
        groups = self._plan.routes.get(type(what.payload), ())
        responsible = self.group not in groups or groups[0] is self.group
        if seen:
            outcome = "duplicate"
        elif here:
            outcome = chunk.hear(record, what, self._hearing(type(what.payload)), here, at, letters=responsible)
        else:
            outcome = "ignored"
        return outcome if responsible else None


def _keys(agent: AnyAgent, payload: Message) -> tuple[str, ...]:
    if agent.keys is not None:
        return agent.keys(payload)
    key: str = getattr(payload, agent.table.key)
    return (key,) if key else ()
