"""What a worker on Kafka decides without asking a broker: what it reads next, where it goes on, who said a record."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from pipeline.engine.head import IDLE
from pipeline.engine.letters import rekeyed
from pipeline.engine.options import Options
from pipeline.engine.plan import make_plan
from pipeline.engine.task import TICK, Task
from pipeline.log.kafka import SAID, Kafka, record_of
from pipeline.log.record import FED, Order, Record, TopicPartition
from pipeline.problem import Problem
from pipeline.stores.memory import MemoryStore
from pipeline.testing.specs import NOON
from pipeline.worker.inbox import Inbox
from pipeline.worker.kafka import INBOX_CHUNKS, SLACK_MS, KafkaConsumer, KafkaLink
from tests.engine.agents import SLEEPER

OPTIONS = Options(gated=True, chunk_records=4)
PLAN = make_plan([SLEEPER], app="shop")
ALARMS, _INTAKE = PLAN.groups
INBOX, EVENTS = TopicPartition(ALARMS.inbox, 0), TopicPartition("order.events", 0)
UPSTREAM = "intake-1-0"
LATE = OPTIONS.lateness_ms


def read(tp: TopicPartition, at_ms: int, value: bytes | None = b"{}", headers: tuple[tuple[str, bytes], ...] = (), offset: int = 0) -> Any:
    return ConsumerRecord(tp.topic, tp.partition, offset, NOON + at_ms, 0, None, value, None, 0, 0, headers)


def by(writer: int, at_ms: int) -> Any:
    """A record of the inbox, re-keyed by the task that reads this partition."""
    origin = Record(PLAN.unread, writer, b"o-1", b"{}", (), 0, Order(0, FED, 0), 1)
    return read(INBOX, at_ms, headers=rekeyed(origin, INBOX.topic, 0, b"").headers)


class Believed:
    """So far those upstream are believed to have nothing; and what was asked."""

    def __init__(self, until: int) -> None:
        self._until = until
        self.positions: dict[TopicPartition, int] = {}
        self.asked: list[tuple[int, bool]] = []

    def until(self, _task: Task, _silent: Collection[str]) -> int:
        return self._until

    def ask(self, _task: Task, _silent: Sequence[str], until: int, *, urgent: bool) -> None:
        self.asked.append((until - NOON, urgent))

    def forget(self) -> None:
        """There is nothing."""


class Reader(KafkaConsumer):
    """With these buffers, and a task that has heard nothing yet of how late it is upstream."""

    ends = 0

    def __init__(
        self,
        buffers: Mapping[TopicPartition, list[int]],
        *,
        lagging: TopicPartition | None = None,
        told_ms: int | None = None,
        believed_ms: int | None = None,
        chunk_records: int = OPTIONS.chunk_records,
    ) -> None:
        self._buffers = {tp: deque(read(tp, at_ms) for at_ms in times) for tp, times in buffers.items() if tp != INBOX}
        self._inboxes = {INBOX: Inbox(PLAN.home)}
        self.come(*(read(INBOX, at_ms) for at_ms in buffers.get(INBOX, ())))
        self._lagging = {lagging} if lagging else set()
        self._told = {INBOX: {UPSTREAM: IDLE if told_ms is None else NOON + told_ms}}
        self._worker: Any = self
        self._silence: Any = Believed(IDLE if believed_ms is None else NOON + believed_ms)
        self.options = replace(OPTIONS, chunk_records=chunk_records)
        self.alarms = Task(PLAN, ALARMS, 0, MemoryStore(), OPTIONS)

    def asked(self) -> list[tuple[int, bool]]:
        asked: list[tuple[int, bool]] = self._silence.asked
        return asked

    def come(self, *records: Any) -> None:
        """Into the inbox, at the next offsets."""
        first = self.ends
        self.ends += len(records)
        if records:
            self._inboxes[INBOX].add([replace(record, offset=first + n) for n, record in enumerate(records)])

    def tick(self, at_ms: int) -> None:
        self.come(read(INBOX, at_ms, None, ((TICK, UPSTREAM.encode()),)))

    def buffered(self) -> list[int]:
        return [record.timestamp - NOON for record in self._buffers[EVENTS]]

    @property
    def left(self) -> int:
        return self._inboxes[INBOX].left

    @property
    def reads(self) -> bool:
        return self._reading is not None

    def next(self) -> tuple[list[int], int]:
        """Times after noon, and the horizon."""
        merged, horizon = self._merge(self.alarms)
        return [record.timestamp - NOON for record in merged], horizon - NOON if horizon != IDLE else IDLE


def test_inputs_are_merged_by_their_timestamps() -> None:
    """A chunk at most; its horizon is what is left."""
    assert Reader({INBOX: [2, 5], EVENTS: [1, 3, 9]}).next() == ([1, 2, 3, 5], 9)


def test_an_input_with_lag_is_waited_for() -> None:
    """Where its buffer is empty nobody goes on; where it becomes so, the chunk ends there."""
    assert Reader({INBOX: [1], EVENTS: []}, lagging=EVENTS).next() == ([], IDLE)
    assert Reader({INBOX: [1, 4], EVENTS: [2]}, lagging=EVENTS).next() == ([1, 2], 2)
    assert Reader({INBOX: [1], EVENTS: []}).next() == ([1], IDLE)


def test_what_is_later_than_those_upstream_waits() -> None:
    """But for the lateness, which may be used up anyway."""
    assert Reader({INBOX: [1], EVENTS: [LATE, LATE + 1]}, told_ms=0).next() == ([1, LATE], LATE + 1)


def test_an_inbox_does_not_overtake_what_waits() -> None:
    """What it holds and is later comes later, also where nothing else can come now."""
    assert Reader({INBOX: [LATE + 2, LATE + 3], EVENTS: [LATE + 1]}, told_ms=0).next() == ([], LATE + 1)
    assert Reader({INBOX: [1, LATE + 3], EVENTS: [LATE + 1]}, told_ms=0).next() == ([1], LATE + 1)


def test_an_inbox_waits_for_all_that_write_to_it() -> None:
    """What one says that is far ahead is heard when those that are late have said what comes before it."""
    assert Reader({INBOX: [1, LATE, LATE + 3], EVENTS: []}, told_ms=0).next() == ([1, LATE], LATE + 3)


def test_a_full_inbox_goes_on() -> None:
    """How late it is upstream may be told behind what fills it."""
    full = [LATE + 2] * (INBOX_CHUNKS * OPTIONS.chunk_records)
    assert Reader({INBOX: full, EVENTS: [LATE + 1]}, told_ms=0).next() == ([LATE + 2] * 4, LATE + 1)


def test_ticks_are_always_heard() -> None:
    """They say that there is no need to wait any more."""
    reader = Reader({INBOX: [], EVENTS: [LATE + 1]}, told_ms=0)
    reader.tick(LATE + 5)
    assert reader.next() == ([LATE + 5], LATE + 1)


FAST, SLOW = 0, 1


def test_what_lies_behind_a_faster_writer_is_heard_in_its_time() -> None:
    """A payment before the cancellation that came after it, whatever lies in front of it in the inbox."""
    reader = Reader({EVENTS: [50, 95]}, chunk_records=8)
    reader.come(by(FAST, 45), by(FAST, 100), by(FAST, 110), by(SLOW, 40), by(SLOW, 70))
    assert reader.next() == ([40, 45, 50, 70, 95, 100, 110], IDLE)


def test_each_writers_own_order_stays() -> None:
    """One that says something late has said something else before; it hurries nobody, and holds up nobody."""
    reader = Reader({EVENTS: [30, 51]}, chunk_records=8)
    reader.come(by(FAST, 50), by(FAST, 3), by(FAST, 52), by(SLOW, 10))
    assert reader.next() == ([10, 30, 50, 3, 51, 52], IDLE)


def test_what_is_left_in_front_is_read_again() -> None:
    """It was not heard: a chunk tells the lowest offset of the inbox that is not in it."""
    reader = Reader({EVENTS: []}, chunk_records=2)
    reader.come(by(FAST, 50), by(SLOW, 10), by(SLOW, 20), by(FAST, 60))
    assert (reader.next(), reader.left) == (([10, 20], 50), 0)
    assert (reader.next(), reader.left) == (([50, 60], IDLE), 4)


def test_what_was_heard_ahead_is_not_heard_again() -> None:
    """Nor are the ticks among it: what they tell is known."""
    inbox = Inbox(PLAN.home, ahead=[(1, 3), (5, 6)])
    assert [record.offset for record in inbox.add([replace(by(SLOW, 1), offset=n) for n in range(7)])] == [0, 3, 4, 6]
    assert (inbox.left, inbox.span) == (0, 7)


def test_a_clock_far_off_does_not_fill_an_inbox() -> None:
    """Nobody waits for its time where there is no room: it goes first, and what lies behind it is no longer behind it."""
    reader = Reader({EVENTS: [7]}, chunk_records=2)
    reader.come(by(FAST, 1_000_000), *(by(SLOW, at_ms) for at_ms in range(INBOX_CHUNKS * 2)))
    assert reader.next() == ([1_000_000, 0], 1)


def test_silence_is_believed_as_far_as_the_broker_was_asked() -> None:
    """But for a second; what is later waits, and the broker is asked whether it may come."""
    waiting = Reader({INBOX: [], EVENTS: [1, SLACK_MS + 1, SLACK_MS + 9]}, believed_ms=0)
    assert waiting.next() == ([1], 0)
    assert waiting.asked() == [(SLACK_MS + 9, True)]


def test_an_inbox_is_no_proof_of_silence() -> None:
    """What one upstream says may be far ahead of what another has not read yet."""
    waiting = Reader({INBOX: [SLACK_MS + 1], EVENTS: []}, believed_ms=0)
    assert waiting.next() == ([], 0)
    assert waiting.asked() == [(SLACK_MS + 1, True)]


def test_a_tick_of_long_ago_does_not_hide_what_is_to_be_asked() -> None:
    """Who has never had anything tells the time at which time began; what is before it in the inbox waits for an answer all the same."""
    waiting = Reader({EVENTS: []}, believed_ms=0)
    waiting.come(by(0, SLACK_MS + 1))
    waiting.tick(-NOON)
    assert waiting.next() == ([], 0)
    assert waiting.asked() == [(SLACK_MS + 1, True)]


def test_deadlines_do_not_pass_beyond_what_is_believed() -> None:
    """The horizon says so; nothing waits, so there is no hurry to ask."""
    flowing = Reader({INBOX: [], EVENTS: [5]}, believed_ms=0)
    assert flowing.next() == ([5], 0)
    assert flowing.asked() == [(5, False)]


def test_nobody_is_asked_who_tells_his_time() -> None:
    """Only silence needs a proof."""
    told = Reader({INBOX: [], EVENTS: [5]}, told_ms=0, believed_ms=0)
    assert told.next() == ([5], IDLE)
    assert told.asked() == []


# --- Reading that is placed anew. ------------------------------------------------------------------------------------


class Broker:
    """What a consumer asks of one; records come when they are given."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[dict[TopicPartition, list[Any]]] = asyncio.Queue()

    async def committed(self, _tp: TopicPartition) -> None:
        return None

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def getmany(self, *_partitions: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Any]]:  # noqa: ARG002  # as in aiokafka
        return await self.given.get()

    async def position(self, _tp: TopicPartition) -> int:
        return 1

    def last_stable_offset(self, _tp: TopicPartition) -> int:
        return 1

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """It is believed."""

    def resume(self, *partitions: TopicPartition) -> None:
        """It is believed."""


