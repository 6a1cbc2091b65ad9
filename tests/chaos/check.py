"""Whether a run kept its promises, by what is on the brokers and on the disks. Written without the engine: it reads records raw.

The names of the methods of `Checker` are those of the rules.
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec
from aiokafka import TopicPartition
from rocksdict import AccessType, Options, Rdict

from tables.orders import broken_laws
from tables.orders.row import Order
from tests.auditor.life import Order as Audited
from tests.auditor.reading import major
from tests.chaos.cluster import GROUP, HEAD, Head, Raw, head_of, is_input
from tests.chaos.expect import Expected
from tests.chaos.history import PARTITIONS, Line, Place

LETTERS, LATE = "dead-letter-queue", "late-events"
SAID = "orderflow-said"
ROW = b"rorders\0"
ID_BYTES = 16
ASKED_AGAIN = {"RefundPayment", "ReleaseInventory", "CancelShipment"}
"""A compensation that is asked for again has its id, and a deadline for its cause."""
IN_TURN = (("OrderConfirmed", "OrderShipped", "OrderCompleted"), ("ReserveInventory", "ProcessPayment", "ScheduleShipment"))
"""Of one order, as far as they are said: facts, and commands."""

Table: TypeAlias = dict[bytes, bytes]
"""Rows and ids of one task, as bytes."""


class Violation(NamedTuple):
    """A promise that was not kept."""

    rule: str
    text: str


@dataclass
class Evidence:
    """All that is left of a run."""

    lines: Sequence[Line]
    places: Sequence[Place]
    topics: Mapping[TopicPartition, Sequence[Raw]]
    offsets: Mapping[TopicPartition, int]
    folders: Sequence[tuple[str, Path]]
    """As dead workers left them."""
    last_folders: Sequence[Path]
    """Of the workers that ran to the end."""


@dataclass
class Books:
    """The changelog of one task, read from its beginning."""

    heads: list[tuple[int, Head]] = field(default_factory=list)
    """Each with its offset."""
    records: Sequence[Raw] = ()

    def until(self, end: float) -> Table:
        """The tables after the head at this offset."""
        table: Table = {}
        for raw in self.records:
            if raw.place[2] > end:
                break
            apply(table, raw.key or b"", raw.value)
        return table


def apply(table: Table, key: bytes, value: bytes | None) -> None:
    """A row per key; ids of one hour and chunk in one record."""
    if key[:1] == b"r":
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value
    elif key[:1] == b"D":
        hour = b"d" + key[1:5]
        if value is None:
            for known in [known for known in table if known.startswith(hour)]:
                del table[known]
        else:
            table.update({hour + value[i : i + ID_BYTES]: b"" for i in range(0, len(value), ID_BYTES)})


class Checker:
    """Asks every rule, of a pipeline that promises exactly once. `violations` has all that was found."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.violations: list[Violation] = []
        self.compared: Counter[str] = Counter()
        self.books = {tp: books_of(records) for tp, records in evidence.topics.items() if tp.topic.endswith("-changelog") and records}
        self._line_at = dict(zip(evidence.places, evidence.lines, strict=True))
        self._written_again()
        self.expected = Expected(line for _, line in self._as_written())
        self.raced = self._find_raced()
        """Orders of which facts of different topics were taken in another order than they were written: they end as they must, but
        not on the same way."""
        self.compared["that raced"] = len(self.raced)
        self.rows = {
            key[len(ROW) :].decode(): msgspec.convert(msgspec.msgpack.decode(value)[0], Order)
            for books in self.books.values()
            for key, value in books.until(math.inf).items()
            if key.startswith(ROW)
        }
        self._said = list(self._all_said())

    def check(self) -> list[Violation]:
        for rule in (
            self.nothing_acknowledged_is_lost,
            self.every_input_is_committed,
            self.chunks_follow_one_another,
            self.nothing_is_said_twice,
            self.all_is_said,
            self.it_is_said_in_turn,
            self.what_is_counted_is_there,
            self.nothing_is_rekeyed_twice_or_never,
            self.letters_are_written_once,
            self.orders_end_as_they_must,
            self.every_record_is_accounted_for,
            self.money_is_right,
            self.laws_hold,
            self.folders_are_what_was_committed,
        ):
            self.violations += [Violation(rule.__name__, text) for text in rule()]
        return self.violations

    # --- the input

    def nothing_acknowledged_is_lost(self) -> Iterator[str]:
        """Of the broker and of our producer: every line is where it was acknowledged, and nothing else is there."""
        there = {raw.place: raw for tp, records in self.evidence.topics.items() if tp.topic in PARTITIONS for raw in records}
        for place, line in self._line_at.items():
            if place not in there or there[place].value != line.value:
                yield f"{place}: acknowledged, and not there"
        for place, raw in there.items():
            if raw.header(SAID) is None and place not in self._line_at:
                yield f"{place}: nobody wrote that"

    def every_input_is_committed(self) -> Iterator[str]:
        for tp, records in self.evidence.topics.items():
            if is_input(tp.topic) and records:
                last, committed = records[-1].place[2], self.evidence.offsets.get(tp, 0)
                if committed <= last:
                    yield f"{tp.topic}/{tp.partition}: committed {committed}, the last record is {last}"
        for changelog, books in self.books.items():
            for topic, offset in books.heads[-1][1].offsets.items():
                committed = self.evidence.offsets.get(TopicPartition(topic, changelog.partition), 0)
                if committed != offset:
                    yield f"{topic}/{changelog.partition}: the group has committed {committed}, the state ends at {offset}"

    def chunks_follow_one_another(self) -> Iterator[str]:
        """Each task's chunks are numbered without gap or repetition, by one writer at a time."""
        for tp, books in self.books.items():
            for (_, before), (offset, after) in pairwise(books.heads):
                if after.chunk != before.chunk + 1 or after.incarnation != before.incarnation:
                    what = f"chunk {after.chunk} of {after.incarnation} after chunk {before.chunk} of {before.incarnation}"
                    yield f"{tp.topic}/{tp.partition}@{offset}: {what}"

    # --- what was said

    def _written_again(self) -> None:
        """What a producer wrote once more, because it did not hear of the first time, is input as well."""
        again = {(*place[:2], line.value): line for place, line in self._line_at.items()}
        for tp, records in self.evidence.topics.items():
            for raw in records if tp.topic in PARTITIONS else ():
                if raw.header(SAID) is None and (line := again.get((tp.topic, tp.partition, raw.value))) is not None:
                    self._line_at.setdefault(raw.place, line)

    def _as_written(self) -> list[tuple[Place, Line]]:
        """What was written once more comes right behind the first time, and is a duplicate."""
        number = {id(line): i for i, line in enumerate(self.evidence.lines)}
        return sorted(self._line_at.items(), key=lambda each: (number[id(each[1])], each[0]))

    def _find_raced(self) -> set[str]:
        """By the offsets of the heads of the tasks that take orders."""
        written: dict[str, list[Place]] = defaultdict(list)
        for place, line in self._as_written():
            written[line.order_id].append(place)
        inboxes = [records for tp, records in self.evidence.topics.items() if tp.topic == f"{GROUP}-orders-inbox"]
        forwarded = {raw.origin for records in inboxes for raw in records}
        came: dict[str, list[Place]] = defaultdict(list)
        for changelog, books in self.books.items():
            if changelog.topic == f"{GROUP}-orders-changelog":
                inputs: dict[object, deque[Raw]] = defaultdict(deque)
                for tp, records in self.evidence.topics.items():
                    for raw in records if _feeds_orders(tp, changelog.partition) else ():
                        inputs[tp, raw.origin and raw.origin[:2]].append(raw)  # of each that writes to an inbox in order
                for raw in (raw for _, head in books.heads for raw in taken(inputs.values(), head)):
                    place = raw.origin or raw.place
                    if raw.place not in forwarded and place in self._line_at:
                        came[self._line_at[place].order_id].append(place)
        return {order_id for order_id, places in written.items() if order_id and came[order_id] != places}

    def _all_said(self) -> Iterator[tuple[Raw, str, str, str]]:
        """Events and commands of the pipeline: record, id, type and order."""
        for tp, records in self.evidence.topics.items():
            if tp.topic.endswith(("-changelog", "-inbox")) or tp.topic in {LETTERS, LATE}:
                continue
            for raw in records:
                if raw.header(SAID) is not None and raw.value is not None:
                    event = msgspec.json.decode(raw.value)
                    yield raw, event["event_id"], event["event_type"], event["payload"].get("order_id", "")

    def nothing_is_said_twice(self) -> Iterator[str]:
        """An id comes once in its topic; that of an unanswered compensation again for each time that it is asked for, never alike."""
        told: dict[tuple[str, str], dict[bytes | None, Place]] = defaultdict(dict)
        for raw, event_id, kind, _ in self._said:
            before = told[raw.place[0], event_id]
            if raw.value in before or (before and kind not in ASKED_AGAIN):
                yield f"{kind} {event_id} is said at {next(iter(before.values()))} and again at {raw.place}"
            before[raw.value] = raw.place

    def all_is_said(self) -> Iterator[str]:
        """Of each order so many events and commands of each type as the auditor says, unless its facts raced."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for _, _, kind, order_id in self._said:
            found[order_id][kind] += 1
        for order_id in sorted({*found, *self.expected.said} - self.raced):
            is_, must = found[order_id], self.expected.said[order_id]
            if is_ != must:
                yield f"{order_id}: missing {dict(must - is_)}, not expected {dict(is_ - must)}"

    def it_is_said_in_turn(self) -> Iterator[str]:
        """Per order, in one partition: what comes later in its life is behind what comes earlier; and an effect behind its cause."""
        first: dict[tuple[str, str], int] = {}
        for raw, _, kind, order_id in self._said:
            first.setdefault((order_id, kind), raw.place[2])
        for order_id in {order_id for order_id, _ in first}:
            for kinds in IN_TURN:
                offsets = [first[order_id, kind] for kind in kinds if (order_id, kind) in first]
                if offsets != sorted(offsets):
                    yield f"{order_id}: {', '.join(kinds)} are at {offsets}"
        for tp, records in self.evidence.topics.items():
            events = [(raw, event) for raw in records if (event := told_by(raw)) is not None] if tp.topic in PARTITIONS else []
            earliest: dict[str, int] = {}
            for raw, event in events:
                earliest.setdefault(str(event.get("event_id")), raw.place[2])
            for raw, event in events:
                if raw.header(SAID) is not None and (cause := earliest.get(event["metadata"]["causation_id"], -1)) > raw.place[2]:
                    yield f"{raw.place}: its cause comes later, at {cause}"

    def what_is_counted_is_there(self) -> Iterator[str]:
        """Of each type so many as the heads of all tasks say."""
        is_, must = Counter(kind for _, _, kind, _ in self._said), self._counts("emitted.")
        for kind in sorted({*is_, *must}):
            if is_[kind] != must[kind]:
                yield f"{kind}: {is_[kind]} are there, {must[kind]} are counted"

    def _counts(self, prefix: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for books in self.books.values():
            counts = books.heads[-1][1].counts
            found.update({name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)})
        return +found

    def nothing_is_rekeyed_twice_or_never(self) -> Iterator[str]:
        """Each payment that can be read is in the orders' inbox once, and those of one partition come in their order."""
        origins: dict[Place, list[int]] = defaultdict(list)
        for tp, records in self.evidence.topics.items():
            newest: dict[tuple[str, int], int] = {}
            for raw in records if tp.topic == f"{GROUP}-orders-inbox" else ():
                if raw.origin is not None:
                    topic, partition, offset = raw.origin
                    origins[topic, partition, offset].append(raw.place[2])
                    if newest.get((topic, partition), -1) > offset:
                        yield f"{raw.place}: {topic}/{partition}@{offset} comes after {newest[topic, partition]}"
                    newest[topic, partition] = max(offset, newest.get((topic, partition), -1))
        yield from (f"{place} is in the inbox {len(found)} times: {found}" for place, found in origins.items() if len(found) > 1)
        yield from (f"{place} was read by nobody" for place in origins if place not in self._line_at)
        for place, line in self._line_at.items():
            if line.topic == "payment.events" and line.order_id and place not in origins:
                yield f"{place}: a payment of {line.order_id} is not in the inbox"

    def letters_are_written_once(self) -> Iterator[str]:
        """By the place of the record that could not be read or acted on. How many there must be is a matter of accounting."""
        found: dict[Place, list[str]] = defaultdict(list)
        for tp, records in self.evidence.topics.items():
            for raw in records if tp.topic == LETTERS else ():
                where = [(raw.header(f"__streams.errors.{name}") or b"").decode() for name in ("topic", "partition", "offset")]
                found[where[0], int(where[1]), int(where[2])].append((raw.header("orderflow-reason") or b"").decode())
        self.compared["dead letters"] = len(found)
        for place, reasons in sorted(found.items()):
            if len(reasons) > 1:
                yield f"{place}: letters {reasons}"
            if place not in self._line_at:
                yield f"{place}: a letter about a record that nobody wrote"
        is_, must = Counter(reasons[0] for reasons in found.values()), self._counts("input.dead.")
        if is_ != must:
            yield f"there are {dict(is_)}, counted are {dict(must)}"

    # --- what is remembered

    def orders_end_as_they_must(self) -> Iterator[str]:
        """Status and money of each."""
        must = self.expected.orders()
        found = {order_id: order for order_id, order in self.rows.items() if order.created}
        self.compared["orders"] = len(must)
        for order_id in sorted({*must, *found}):
            is_ = ended(found[order_id]) if order_id in found else None
            be = audited(must[order_id]) if order_id in must else None
            if is_ != be:
                yield f"{order_id}: {is_}, must be {be}"

    def every_record_is_accounted_for(self) -> Iterator[str]:
        """The heads count each line once, under the outcome that the auditor gives it; lines of orders that raced may have another."""
        found, must = self._counts("input."), self.expected.named()
        if found.total() != len(self._line_at):
            yield f"{len(self._line_at)} lines, {found.total()} outcomes"
        slack = sum(1 for line in self._line_at.values() if line.order_id in self.raced)
        for name in sorted({*found, *must}):
            if abs(found[name] - must[name]) > slack:
                yield f"{name}: {found[name]}, must be {must[name]}{f', give or take {slack}' if slack else ''}"

    def money_is_right(self) -> Iterator[str]:
        """Authorised, captured and refunded, by currency, of all orders that were created."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for order in self.rows.values():
            if order.created:
                found[order.currency]["authorised"] += order.total_minor
                for name, sums in (("captured", order.captured), ("refunded", order.refunded)):
                    for currency, minor in sums.items():
                        found[currency][name] += minor
        for currency, must in self.expected.report()["money"].items():
            for name in ("authorised", "captured", "refunded"):
                if (is_ := major(found[currency][name], currency)) != must[name]:
                    yield f"{name} {currency}: {is_}, must be {must[name]}"

    def laws_hold(self) -> Iterator[str]:
        for order in self.rows.values():
            yield from (f"{order.id}: {law}" for law in broken_laws(order))

    # --- what is on the disks

    def folders_are_what_was_committed(self) -> Iterator[str]:
        """Each folder is the changelog up to some chunk; the newest chunk of each task is in that of a worker that ran to the end."""
        newest: set[TopicPartition] = set()
        for name, folder in [*self.evidence.folders, *((f"{path.parent.name}, at the end", path) for path in self.evidence.last_folders)]:
            last = folder in self.evidence.last_folders
            for tp, books in self.books.items():
                table, head = stored(folder, tp)
                if head is None:
                    continue
                self.compared["tables on disk"] += 1
                chunk, incarnation = head
                same = (offset for offset, known in reversed(books.heads) if (known.chunk, known.incarnation) == (chunk, incarnation))
                end = next(same, None)
                where = f"{name}: {tp.topic}/{tp.partition}, chunk {chunk}"
                if end is None:
                    yield f"{where}: was never committed; the newest is {books.heads[-1][1].chunk}"
                    continue
                if last and end == books.heads[-1][0]:
                    newest.add(tp)
                if (must := books.until(end)) != table:
                    keys = [key for key in {*must, *table} if must.get(key) != table.get(key)]
                    yield f"{where}: {len(keys)} of {len(must)} differ from the changelog, as {min(keys)!r}"
        if self.evidence.last_folders:
            yield from (f"{tp.topic}/{tp.partition}: nobody has its newest chunk" for tp in self.books if tp not in newest)


def books_of(records: Sequence[Raw]) -> Books:
    books = Books(records=records)
    for raw in records:
        if raw.key == HEAD and raw.value is not None:
            books.heads.append((raw.place[2], head_of(raw.value)))
    return books


def _feeds_orders(tp: TopicPartition, partition: int) -> bool:
    return tp.partition == partition and tp.topic in {*PARTITIONS, f"{GROUP}-orders-inbox"} - {"payment.events"}


def taken(inputs: Collection[deque[Raw]], head: Head) -> Iterator[Raw]:
    """The records of the chunk that this head ends, in the order of time."""
    while found := [own for own in inputs if own and _is_before(own[0].place, head)]:
        yield min(found, key=lambda own: own[0].stamp).popleft()


def _is_before(place: Place, head: Head) -> bool:
    topic, _, offset = place
    return offset < head.offsets.get(topic, 0) or (topic.endswith("-inbox") and any(first <= offset < end for first, end in head.ahead))


def stored(folder: Path, tp: TopicPartition) -> tuple[Table, tuple[int, str] | None]:
    """Rows and ids of a task in a folder, and chunk and incarnation of its head."""
    group = tp.topic.removeprefix(f"{GROUP}-").removesuffix("-changelog")
    base = f"{group}/{tp.partition}/".encode()
    found = opened(folder)
    own = {key[len(base) :]: value for key, value in found.items() if key.startswith(base)}
    if HEAD not in own:
        return {}, None
    head = head_of(own[HEAD])
    return {key: value for key, value in own.items() if key[:1] in b"rd"}, (head.chunk, head.incarnation)


_FOLDERS: dict[Path, Table] = {}


def opened(folder: Path) -> Table:
    """Everything in a folder; a torn one has nothing."""
    if folder not in _FOLDERS:
        found: Table = {}
        if (folder / "CURRENT").exists():
            db: Any = Rdict(str(folder), options=Options(raw_mode=True), access_type=AccessType.read_only())
            found = dict(db.items())
            db.close()
        _FOLDERS[folder] = found
    return _FOLDERS[folder]


def ended(order: Order) -> tuple[Any, ...]:
    """Status, currency, total, and what was captured and given back."""
    return str(order.status), order.currency, order.total_minor, dict(+Counter(order.captured)), dict(+Counter(order.refunded))


def audited(order: Audited) -> tuple[Any, ...]:
    """The same, as the auditor has it."""
    captured = Counter({currency: order.captured(currency) for currency in {p.currency for p in order.payments.values()}})
    return order.status, order.currency, order.total, dict(+captured), dict(+Counter(order.refunded))


def told_by(raw: Raw) -> dict[str, Any] | None:
    try:
        event = msgspec.json.decode(raw.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return event if isinstance(event, dict) else None
