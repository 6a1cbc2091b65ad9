"""One chunk in the making: what its records come to, one after the other, in the order of time.

It reads committed rows and writes only itself. What comes of it is visible when its transaction is committed, or never.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import structs

from agents.agent import AnyAgent, Ignored, Parked, Repeated, Says, Unexpected, never
from pipeline.engine.head import IDLE, Head
from pipeline.engine.letters import Failure, late, letter
from pipeline.engine.options import Options
from pipeline.engine.plan import Group, Plan
from pipeline.engine.rows import ParkedRecord, Place, Rows, Slot
from pipeline.log.partitioner import partition_of
from pipeline.log.record import FED, Order, Record
from schemas.codec import decode, encode
from schemas.message import SOURCE, Due, Envelope, Instant, Invalid, Message, due_id, follow
from tables.table import ONLY, Row

Besides: TypeAlias = tuple[Any, ...]
Came: TypeAlias = tuple[str, Failure | None]
"""What a record came to, and why it failed if it did."""


class Channel(NamedTuple):
    """How this task sends one type."""

    topic: str
    key: str
    in_step: bool
    """The topic is keyed and cut as the task's own rows: no key needs hashing."""
    partitions: int
    counter: str
    encode: Callable[[Envelope[Message]], bytes]


APPLIED: Came = ("applied", None)
IGNORED: Came = ("ignored", None)
_CAME: dict[type, Came] = {Ignored: IGNORED, Repeated: ("duplicate", None), Parked: ("parked", None)}
MOST_DEADLINES = 1_000
"""Entries of the deadline index that one chunk looks at, and those of the last one's moment. The rest passes in the next chunk,
before further records."""


class EngineError(Exception):
    """The engine's own rules are broken: the process must end, and the chunk is read again."""