class Placed(Reader):
    """Over that broker."""

    broker = Broker()
    kafka: Any = broker
    plan = PLAN

    def __init__(self) -> None:
        super().__init__({})
        self.broker = self.kafka = Broker()
        self._link = KafkaLink(Kafka("nowhere:1"), "shop")
        self._room, self._reading, self.news = asyncio.Event(), None, asyncio.Event()
        self.assigned = (self.alarms,)


def test_nothing_is_lost_where_reading_is_placed_anew() -> None:
    """A poll that is under way would put what comes from the new places into the old buffers."""

    async def twice() -> list[int]:
        reader = Placed()
        await reader.place()
        await asyncio.sleep(0)
        await reader.place()
        reader.broker.given.put_nowait({EVENTS: [read(EVENTS, 1), read(EVENTS, 2)]})
        await asyncio.sleep(0.01)
        buffered = reader.buffered()
        await reader.stop_reading()
        return buffered

    assert asyncio.run(twice()) == [1, 2]


# --- Where to go on. -------------------------------------------------------------------------------------------------


def position(kept: int | None, committed: int | None, begin: int, *, chunks: int = 1, skip_lost: bool = False) -> int:
    task = Task(PLAN, ALARMS, 0, MemoryStore(), OPTIONS)
    task.head.chunk = chunks
    if kept is not None:
        task.head.offsets[EVENTS.topic] = kept
    return KafkaLink(Kafka("nowhere:1"), "shop", skip_lost=skip_lost).position(task, EVENTS, committed, begin)


