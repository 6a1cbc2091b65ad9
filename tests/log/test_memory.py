"""What the log in this process does besides: it holds records until their time has come, forgets what is read, compacts changelogs."""

from random import Random

import pytest

from pipeline.log.memory import COMPACT_AFTER, MemoryLog
from pipeline.log.record import FED, Order, Outbox, Record, TopicPartition
from pipeline.stores.memory import MemoryStore
from pipeline.stores.port import after
from tests.log.broker import LAST

A, B = TopicPartition("a", 0), TopicPartition("b", 0)
STATE = TopicPartition("state", 0)


@pytest.fixture
def log() -> MemoryLog:
    made = MemoryLog(MemoryStore())
    made.create("a", 1, read=True)
    made.create("b", 1)
    made.create("state", 1, changelog=True)
    return made


def record(at: int, number: int = 0, *, source: int = FED, topic: str = "a") -> Record:
    return Record(topic, 0, None, f"{at}/{source}/{number}".encode(), (), at, Order(at, source, number))


def written(log: MemoryLog, *records: Record, changelog: list[tuple[bytes, bytes | None]] | None = None, offset: int | None = None) -> None:
    offsets = {} if offset is None else {A: offset}
    log.commit("t", log.begin("t"), Outbox(list(records), changelog or [], offsets), STATE)


def read(log: MemoryLog, tp: TopicPartition = A) -> list[int]:
    return [each.order.at for each in log.fetch(tp, 0, 1_000)]


# --- Held and released. ----------------------------------------------------------------------------------------------


def test_what_is_appended_is_held(log: MemoryLog) -> None:
    """Nobody reads a record before its time is released, whoever wrote it."""
    log.feed([record(1)])
    written(log, record(2, source=1))
    assert (read(log), log.end(A), log.lag(["a"])) == ([], 0, 0)
    assert log.next_held(["a", "b"]) == Order(1, FED, 0)


def test_time_is_released_up_to_a_moment(log: MemoryLog) -> None:
    """What comes before it is read, what comes at it or after waits on."""
    log.feed([record(1), record(2), record(3)])
    assert log.release(["a"], Order(2, FED, 0)) == 1
    assert (read(log), log.next_held(["a"])) == ([1], Order(2, FED, 0))
    assert log.release(["a"], Order(2, FED, 0)) == 0
    assert log.release(["a", "b"], LAST) == 2
    assert (read(log), log.next_held(["a"])) == ([1, 2, 3], None)


def test_the_order_of_arrival_does_not_matter(log: MemoryLog) -> None:
    """Offsets follow the places in time: earlier first, what was fed before what was said, then by number."""
    places = [record(at, number, source=source) for at in (1, 2) for source in (FED, 1, 2) for number in (0, 1)]
    arriving = list(places)
    Random(7).shuffle(arriving)
    log.feed(arriving[:5])
    written(log, *arriving[5:])
    log.release(["a"], LAST)
    found = log.fetch(A, 0, 100)
    assert [each.value for each in found] == [each.value for each in places]
    assert [each.offset for each in found] == list(range(0, 2 * len(places), 2))


def test_only_named_topics_are_released(log: MemoryLog) -> None:
    """Each stage releases its own inputs."""
    log.feed([record(1), record(1, topic="b")])
    log.release(["a"], LAST)
    assert (log.next_held(["a"]), log.next_held(["b"])) == (None, Order(1, FED, 0))


def test_readers_are_woken_by_news(log: MemoryLog) -> None:
    """A release that gives something wakes them; one that gives nothing lets them sleep."""
    woken: list[int] = []
    log.on_news(lambda: woken.append(1))
    log.release(["a"], LAST)
    log.feed([record(1)])
    assert woken == []
    log.release(["a"], LAST)
    assert woken == [1]


# --- Forgotten. ------------------------------------------------------------------------------------------------------


def test_what_is_committed_is_dropped(log: MemoryLog) -> None:
    """Memory holds what is still to be read, however long the log runs."""
    for i in range(50):
        log.feed([record(i, n) for n in range(20)])
        log.release(["a"], LAST)
        assert log.lag(["a"]) == 20
        written(log, offset=log.end(A))
        assert log.lag(["a"]) == 0
    assert log.fetch(A, 0, 100) == []
    assert log.start(A) == log.end(A) == log.committed(A) == 50 * 40


def test_half_a_chunk_leaves_the_rest(log: MemoryLog) -> None:
    """Only what lies before the committed offset goes."""
    log.feed([record(i) for i in range(4)])
    log.release(["a"], LAST)
    written(log, offset=3)
    assert (read(log), log.lag(["a"]), log.start(A)) == ([2, 3], 2, 3)


def test_what_nobody_reads_is_only_told(log: MemoryLog) -> None:
    """A topic without a reader keeps nothing; its offsets grow all the same."""
    written(log, record(1, source=1, topic="b"), record(2, source=1, topic="b"))
    assert log.untold == []
    log.release(["b"], LAST)
    assert [each.order.at for each in log.untold] == [1, 2]
    assert (log.fetch(B, 0, 10), log.lag(["b"]), log.start(B), log.end(B)) == ([], 0, 4, 4)


def test_told_is_what_was_said_and_not_what_was_fed(log: MemoryLog) -> None:
    """In the order of its release, whether somebody reads the topic or not."""
    log.feed([record(1)])
    written(log, record(2, source=1), record(1, source=3))
    log.release(["a"], LAST)
    assert [each.order for each in log.untold] == [Order(1, 3, 0), Order(2, 1, 0)]


# --- Compaction. -----------------------------------------------------------------------------------------------------


def many(log: MemoryLog, value: bytes) -> None:
    """As many changelog records as a compaction takes, all of one key."""
    written(log, changelog=[(b"busy", value)] * (COMPACT_AFTER + 1))


def newest(log: MemoryLog) -> list[tuple[bytes | None, bytes | None]]:
    return [(each.key, each.value) for each in log.fetch(STATE, 0, 10)]


def test_compaction_keeps_the_newest_per_key(log: MemoryLog) -> None:
    """Under its old offset, and in the store nothing else is left."""
    written(log, changelog=[(b"quiet", b"1"), (b"gone", b"1"), (b"gone", b"2")])
    many(log, b"x")
    end = log.end(STATE)
    assert newest(log) == [(b"quiet", b"1"), (b"gone", b"2"), (b"busy", b"x")]
    assert [each.offset for each in log.fetch(STATE, 0, 10)] == [0, 2, end - 2]
    assert len(list(log.store.scan(b"c", after(b"c")))) == 3


def test_a_tombstone_lives_for_one_compaction(log: MemoryLog) -> None:
    """Whoever reads on from an earlier offset must see that the key was deleted; later it need not be known."""
    written(log, changelog=[(b"k", b"1")])
    written(log, changelog=[(b"k", None)])
    many(log, b"x")
    assert newest(log) == [(b"k", None), (b"busy", b"x")]
    many(log, b"y")
    assert newest(log) == [(b"busy", b"y")]


def test_compaction_waits_until_it_is_worth_it(log: MemoryLog) -> None:
    """A changelog of many live keys is not read again and again: twice as many must have come as were live."""
    keys = [(b"%d" % i, b"") for i in range(COMPACT_AFTER + 1)]
    written(log, changelog=list(keys))
    written(log, changelog=list(keys))
    assert len(list(log.store.scan(b"c", after(b"c")))) == 2 * len(keys)
    written(log, changelog=[*keys, keys[0]])
    assert len(list(log.store.scan(b"c", after(b"c")))) == len(keys)
