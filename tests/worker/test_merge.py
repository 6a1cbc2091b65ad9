"""In which order a task hears what is on its topics: as it happened, though an inbox has many writers and each its own pace."""

from collections import deque
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from pipeline.engine.options import Options
from pipeline.engine.plan import make_plan
from pipeline.engine.task import Task
from pipeline.log.kafka import SAID
from pipeline.log.record import TopicPartition
from pipeline.stores.memory import MemoryStore
from pipeline.testing.specs import NOON
from pipeline.worker.kafka import KafkaConsumer
from pipeline.worker.pace import Pace
from tests.engine.agents import SLEEPER
from tests.engine.driver import SECOND_MS

PLAN = make_plan([SLEEPER], app="shop")
GROUP = PLAN.groups[0]
ORDERS, INBOX = "order.events", GROUP.inbox
FAST, SLOW = 7, 8
"""Tasks upstream."""


def raw(topic: str, second: int, offset: int, writer: int | None = None) -> Any:  # as much of aiokafka's as is read
    headers = () if writer is None else ((SAID, b"%d" % writer),)
    return SimpleNamespace(
        topic=topic, partition=0, key=b"o-1", value=b"{}", headers=headers, timestamp=NOON + second * SECOND_MS, offset=offset
    )


def heard(buffers: Mapping[str, Sequence[Any]], *, most: int = 100) -> list[tuple[str, int]]:
    """What the first chunk has, by topic and second."""
    options = Options(chunk_records=most)
    task = Task(PLAN, GROUP, 0, MemoryStore(), options)
    consumer = KafkaConsumer.__new__(KafkaConsumer)
    filled = {TopicPartition(topic, 0): deque(records) for topic, records in buffers.items()}
    pace = Pace(options.jump_ms)
    for record in buffers[INBOX]:
        pace.add(record)
    parts: dict[str, Any] = {
        "_worker": SimpleNamespace(assigned=[task], options=options),
        "in_flight": set(),
        "_buffers": filled,
        "_paces": {TopicPartition(INBOX, 0): pace},
        "_lagging": set(),
        "_told": {},
        "_room": SimpleNamespace(set=lambda: None),
        "_silence": SimpleNamespace(until=lambda *_: NOON * 2, ask=lambda *_, **__: None),
    }
    for name, part in parts.items():
        setattr(consumer, name, part)
    (chunk,) = consumer.cut({TP(*task.inputs[0])})
    return [(record.topic, (record.timestamp - NOON) // SECOND_MS) for record in chunk.records]


def inbox(*came: tuple[int, int]) -> list[Any]:
    return [raw(INBOX, second, offset, writer) for offset, (writer, second) in enumerate(came)]


def orders(*seconds: int) -> list[Any]:
    return [raw(ORDERS, second, offset) for offset, second in enumerate(seconds)]


def test_what_lies_behind_a_faster_writer_is_heard_in_its_time() -> None:
    """A payment before the cancellation that came after it, whatever lies in front of it in the inbox."""
    found = heard({ORDERS: orders(60, 95), INBOX: inbox((FAST, 50), (FAST, 100), (FAST, 110), (SLOW, 40), (SLOW, 70))})
    assert found == [(INBOX, 40), (INBOX, 50), (ORDERS, 60), (INBOX, 70), (ORDERS, 95), (INBOX, 100), (INBOX, 110)]


def test_each_writers_own_order_stays() -> None:
    """One that says something late has said something else before."""
    found = heard({ORDERS: orders(30), INBOX: inbox((FAST, 50), (FAST, 20), (SLOW, 10))})
    assert found == [(INBOX, 10), (ORDERS, 30), (INBOX, 50), (INBOX, 20)]


def test_a_chunk_that_is_full_has_what_others_wait_for() -> None:
    """Of the inbox as much as the earliest of it needs; only what is in front of that may come too early."""
    found = heard({ORDERS: orders(60, 61), INBOX: inbox((FAST, 100), (SLOW, 40), (FAST, 120))}, most=3)
    assert found == [(INBOX, 40), (ORDERS, 60), (INBOX, 100)]


def test_what_is_late_hurries_nobody() -> None:
    """It had its place behind what its writer said before: nothing goes ahead of its time for it."""
    late = inbox((FAST, 100), (FAST, 101), (FAST, 3), (FAST, 102))
    assert heard({ORDERS: orders(60, 61), INBOX: late}, most=3) == [(ORDERS, 60), (ORDERS, 61), (INBOX, 100)]


def test_a_clock_that_nobody_believes_holds_up_nobody() -> None:
    """What its writer says next has its own time."""
    far = Options().jump_ms // SECOND_MS + 1_000
    found = heard({ORDERS: orders(60), INBOX: inbox((FAST, 50), (FAST, far), (FAST, 55), (FAST, 70))})
    assert [second for _, second in found] == [50, far, 55, 60, 70]