def test_reading_goes_on_where_the_state_ends() -> None:
    """Which is what the group has committed; a commit that has expired is no loss."""
    assert position(kept=7, committed=7, begin=0) == 7
    assert position(kept=7, committed=None, begin=0) == 7
    assert position(kept=None, committed=None, begin=5, chunks=0) == 5


@pytest.mark.parametrize(("kept", "committed"), [(7, 8), (8, 7), (None, 3)])
def test_a_state_that_is_not_the_group_s_is_refused(kept: int | None, committed: int) -> None:
    """Going on would lose something, or do it twice."""
    with pytest.raises(Problem, match="committed offset"):
        position(kept=kept, committed=committed, begin=0)


@pytest.mark.parametrize("kept", [3, None])
def test_records_that_are_gone_are_never_passed_silently(kept: int | None, caplog: pytest.LogCaptureFixture) -> None:
    """Those of a partition that was not read before, too, once the task has begun."""
    with pytest.raises(Problem, match="deleted before they were read"):
        position(kept=kept, committed=kept, begin=9)
    assert position(kept=kept, committed=kept, begin=9, skip_lost=True) == 9
    assert "going on without them" in caplog.text


# --- Who said it. ----------------------------------------------------------------------------------------------------


def test_a_record_tells_which_task_said_it() -> None:
    """In its last header, which the engine does not pass on."""
    record = record_of(read(EVENTS, 0, headers=(("trace", b"x"), (SAID, b"4"))))
    assert (record.order.source, record.headers) == (4, (("trace", b"x"),))


