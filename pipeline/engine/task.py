"""A task: one partition of a group, and the path of a chunk through it.

    decode → re-key → drop duplicates → load rows → decide and evolve, record by record → encode → one transaction → store → acknowledge

`work` is everything up to the transaction and touches nothing that outlives it; `done` is everything after.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from pipeline.engine.chunk import Channel, Chunk, EngineError
from pipeline.engine.dedup import Dedup, id_key
from pipeline.engine.head import IDLE, Head, decode_head, encode_head
from pipeline.engine.letters import Failure, rekeyed
from pipeline.engine.options import HOUR_MS, Options
from pipeline.engine.plan import Group, Plan
from pipeline.engine.rows import Place, Rows
from pipeline.log.partitioner import partition_of
from pipeline.log.record import FED, UNPLACED, Logged, Order, Outbox, Record, TopicPartition
from pipeline.stores.port import Batch, Store, after
from schemas.codec import Bad, Unknown, decode
from schemas.message import Envelope, Instant, Message
from tables.table import ONLY

TICK = "orderflow-tick"
"""Header of a record in an inbox that only says how late it is: for this task (empty), or for the task upstream that it names."""
OLDEST_MS = 7 * 86_400_000
"""A state that was not up to date for so long is made anew: half of what changelogs on Kafka remember deletions for (log/topics.py)."""
IDLE_MARK = b"!"
"""After that name: it has nothing to read, and is not to be waited for."""


class _Prefixed(dict[str, str]):
    """Names of counters, each made once."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def __missing__(self, outcome: str) -> str:
        name = self[outcome] = self._prefix + outcome
        return name


INPUT, INTERNAL = _Prefixed("input."), _Prefixed("internal.")


class Route(NamedTuple):
    """Who hears a type."""

    groups: tuple[tuple[Group, bool], ...] = ()
    """And whether each is told as a whole: it has but one partition, or all of them hear it."""
    ears: tuple[int, ...] = ()
    """Numbers of the agents of this task's own group."""
    keys: tuple[str | None, ...] = ()
    """The field that is the key of each one's row; None where the agent says which rows it is about."""
    responsible: bool = True
    """This group counts its records and writes their letters."""


NOBODY = Route()


class Read(msgspec.Struct, frozen=True, gc=False):
    """What a record says, and whom it concerns here and elsewhere."""

    what: Envelope[Message] | Unknown | Bad | None
    """None for a tick, and for what its only reader has said itself."""
    route: Route = NOBODY
    places: Sequence[Sequence[Place]] = ()
    """The rows here that it is about, ear by ear."""
    forward: Sequence[tuple[Group, int, bytes | None]] = ()
    """The groups whose inboxes it must go to, the partitions, and its key there."""
    id: bytes | None = None
    """For dropping duplicates; None where it does not end here."""
    own: bool = False
    tick: bytes = b""
    """The task upstream whose time it tells."""


class ForeignState(Exception):
    """The store does not belong to the changelog that follows it: wipe it, and begin at the changelog's start."""


class Work:
    """A chunk that is decided: what to send in one transaction, and what to write when that is committed."""

    def __init__(self, chunk: Chunk, read: Sequence[Read], outcomes: Sequence[str | None], outbox: Outbox, batch: Batch) -> None:
        self.chunk = chunk
        self.read = read
        self.outcomes = outcomes
        """What its records came to; None where another task says that."""
        self.taken = len(outcomes)
        """How many of the records it is of; the rest belongs to a chunk of its own."""
        self.outbox = outbox
        self.batch = batch


