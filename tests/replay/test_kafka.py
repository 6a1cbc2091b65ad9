"""Where a line of a file goes on Kafka: what it says of itself is kept, and nothing is lost that says little."""

import json
from typing import Any

import pytest

from agents.orders import saga
from pipeline.embedded import Embedded
from pipeline.engine.letters import ORIGIN, Failure, letter, original
from pipeline.engine.options import Options
from pipeline.engine.plan import make_plan
from pipeline.log.kafka import SAID
from pipeline.log.partitioner import partition_of
from pipeline.log.record import Order, Record
from pipeline.replay.feed import draft, given_partition
from pipeline.replay.kafka import Places, size_of
from schemas.codec import parse_instant
from tests.replay.making import DAY_MS, event, happy

PLAN = make_plan(saga("orchestrated"), app="shop")
CREATED, _, PAID, _, _ = happy("o-1")
AT = parse_instant("2025-10-29T10:00:00.000Z")


def placed(*lines: bytes) -> list[Record]:
    places = Places(PLAN, 30 * DAY_MS)
    return [places.record(draft(line), given_partition(line)) for line in lines]


def as_record(**members: Any) -> bytes:
    return json.dumps(members).encode()


def test_an_event_goes_to_the_topic_of_its_type() -> None:
    """Under its key, in the key's partition, at its own time, as it was written."""
    (created, paid) = placed(CREATED, PAID)
    assert (created.topic, created.key, created.value, created.timestamp) == ("order.events", b"o-1", CREATED, AT)
    assert (created.partition, paid.partition) == (partition_of(b"o-1", 6), partition_of(b"o-1", 3))
    assert paid.topic == "payment.events"


def test_what_nobody_here_reads_goes_to_its_topic_too() -> None:
    """Others may read it there."""
    (record,) = placed(event("u-1", "UserRegistered", "10:00:00.000", user_id="c-1", email="a@example.com"))
    assert (record.topic, record.partition) == ("user.events", partition_of(b"c-1", 3))


def test_a_record_keeps_what_it_says_of_itself() -> None:
    """Topic, key, partition, headers and timestamp."""
    line = as_record(topic="payment.events", partition=1, key="pay-1", value=CREATED.decode(), headers={"a": "b"}, timestamp=5)
    (record,) = placed(line)
    assert (record.topic, record.partition, record.key, record.headers, record.timestamp) == (
        "payment.events",
        1,
        b"pay-1",
        (("a", b"b"),),
        5,
    )


@pytest.mark.parametrize("partition", [None, 6, 99])
def test_without_a_partition_that_there_is_the_key_decides(partition: int | None) -> None:
    """A recording may be of topics that were cut otherwise."""
    (record,) = placed(as_record(topic="order.events", partition=partition, value=CREATED.decode()))
    assert (record.key, record.partition) == (b"o-1", partition_of(b"o-1", 6))


def test_records_without_a_key_are_spread() -> None:
    """Over all partitions, in turn."""
    line = as_record(topic="order.events", key=None, value="rubbish")
    assert [record.partition for record in placed(*[line] * 7)] == [0, 1, 2, 3, 4, 5, 0]


@pytest.mark.parametrize(
    "line", [b"rubbish", b"[]", b'{"hello":"world"}', event("e-1", "NeverHeardOf", "10:00:00.000"), as_record(topic="no.where", value="x")]
)
def test_a_line_without_a_topic_of_ours_goes_where_workers_look_at_it(line: bytes) -> None:
    """With the place that it has in the file: its dead letter is the one that a replay in memory would write."""
    _, record = placed(CREATED, line)
    assert (record.topic, record.partition, record.timestamp) == ("shop-unread", 0, AT)
    in_memory = Embedded(saga("orchestrated"), Options(), app="shop")
    expected = [in_memory.record(*draft(each)) for each in (CREATED, line)][1]
    in_memory.log.store.close()
    letters = [letter(each, Failure("malformed", "Bad", ""), Order(0, 1, 0), AT) for each in (original(record), expected)]
    assert letters[0].headers == letters[1].headers
    assert (letters[0].key, letters[0].value) == (letters[1].key, letters[1].value)


def test_dead_letters_of_another_run_are_tried_again() -> None:
    """What stands in the topic of dead letters nobody reads: a mended letter goes where it is read."""
    (record,) = placed(as_record(topic="dead-letter-queue", key="o-1", value=CREATED.decode()))
    assert (record.topic, record.key, original(record).topic) == ("shop-unread", b"o-1", "dead-letter-queue")


@pytest.mark.parametrize("name", [SAID, ORIGIN])
def test_what_workers_tell_one_another_is_not_a_file_s_to_say(name: str) -> None:
    """A record that a worker once wrote would be taken for what the new one has said, and passed over."""
    (record,) = placed(as_record(topic="order.events", value=CREATED.decode(), headers={"a": "b", name: "3"}))
    assert record.headers == (("a", b"b"),)


def test_an_unbelievable_clock_moves_nothing() -> None:
    """Its own record keeps its time; the lines after it that have none do not get it."""
    far = event("e-9", "UserRegistered", "10:00:00.000", user_id="c-1", email="a@example.com").replace(b"2025-", b"2099-")
    _, ahead, rubbish = placed(CREATED, far, b"rubbish")
    assert (ahead.timestamp > AT, rubbish.timestamp) == (True, AT)


def test_the_size_of_a_record_is_all_that_it_carries() -> None:
    """Key, value and headers; null weighs nothing."""
    (record,) = placed(as_record(topic="order.events", key="k", value="12345", headers={"ab": "cde"}))
    assert size_of(record) == 11
    assert size_of(Record("a", 0, None, None, (), 0, Order(0, 0, 0))) == 0
