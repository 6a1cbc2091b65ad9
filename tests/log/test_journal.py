"""A durable log goes on where it was lost: after any operations, killed anywhere, another log over the same store is equal."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.log.memory import MemoryLog
from pipeline.log.record import FED, Order, Outbox, Record, TopicPartition
from pipeline.stores.memory import MemoryStore
from pipeline.stores.port import Batch, after
from tests.log.broker import LAST

PLACES = [TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("unread", 0)]
UNTOLD = TopicPartition("untold", 0)
STATES = [TopicPartition("state", 0), TopicPartition("state", 1)]


class Killed(Exception):
    """The process is gone."""


class MortalStore(MemoryStore):
    """Dies at one of its writes: before it, or right after."""

    def __init__(self) -> None:
        super().__init__()
        self.until_death: int | None = None
        self.written_first = False

    def write(self, batch: Batch) -> None:
        if self.until_death is not None:
            self.until_death -= 1
            if self.until_death < 0:
                self.until_death = None
                if self.written_first:
                    super().write(batch)
                raise Killed
        super().write(batch)


# --- Operations. -----------------------------------------------------------------------------------------------------


class Feed(NamedTuple):
    records: Sequence[tuple[TopicPartition, int]]
    """Where, and at what time."""


class Commit(NamedTuple):
    records: Sequence[tuple[TopicPartition, int]]
    read: Sequence[int]
    """How far each input is read, in percent of what there is."""
    state: TopicPartition
    changelog: Sequence[tuple[bytes, bytes | None]]


class Release(NamedTuple):
    topics: Sequence[str]
    before: int


class Checkpoint(NamedTuple):
    pass


Operation: TypeAlias = Feed | Commit | Release | Checkpoint

placed = st.lists(st.tuples(st.sampled_from(PLACES), st.integers(0, 9)), max_size=4)
pairs = st.tuples(st.sampled_from([b"x", b"y", b"h"]), st.none() | st.binary(max_size=2))
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Feed, placed),
    st.builds(Commit, placed, st.lists(st.integers(0, 100), min_size=2, max_size=2), st.sampled_from(STATES), st.lists(pairs, max_size=3)),
    st.builds(Release, st.sampled_from([["a"], ["unread"], ["a", "unread"]]), st.integers(0, 10)),
    st.builds(Checkpoint),
)
histories = st.lists(operations, max_size=25)


def opened(store: MemoryStore, *, durable: bool = True) -> MemoryLog:
    log = MemoryLog(store, durable=durable)
    log.create("a", 2, read=True)
    log.create("unread", 1)
    log.create("state", 2, changelog=True)
    log.checkpoint()
    return log


def record(number: int, tp: TopicPartition, at: int, source: int) -> Record:
    told = object() if source == FED else None  # what a feeder has decoded is known to its process only
    return Record(*tp, b"k%d" % number, b"v", (("h", b"\0"),), at, Order(at, source, number), read=told)


def do(log: MemoryLog, operation: Operation, number: int) -> None:
    """`number` makes the places in time of its records distinct, as they are in a run."""
    match operation:
        case Feed(records):
            log.feed([record(number + i, tp, at, FED) for i, (tp, at) in enumerate(records)])
        case Commit(records, parts, state, changelog):
            inputs = zip(PLACES, parts, strict=False)
            offsets = {tp: max(log.committed(tp), log.end(tp) * part // 100) for tp, part in inputs}
            said = [record(number + i, tp, at, 1) for i, (tp, at) in enumerate(records)]
            log.commit("t", log.begin("t"), Outbox(said, list(changelog), offsets), state)
        case Release(topics, before):
            log.release(topics, Order(before, FED, 0))
        case Checkpoint():
            log.checkpoint()


def seen(log: MemoryLog) -> dict[TopicPartition, object]:
    """All that anybody can see of a log, but what is held: that shows once it is released."""
    untold: dict[TopicPartition, object] = {UNTOLD: [_told(each) for each in log.untold]}
    return untold | {
        tp: ([_told(each) for each in log.fetch(tp, 0, 1_000)], log.start(tp), log.end(tp), log.committed(tp)) for tp in (*PLACES, *STATES)
    }


def _told(each: Record) -> tuple[object, ...]:
    return each.key, each.value, each.headers, each.timestamp, each.order, each.offset


def reopened(store: MortalStore) -> MemoryLog:
    """Recovery writes too, and may be killed as well."""
    try:
        return opened(store)
    except Killed:
        return opened(store)


def compare(log: MemoryLog, other: MemoryLog) -> None:
    assert seen(log) == seen(other)
    assert log.topics() == other.topics()
    assert [log.next_held([topic]) for topic in ("a", "unread")] == [other.next_held([topic]) for topic in ("a", "unread")]


def exhausted(log: MemoryLog) -> dict[TopicPartition, object]:
    log.release(["a", "unread"], LAST)
    return seen(log)


# --- Laws. -----------------------------------------------------------------------------------------------------------


@given(histories, st.sets(st.integers(0, 24)))
def test_killed_between_operations_it_goes_on(history: list[Operation], kills: set[int]) -> None:
    """A log that was lost again and again is at each moment what one that nobody disturbed is."""
    store = MemoryStore()
    log, calm = opened(store), opened(MemoryStore(), durable=False)
    for i, operation in enumerate(history):
        do(log, operation, 100 * i)
        do(calm, operation, 100 * i)
        if i in kills:
            log = opened(store)
        compare(log, calm)
    assert exhausted(opened(store)) == exhausted(calm)


@given(histories, st.integers(0, 30), st.booleans())
def test_killed_within_an_operation_all_or_nothing_of_it_is_done(history: list[Operation], writes: int, written_first: bool) -> None:  # noqa: FBT001  # hypothesis hands it over
    """A write is the moment at which an operation has happened: before it nothing, after it everything."""
    store = MortalStore()
    log, calm = opened(store), opened(MemoryStore(), durable=False)
    store.until_death, store.written_first = writes, written_first
    for i, operation in enumerate(history):
        try:
            do(log, operation, 100 * i)
        except Killed:
            log = opened(store)
            if not written_first:
                compare(log, calm)
                do(log, operation, 100 * i)
        do(calm, operation, 100 * i)
        compare(log, calm)
    survivor = reopened(store)
    store.until_death = None
    assert exhausted(survivor) == exhausted(calm)


@given(histories)
def test_without_a_journal_nothing_but_changelogs_is_written(history: list[Operation]) -> None:
    """A log that is not durable costs its store nothing, and behaves the same."""
    store = MemoryStore()
    log, durable = opened(store, durable=False), opened(MemoryStore())
    for i, operation in enumerate(history):
        do(log, operation, 100 * i)
        do(durable, operation, 100 * i)
        compare(log, durable)
    assert list(store.scan(b"", b"c")) == list(store.scan(after(b"c"), b"\xff")) == []


# --- Its size. -------------------------------------------------------------------------------------------------------


def journal(store: MemoryStore) -> int:
    return sum(1 for _ in store.scan(b"j", after(b"j")))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def run(log: MemoryLog, operation: Callable[[int], Operation], times: int) -> Iterator[None]:
    for i in range(times):
        do(log, operation(i), 100 * i)
        yield


def test_a_checkpoint_replaces_the_journal(store: MemoryStore) -> None:
    """One snapshot, whatever came before; the journal begins anew behind it."""
    log = opened(store)
    for _ in run(log, lambda i: Feed([(PLACES[0], i)]), 20):
        pass
    assert journal(store) == 20
    log.checkpoint()
    assert journal(store) == 0
    do(log, Feed([(PLACES[0], 99)]), 9_999)
    assert journal(store) == 1
    compare(opened(store), log)


def test_a_snapshot_holds_only_what_is_unread(store: MemoryStore) -> None:
    """It does not grow with the age of the log."""
    log = opened(store)
    sizes = set()
    for _ in run(log, lambda i: Feed([(PLACES[0], i)]), 50):
        log.release(["a"], LAST)
        do(log, Commit([], [100, 100], STATES[0], [(b"h", b"1")]), 0)
        log.checkpoint()
        sizes.add(len(store.get(b"s") or b""))
    assert max(sizes) - min(sizes) < 50


def test_another_log_shortens_the_journal(store: MemoryStore) -> None:
    """A start reads it once: the next one finds a snapshot."""
    log = opened(store)
    for _ in run(log, lambda i: Feed([(PLACES[0], i)]), 20):
        pass
    opened(store)
    assert journal(store) == 0