class Task:
    """One partition of one group. One chunk at a time."""

    def __init__(self, plan: Plan, group: Group, partition: int, store: Store, options: Options, *, incarnation: str = "") -> None:
        """`incarnation` is the changelog's, where that is known; else the first chunk makes one, and recovery finds it."""
        self.group = group
        self.partition = partition
        self.name = f"{group.name}-{partition}"
        self.transactional_id = f"{plan.app}-{self.name}"
        self.inputs = tuple(TopicPartition(topic, partition) for topic in group.inputs)
        self.inbox = TopicPartition(group.inbox, partition)
        self.changelog = TopicPartition(group.changelog, partition)
        self._plan = plan
        self._incarnation = incarnation
        self._store = store
        self._options = options
        self._base = f"{group.name}/{partition}/".encode()
        self._source = 1 + group.first_task + partition
        self._routes: dict[type[Message], Route] = {}
        self._channels: dict[tuple[str, type[Message]], Channel] = {}
        upstream = [g for g in plan.groups if group in plan.downstream[g.name]]
        self.upstream = tuple(f"{g.name}-{p}" for g in upstream for p in range(g.partitions))
        leading = [g for g in upstream if options.gated and not plan.hears_of(g, group)]
        self._leading = tuple(f"{g.name}-{p}" for g in leading for p in range(g.partitions))
        """Those that wait for nothing from here: they can be waited for without end."""
        self._downstream = plan.downstream[group.name]
        beside = {agent.beside.name for agent in group.agents if agent.beside is not None}
        self._beside = tuple((number, ONLY) for number, agent in enumerate(group.agents) if agent.table.name in beside)
        self._only_ours = {topic for topic in group.reads if _only_heard_by_its_speaker(plan, topic)}
        self._dedup = Dedup(store, self._base)
        self.rows = Rows(store, self._base, group.agents, cached=options.rows_cached)
        self.head = self._stored_head() or self._first_head()
        self._stored = False

    # --- before the first chunk

    def _stored_head(self) -> Head | None:
        raw = self._store.get(self._base + b"h")
        return None if raw is None else decode_head(raw)

    def reset(self, changelog_end: int, *, now: int = 0) -> str | None:
        """Forget everything that is not in the store, and the store too where it does not fit the changelog; says why, then.

        `now`, ms since 1970, where changelogs forget deletions after some time.
        """
        self.rows = Rows(self._store, self._base, self.group.agents, cached=self._options.rows_cached)
        stored = self._stored_head()
        self.head, self._stored = stored or self._first_head(), stored is not None
        if self._incarnation and self.head.incarnation != self._incarnation:
            why = "it belongs to another changelog"
        elif self.head.changelog_end >= changelog_end:
            why = "it is ahead of its changelog"
        elif self._stored and int(self._store.get(self._base + b"w") or 0) < now - OLDEST_MS:
            why = "it is so old that the changelog has forgotten what was deleted since"
        else:
            why = None
        if why:
            self.wipe()
        if now and not self._stored:
            self.stamp(now)  # nothing is up to date with everything that was deleted before it was begun
        return why

    def wipe(self) -> None:
        """Forget the store too."""
        self._store.write(Batch(drops=[(self._base, after(self._base))]))
        self.rows = Rows(self._store, self._base, self.group.agents, cached=self._options.rows_cached)
        self.head, self._stored = self._first_head(), False

    def _first_head(self) -> Head:
        return Head(self._incarnation or os.urandom(8).hex())

    def recover(self, records: Sequence[Logged]) -> None:
        """Apply records of the changelog, in order.

        Raises ForeignState where they do not follow what is stored, EngineError for one that nobody knows.
        """
        batch = Batch()
        newest = {record.key: record.value for record in records}
        for record in records:
            key = record.key or b""
            if key == b"h" and record.value is not None:
                head = decode_head(record.value)
                if self._stored and (head.incarnation != self.head.incarnation or head.chunk <= self.head.chunk):
                    raise ForeignState(f"{record.topic}: chunk {head.chunk} of {head.incarnation} after {self.head.chunk}")
                self.head, self._stored = head, False
                self.head.changelog_end = record.offset
                batch.puts.append((self._base + b"h", encode_head(self.head)))
            elif newest[record.key] is not record.value:
                continue  # a later one follows; and what is put and then deleted would be there again, as a batch deletes before it puts
            elif key[:1] == b"D":
                self._dedup.recover(key, record.value, batch)
            elif key[:1] == b"r":
                self.rows.recover(key, record.value, batch)
            else:
                raise EngineError(f"{record.topic}: a changelog record with an unknown key at offset {record.offset}")
        self._store.write(batch)

    def stamp(self, now: int) -> None:
        """The state is up to date by now, ms since 1970."""
        self._store.write(Batch(puts=[(self._base + b"w", b"%d" % now)]))

    def next_deadline(self) -> Instant | None:
        """Stream time at which the watermark passes the earliest deadline, or one that a row no longer has."""
        first = self.rows.first_due()
        return None if first is None else max(first + self._options.lateness_ms, self.head.time)

    # --- the path of a chunk

    def work(
        self,
        records: Sequence[Record],
        *,
        horizon: Instant = IDLE,
        left: int | None = None,
        idle: Mapping[str, int] | None = None,
        today: Instant = -1,
    ) -> Work:
        """Decide as many of `records` as one transaction should hold.

        `horizon`: no input has anything to be read that is earlier. `left`: what lies before this offset of the inbox was heard, or is
        among `records`; None where these are in its order. `idle`: no input has anything at all, up to these offsets.
        `today`: what happened until then is believed, however long nothing had happened before.
        """
        read = [self._read(record) for record in records]
        if records and records[0].order.at == UNPLACED:
            self._place(records, read, today)
        known = self._dedup.known([item.id for item in read if item.id is not None])
        chunk = Chunk(self._plan, self.group, self.partition, self.head, self.rows, options=self._options, channels=self._channels)
        chunk.today = today
        places = [place for item in read for own in item.places for place in own]
        chunk.slots = self.rows.load(dict.fromkeys([*self._beside, *places]))
        latest = max(self.head.time, records[-1].order.at) if records else self.head.time  # they are in the order of time
        limit = min(horizon, self._limit(chunk.head.upstream))
        ticked = any(item.tick for item in read)
        chunk.find_deadlines((latest if ticked else min(latest, limit)) - self._options.lateness_ms)
        head, counts, lateness_ms, gated = chunk.head, chunk.counts, self._options.lateness_ms, self._options.gated
        earliest = _earliest(records, read) if gated else [IDLE] * len(records)
        new: dict[bytes, None] = {}
        outcomes: list[str | None] = []
        for record, item, still in zip(records, read, earliest, strict=True):
            at = record.order.at
            now = at if at > head.time else head.time
            if item.tick:
                name, late = told(item.tick, record.timestamp)
                head.upstream[name] = late
                limit = min(horizon, self._limit(head.upstream))
            chunk.limit = limit if limit < still else still
            watermark = (now if now < chunk.limit else chunk.limit) - lateness_ms
            if watermark > head.closed:
                head.closed = watermark
            if not chunk.quiet(watermark) and not chunk.pass_deadlines(watermark):
                break
            # at the record's own place in time: what the group tells itself comes after later records of its slice, however long that is
            outcome = self._take(chunk, record, item, at, seen=item.id in known or item.id in new)
            if outcome is not None:
                counts[INPUT[outcome] if record.order.source == FED else INTERNAL[outcome]] += 1
            if item.id is not None and outcome != "dead.invalid":
                new[item.id] = None
            head.time = now
            outcomes.append(outcome)
        ends = idle if len(outcomes) == len(records) else None
        if gated:
            self._tell_time(chunk, idle=ends is not None)
        moved = self._move_on(head, records, len(outcomes), left)
        if ends is not None:
            head.ahead = []
            moved |= ends
        outbox, batch = self._finish(chunk, moved, new)
        return Work(chunk, read, outcomes, outbox, batch)

    def _limit(self, told: Mapping[str, Instant]) -> Instant:
        """Nobody upstream is behind this stream time."""
        if not self._options.gated:
            return IDLE
        return min((told.get(name, -1) for name in self.upstream), default=IDLE)

    def _tell_time(self, chunk: Chunk, *, idle: bool) -> None:
        """Tell every task downstream how late it is here, in the same transaction as what it may not overtake."""
        head = chunk.head
        now = IDLE if idle or (head.told == IDLE and head.time == self.head.time) else head.time  # ticks alone are nothing to be waited for
        if now == head.told or (head.told <= now < head.told + self._options.told_every_ms):
            return
        head.told = now
        mark = self.name.encode() + (IDLE_MARK if idle else b"")
        order = Order(head.time, self._source, head.said)
        chunk.outputs += [
            Record(group.inbox, p, None, None, ((TICK, mark),), max(head.time, 0), order)
            for group in self._downstream
            for p in range(group.partitions)
        ]

    def gate(self, told: dict[str, Instant]) -> Instant:
        """What is later in a topic other than the inbox waits: somebody upstream is so late that what it will say belongs before it.

        `told`: by tasks upstream, in what is not decided yet.
        """
        return self.told_limit(told) + self._options.lateness_ms

    def inbox_gate(self, told: Mapping[str, Instant]) -> Instant:
        """What is later in the inbox waits for those upstream that wait for nothing from here."""
        known = self.head.upstream | dict(told)
        return min((known.get(name, -1) for name in self._leading), default=IDLE) + self._options.lateness_ms

    def told_limit(self, told: dict[str, Instant]) -> Instant:
        """Nobody upstream is behind this stream time, if those that have nothing to read are believed."""
        return self._limit(self.head.upstream | told)

    def behind(self, positions: Mapping[str, int]) -> bool:
        """There are markers behind the last records, which are not committed: others could not tell that there is nothing more."""
        return any(self.head.offsets.get(topic, 0) < offset for topic, offset in positions.items())

    @property
    def idles(self) -> bool:
        """Those downstream know that there is nothing to wait for."""
        return self.head.told == IDLE or not self._downstream

    def _place(self, records: Sequence[Record], read: Sequence[Read], today: Instant) -> None:
        """Give them their places in time: the greatest event time seen so far. An unbelievable clock moves nothing."""
        now, jump_ms = self.head.time, self._options.jump_ms
        for record, item in zip(records, read, strict=True):
            what = item.what
            if item.tick:
                pass
            elif what is None:
                now = max(now, record.timestamp)
            elif not isinstance(what, Bad) and now < what.at and (max(now, today) < 0 or what.at <= max(now, today) + jump_ms):
                now = what.at
            record.order = Order(now, record.order.source, 0)

    def _move_on(self, head: Head, records: Sequence[Record], taken: int, left: int | None) -> dict[str, int]:
        """The next offsets of the inputs that `taken` of these records are from."""
        inbox = self.group.inbox
        moved = {record.topic: record.offset + 1 for record in records[:taken] if record.offset >= 0}
        if inbox in moved:
            heard = [(record.offset, record.offset + 1) for record in records[:taken] if record.topic == inbox and record.offset >= 0]
            waiting = [record.offset for record in records[taken:] if record.topic == inbox]
            moved[inbox] = min([max(behind for _, behind in heard) if left is None else left, *waiting])
            head.ahead = _ranges([*head.ahead, *heard], moved[inbox])
        return moved

    def _finish(self, chunk: Chunk, moved: Mapping[str, int], new: dict[bytes, None]) -> tuple[Outbox, Batch]:
        head, options = chunk.head, self._options
        head.offsets.update(moved)
        head.counts = dict(chunk.counts)
        batch, changelog = Batch(), list[tuple[bytes, bytes | None]]()
        for due, place in chunk.stale:
            self.rows.forget_due(due, place, batch)
        self._dedup.forget(head.time - options.lateness_ms - options.dedup_ms, batch, changelog)
        self._dedup.remember(new, head.chunk, batch, changelog)
        head.sums = self.rows.write(chunk.changed, batch, changelog, self.head.sums)
        changelog.append((b"h", encode_head(head)))
        offsets = {TopicPartition(topic, self.partition): offset for topic, offset in moved.items()}
        return Outbox(chunk.outputs, changelog, offsets), batch

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
        """Decode it, and find out whom it concerns."""
        if record.value is None and record.topic == self.group.inbox and record.headers and record.headers[0][0] == TICK:
            return Read(None, tick=record.headers[0][1])
        if record.order.source == self._source and record.topic in self._only_ours:
            return Read(None, own=True)
        what = record.read
        if not isinstance(what, Envelope | Unknown | Bad):
            try:
                what = decode(record.value, record.headers)
            except Bad as bad:
                what = bad
        if isinstance(what, Envelope):
            return self._concerning(record, what)
        return Read(what) if isinstance(what, Bad) else Read(what, id=id_key(what.event_id, what.at))

    def _concerning(self, record: Record, what: Envelope[Message]) -> Read:
        """Its rows here, where its key says that they are here or somebody re-keyed it; and the groups that it must be re-keyed for."""
        payload = what.payload
        route = self._routes.get(type(payload)) or self._route(type(payload))
        forward: list[tuple[Group, int, bytes | None]] = []
        mine = record.topic == self.group.inbox
        if not mine:
            for group, whole in route.groups:
                if whole:
                    if group is self.group and group.partitions == 1:
                        mine = True
                    else:
                        forward += [(group, p, record.key) for p in range(group.partitions)]
                    continue
                key = getattr(payload, group.key)
                raw = key.encode()
                if group is self.group and (not key or record.key == raw):
                    mine = True
                elif key:
                    forward.append((group, partition_of(raw, group.partitions), raw))
        if mine:
            return Read(what, route, self._places(route, payload), forward, id_key(what.event_id, what.at))
        if forward:
            return Read(what, route, (), forward)
        return Read(what, route, id=id_key(what.event_id, what.at))

    def _route(self, kind: type[Message]) -> Route:
        groups = self._plan.routes.get(kind, ())
        ears = tuple(n for n, agent in enumerate(self.group.agents) if kind in agent.hears)
        first = bool(groups) and groups[0] is self.group and (self.partition == 0 or kind not in self.group.everywhere)
        hearing = tuple((group, group.partitions == 1 or kind in group.everywhere) for group in groups)
        agents = [self.group.agents[n] for n in ears]
        keys = tuple(None if agent.table.one_row or agent.keys is not None else agent.table.key for agent in agents)
        route = self._routes[kind] = Route(hearing, ears, keys, self.group not in groups or first)
        return route

    def _nobody_before(self, route: Route, what: Envelope[Message] | Unknown) -> bool:
        """Of the groups that hear it, this is the first that it has a key for."""
        if isinstance(what, Unknown):
            return False
        first = next((group for group, whole in route.groups if whole or getattr(what.payload, group.key)), None)
        return first is None or (first is self.group and (self.partition == 0 or type(what.payload) not in self.group.everywhere))

    def _places(self, route: Route, payload: Message) -> list[Sequence[Place]]:
        """The rows here that it is about, ear by ear."""
        places: list[Sequence[Place]] = []
        for number, field in zip(route.ears, route.keys, strict=True):
            if field is None:
                agent = self.group.agents[number]
                several = (ONLY,) if agent.table.one_row or agent.keys is None else agent.keys(payload)
                places.append([(number, key) for key in several])
            else:
                key = getattr(payload, field)
                places.append(((number, key),) if key else ())
        return places

    def _take(self, chunk: Chunk, record: Record, item: Read, at: Instant, *, seen: bool) -> str | None:
        """What it came to; None for a tick, and where another task says that."""
        what = item.what
        if what is None:
            return "ignored" if item.own else None
        if isinstance(what, Bad):
            chunk.write_letter(record, Failure(what.reason, "Bad", what.text, field=what.field), at)
            return "dead." + what.reason
        if what.at > max(at, chunk.today) + self._options.jump_ms:
            hours = self._options.jump_ms // HOUR_MS
            text = f"timestamp: more than {hours} hours ahead of everything before it; if it is right, raise ORDERFLOW_CLOCK_JUMP_DAYS"
            chunk.write_letter(record, Failure("invalid", "Invalid", text, field="timestamp"), at)
            return "dead.invalid"
        for group, partition, key in item.forward:
            chunk.outputs.append(rekeyed(record, group.inbox, partition, key))
        if item.id is None:
            return None
        responsible = item.route.responsible or self._nobody_before(item.route, what)
        if responsible and what.at < at - self._options.lateness_ms and record.order.source == FED:
            chunk.counts["late"] += 1
        if seen:
            outcome = "duplicate"
        elif item.route.ears and isinstance(what, Envelope):
            outcome = chunk.hear(record, what, item.route.ears, item.places, at, letters=responsible)
        else:
            outcome = "ignored"
        return outcome if responsible else None