@pytest.mark.parametrize("said", [b"", b"x", b"-1", b"4 "])
def test_a_foreign_header_of_that_name_is_only_a_header(said: bytes) -> None:
    """Whoever writes it can stop nobody."""
    record = record_of(read(EVENTS, 0, headers=((SAID, said),)))
    assert (record.order.source, record.headers) == (FED, ((SAID, said),))


def test_the_horizon_is_the_earliest_that_is_left_in_an_inbox() -> None:
    """It is in order by each of those that write to it, and not in all: what is behind a later one counts, wherever the chunk ends."""
    assert Reader({INBOX: [LATE, 7, 9, 11, 8], EVENTS: [5]}, told_ms=0).next() == ([5, LATE, 7, 9], 8)
    assert Reader({INBOX: [LATE, 7], EVENTS: [5]}, lagging=EVENTS, told_ms=0).next() == ([5], 5)
    assert Reader({INBOX: [LATE, 2], EVENTS: [5]}, lagging=EVENTS, told_ms=0).next() == ([5], 2)
    assert Reader({INBOX: [LATE], EVENTS: []}, lagging=INBOX, told_ms=LATE + 3).next() == ([LATE], LATE + 3)


def test_a_broker_that_is_away_does_not_keep_a_worker_from_closing() -> None:
    """Whatever its client raises of itself, everything else is closed."""

    class Client:
        closed = False

        async def stop(self) -> None:
            raise asyncio.CancelledError

        async def close(self) -> None:
            self.closed = True

    async def run() -> Client:
        link, client = KafkaLink(Kafka("nowhere:1"), "shop"), Client()
        mine: Any = client
        link.consumer = link._ends = mine  # noqa: SLF001  # as after joining
        link._writers["w"], link.joined = mine, True  # noqa: SLF001  # as after joining
        await link.close()
        return client

    assert asyncio.run(run()).closed