class Chunk:
    """The working state of one chunk of one task."""

    def __init__(
        self,
        plan: Plan,
        group: Group,
        partition: int,
        head: Head,
        rows: Rows,
        *,
        options: Options,
        channels: dict[tuple[str, type[Message]], Channel],
    ) -> None:
        self._plan, self._group, self._partition, self._rows, self._options = plan, group, partition, rows, options
        self._agents = group.agents
        self._numbers = {agent.table.name: number for number, agent in enumerate(group.agents)}
        self._channels = channels
        self._largest = options.largest_record_bytes
        self._source = 1 + group.first_task + partition
        self._primary = group is plan.groups[0]
        self.head = Head(head.incarnation, head.chunk + 1, head.time, head.said, head.changelog_end, dict(head.offsets))
        self.head.upstream, self.head.told, self.head.closed, self.head.ahead = dict(head.upstream), head.told, head.closed, head.ahead
        self.today: Instant = -1
        self.limit: Instant = IDLE
        """No deadline passes beyond it: so late it is in what is still to be read, here or upstream."""
        self.counts = Counter(head.counts)
        self.slots: dict[Place, Slot] = {}
        """Every row that this chunk may touch, loaded before its first record; those that only sum up what others do, as they do it."""
        self.changed: dict[Place, Slot] = {}
        self.outputs: list[Record] = []
        self.stale: list[tuple[Instant, Place]] = []
        """Entries of the deadline index that are no longer true."""
        self._timers: list[tuple[Instant, Place]] = []
        self._horizon: Instant = -1

    # --- deadlines

    def find_deadlines(self, until: Instant) -> None:
        """Look up which deadlines may pass while the watermark goes to `until`."""
        found: list[tuple[Instant, Place]] = []
        self._horizon = until
        for entry in self._rows.due(until):
            if len(found) >= MOST_DEADLINES and entry[0] > found[-1][0]:  # never among those of one moment: they would lose their order
                self._horizon = found[-1][0]
                break
            found.append(entry)
        missing = [place for _, place in found if place not in self.slots]
        self.slots.update(self._rows.load(missing))
        for due, place in found:
            if self.slots[place].stored_due == due:
                self._timers.append((due, place))
            else:
                self.stale.append((due, place))
        heapify(self._timers)

    def quiet(self, watermark: Instant) -> bool:
        """Nothing is due by now, and there is room for more outputs."""
        timers = self._timers
        return watermark <= self._horizon and (not timers or timers[0][0] > watermark) and len(self.outputs) < self._options.chunk_outputs

    def pass_deadlines(self, watermark: Instant) -> bool:
        """Everything that is due by now, in the order of time; False where the chunk must end before its next record."""
        timers = self._timers
        until = min(watermark, self._horizon)
        while timers and timers[0][0] <= until:
            due, place = heappop(timers)
            slot = self.slots[place]
            if slot.due == due:
                self.head.time = max(self.head.time, due + self._options.lateness_ms)
                self._fire(slot, self.head.time)
            if len(self.outputs) >= self._options.chunk_outputs:
                break
        return until == watermark and not (timers and timers[0][0] <= until) and len(self.outputs) < self._options.chunk_outputs

    def _pass_own_deadlines(self, slots: Sequence[Slot], until: Instant, at: Instant) -> None:
        """A record of these rows is at `until`: what they were waiting for before that has passed, whatever the watermark."""
        for slot in slots:
            while slot.due is not None and slot.due <= until and slot.due <= self.limit:
                self._fire(slot, at)

    def _fire(self, slot: Slot, at: Instant) -> None:
        due, deadline, agent, key = slot.due, slot.deadline, self._agents[slot.place[0]], slot.place[1]
        for parked in slot.parked:
            if parked.expires == due:
                slot.parked = tuple(other for other in slot.parked if other is not parked)
                never_came = Failure("orphaned", "Orphaned", "what it waited for did not come", agent.name)
                self._settle(slot, parked, ("dead.orphaned", never_came), at)
                self._change(agent, slot)
                return
        if deadline is None:
            raise EngineError(f"{key}: a deadline passed that its row does not have")
        event_id = due_id(key, deadline.name, deadline.at)
        due_event = Due(key, deadline.name)
        heard = Envelope(event_id, deadline.at, due_event, deadline.correlation_id or event_id, aggregate_id=key, source=SOURCE)
        outcome, failure = self._ask(agent, (slot,), heard, at)
        if outcome != "applied" or slot.deadline == deadline:
            why = failure.text if failure else outcome
            raise EngineError(f"{agent.name}: {key} was told that {deadline.name} has passed, and did nothing ({why})")
        self._try_parked(slot, at)

    # --- a record that agents here hear

    def hear(
        self,
        record: Record,
        heard: Envelope[Message],
        ears: Sequence[int],
        places: Sequence[Sequence[Place]],
        at: Instant,
        *,
        letters: bool,
    ) -> str:
        """What it came to. The pipeline's first agent answers for all that it hears; elsewhere it is enough that one agent acted.

        `places`: the rows that it is about, ear by ear.
        """
        outcomes: list[str] = []
        for number, own in zip(ears, places, strict=True):
            agent = self._agents[number]
            if not own and agent.keys is None:
                continue
            slots = [*map(self.slots.__getitem__, own)]
            if agent.closes is None:  # windows close by the watermark
                self._pass_own_deadlines(slots, heard.at, at)
            too_late = agent.closes is not None and agent.closes(heard) <= self.head.closed
            outcome, failure = self._side_track(record, agent, at) if too_late else self._ask(agent, slots, heard, at)
            if outcome == "parked":
                outcome, failure = self._park(slots[0], record, at)
            elif slots and slots[0].parked and outcome == "applied":
                self._try_parked(slots[0], at)
            if failure is not None and letters and not outcomes:
                self.write_letter(record, failure, at)
            outcomes.append(outcome)
        if len(outcomes) == 1:
            return outcomes[0]
        if "applied" in outcomes and not (self._primary and ears[0] == 0):
            return "applied"
        return outcomes[0] if outcomes else "ignored"

    def _ask(self, agent: AnyAgent, slots: Sequence[Slot], heard: Envelope[Message], at: Instant) -> Came:
        """One agent decides, and what it decided is done."""
        besides = self._besides(agent)
        try:
            if agent.keys is None:
                decision = agent.decide(slots[0].row, heard, *besides)
            else:
                decision = agent.decide({slot.place[1]: slot.row for slot in slots}, heard)
        except Unexpected as error:
            return _failed(Failure("illegal_transition", "Unexpected", str(error), agent.name))
        except Invalid as error:
            return _failed(Failure("invalid", "Invalid", str(error), agent.name, error.field))
        except Exception as error:  # noqa: BLE001  # a fault in one agent must neither lose the record nor stop the others
            return _failed(Failure("handler_error", type(error).__qualname__, str(error), agent.name))
        if not decision:
            self._fold(agent, slots, heard, (), besides)
            return APPLIED
        if isinstance(decision, Ignored | Repeated | Parked):
            return _CAME[type(decision)]
        return self._apply(agent, slots, heard, decision, besides, at)

    def _besides(self, agent: AnyAgent) -> Besides:
        """What this agent decides with, besides row and message: the row beside its own as it is now, and the watermark."""
        more: Besides = () if agent.beside is None else (self.slots[self._numbers[agent.beside.name], ONLY].row,)
        return more if agent.closes is None else (*more, self.head.closed)

    def _fold(
        self, agent: AnyAgent, slots: Sequence[Slot], heard: Envelope[Message], said: Sequence[Envelope[Message]], besides: Besides
    ) -> None:
        """Fold what was heard, and said because of it, into the rows."""
        evolve = agent.table.evolve
        watchers = self._group.watchers.get(agent.table.name, ())
        for slot in slots:
            before = slot.row
            row = evolve(before, heard, *besides)
            for envelope in said:
                row = evolve(row, envelope, *besides)
            slot.row = row
            self._change(agent, slot)
            for number, watch in watchers:
                for key, step in watch.adds(before, row, heard).items():
                    self._add((number, key), step)

    def _add(self, place: Place, step: Row) -> None:
        """To a row that sums up others."""
        if place not in self.slots:
            self.slots.update(self._rows.load([place]))
        slot = self.slots[place]
        slot.row += step
        self._change(self._agents[place[0]], slot)

    def _apply(self, agent: AnyAgent, slots: Sequence[Slot], heard: Envelope[Message], said: Says, besides: Besides, at: Instant) -> Came:
        """Write what is spoken, fold what was heard and said into the rows; or neither, where an output would be too large."""
        envelopes = [follow(heard, agent.name, i, message, after_ms=agent.answers_after_ms) for i, message in enumerate(said)]
        at += agent.answers_after_ms
        number = self.head.said
        spoken: list[Record] = []
        counters: list[str] = []
        for envelope in envelopes:
            message = envelope.payload
            if not agent.speaks(heard, message):
                continue
            topic, field, in_step, partitions, counter, encoded = self._channels.get((agent.name, type(message))) or self._channel(
                agent, type(message)
            )
            key = getattr(message, field).encode()
            partition = self._partition if in_step else partition_of(key, partitions)
            value = encoded(envelope)
            if len(value) > self._largest:
                return _failed(Failure("too_large", "TooLarge", f"{type(message).__name__}: more than {self._largest} bytes", agent.name))
            spoken.append(Record(topic, partition, key, value, (), envelope.at, Order(at, self._source, number)))
            counters.append(counter)
            number += 1
        self._fold(agent, slots, heard, envelopes, besides)
        self.head.said = number
        self.outputs += spoken
        for counter in counters:
            self.counts[counter] += 1
        return APPLIED

    def _channel(self, agent: AnyAgent, kind: type[Message]) -> Channel:
        if kind not in agent.says:
            raise EngineError(f"{agent.name} says {kind.__name__}, and has not declared it")
        topic = self._plan.carrier[kind]
        in_step = topic.key == self._group.key and topic.partitions == self._group.partitions
        encoded = _bare if topic.bare else encode
        channel = Channel(topic.name, topic.key, in_step, topic.partitions, "emitted." + kind.wire.name, encoded)
        self._channels[agent.name, kind] = channel
        return channel

    def write_letter(self, record: Record, failure: Failure, at: Instant) -> None:
        """To the dead letters, once, as it came."""
        self.outputs.append(letter(record, failure, Order(at, self._source, self.head.said), at))
        self.head.said += 1

    def _side_track(self, record: Record, agent: AnyAgent, at: Instant) -> Came:
        """It came after its windows had closed: told to whoever wants to count it all the same."""
        self.counts["late." + agent.name] += 1
        self.outputs.append(late(record, agent.name, Order(at, self._source, self.head.said)))
        self.head.said += 1
        return IGNORED

    # --- rows, and what waits with them

    def _change(self, agent: AnyAgent, slot: Slot) -> None:
        self.changed[slot.place] = slot
        if agent.due is never and not slot.parked:
            slot.due = slot.deadline = None
            return
        slot.set_due(agent)
        if slot.due is not None and slot.due <= self._horizon:
            heappush(self._timers, (slot.due, slot.place))

    def _park(self, slot: Slot, record: Record, at: Instant) -> Came:
        agent = self._agents[slot.place[0]]
        if len(slot.parked) >= self._options.parked_per_key:
            return _failed(Failure("orphaned", "Orphaned", "too many records wait for this key already", agent.name))
        slot.parked = (*slot.parked, ParkedRecord(structs.replace(record, read=None), at + agent.patience_ms))
        self._change(agent, slot)
        return "parked", None

    def _try_parked(self, slot: Slot, at: Instant) -> None:
        """The row has changed: decide again on what waits, oldest first, and from the start after each that acts."""
        agent = self._agents[slot.place[0]]
        i = 0
        while i < len(slot.parked):
            parked = slot.parked[i]
            came = self._ask(agent, (slot,), self._waiting(parked), at)
            if came[0] == "parked":
                i += 1
                continue
            slot.parked = slot.parked[:i] + slot.parked[i + 1 :]
            self._settle(slot, parked, came, at)
            self._change(agent, slot)
            if came[0] == "applied":
                i = 0

    def _waiting(self, parked: ParkedRecord) -> Envelope[Message]:
        heard = decode(parked.record.value, parked.record.headers)
        if not isinstance(heard, Envelope):
            raise EngineError("a parked record cannot be read any more")
        return heard

    def _settle(self, slot: Slot, parked: ParkedRecord, came: Came, at: Instant) -> None:
        """A parked record has come to its end. It is counted where it was counted as parked: by the first agent that hears it."""
        kind = type(self._waiting(parked).payload)
        if slot.place[0] != next(n for n, agent in enumerate(self._agents) if kind in agent.hears):
            return
        outcome, failure = came
        origin = "input." if parked.record.order.source == FED else "internal."
        self.counts[origin + "parked"] -= 1
        self.counts[origin + outcome] += 1
        if failure is not None:
            self.write_letter(parked.record, failure, at)


def _bare(envelope: Envelope[Message]) -> bytes:
    return msgspec.json.encode(envelope.payload)


def _failed(failure: Failure) -> Came:
    return "dead." + failure.reason, failure