def _earliest(records: Sequence[Record], read: Sequence[Read]) -> Sequence[Instant]:
    """For each record the earliest time from it on: an inbox is in order by each of those that write to it, and not in all."""
    times = [IDLE if item.tick else record.timestamp for record, item in zip(records, read, strict=True)]
    return list(accumulate(reversed(times), min))[::-1]


def _ranges(found: Iterable[tuple[int, int]], begin: int) -> list[tuple[int, int]]:
    """The same offsets in as few ranges as may be, without those before `begin`."""
    ranges: list[tuple[int, int]] = []
    for first, behind in sorted(item for item in found if item[1] > begin):
        if ranges and ranges[-1][1] >= first:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], behind))
        else:
            ranges.append((first, behind))
    return ranges


def told(mark: bytes, at: Instant) -> tuple[str, Instant]:
    """What a tick says: which task upstream it is from, and how late it is there."""
    return mark.removesuffix(IDLE_MARK).decode(), IDLE if mark.endswith(IDLE_MARK) else at


def _only_heard_by_its_speaker(plan: Plan, topic: str) -> bool:
    """Whatever our agents say on this topic, nobody but the agent that said it hears: and that one has folded it when it said it."""
    agents = [agent for group in plan.groups for agent in group.agents]
    said = {kind: agent for agent in agents for kind in agent.says if plan.carrier[kind].name == topic}
    return all(agent is speaker for kind, speaker in said.items() for agent in agents if kind in agent.hears)
