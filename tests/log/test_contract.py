"""The contract of a log: one suite for every implementation."""

import pytest

from pipeline.log.memory import Fenced, UnknownTopic
from pipeline.log.record import TopicPartition
from tests.log.broker import Broker, MemoryBroker, Said

A0, A1 = TopicPartition("a", 0), TopicPartition("a", 1)


@pytest.fixture(params=[MemoryBroker])
def broker(request: pytest.FixtureRequest) -> Broker:
    made: Broker = request.param()
    made.create("a", 2)
    made.create("b", 1)
    return made


def values(broker: Broker, topic: str, partition: int = 0) -> list[bytes | None]:
    return [read.value for read in broker.fetch(topic, partition)]


# --- Offsets. --------------------------------------------------------------------------------------------------------


def test_a_new_topic_is_empty(broker: Broker) -> None:
    """Nothing to read, nothing committed, and the next offset is 0."""
    assert (broker.fetch("a"), broker.committed("a"), broker.end("a")) == ([], 0, 0)


def test_offsets_grow(broker: Broker) -> None:
    """Records are read in the order in which they were written, under growing offsets that all lie before the end."""
    for i in range(5):
        broker.append(Said("a", b"%d" % i))
    offsets = [read.offset for read in broker.fetch("a")]
    assert values(broker, "a") == [b"0", b"1", b"2", b"3", b"4"]
    assert offsets == sorted(set(offsets))
    assert offsets[-1] < broker.end("a")


def test_the_end_of_a_transaction_takes_an_offset(broker: Broker) -> None:
    """Offsets have holes: whoever counts on the next one being one more waits for ever."""
    producer = broker.producer("t")
    producer.commit([Said("a", b"1"), Said("a", b"2")])
    producer.commit([Said("a", b"3")])
    producer.commit([Said("a", b"4")])
    offsets = [read.offset for read in broker.fetch("a")]
    assert offsets == sorted(offsets)
    assert offsets[-1] > len(offsets) - 1
    assert broker.end("a") > offsets[-1] + 1


def test_partitions_are_separate(broker: Broker) -> None:
    """Each has its own records and its own offsets."""
    broker.append(Said("a", b"x"), Said("a", b"y", partition=1), Said("b", b"z"))
    assert (values(broker, "a"), values(broker, "a", 1), values(broker, "b")) == ([b"x"], [b"y"], [b"z"])
    assert [broker.fetch(*place)[0].offset for place in (("a", 0), ("a", 1), ("b", 0))] == [0, 0, 0]


def test_reading_starts_anywhere(broker: Broker) -> None:
    """From an offset on, whether a record has it or a marker; as many as asked for."""
    producer = broker.producer("t")
    for i in range(4):
        producer.commit([Said("a", b"%d" % i)])
    third = broker.fetch("a")[2].offset
    assert [read.value for read in broker.fetch("a", offset=third - 1, most=1)] == [b"2"]
    assert [read.value for read in broker.fetch("a", offset=third)] == [b"2", b"3"]
    assert broker.fetch("a", offset=broker.end("a")) == []


def test_a_record_is_read_as_it_was_written(broker: Broker) -> None:
    """Key, value, headers in their order and with repetitions, and the record's own time; nothing stays nothing."""
    headers = (("h", b"1"), ("other", b"\xff\0"), ("h", b""))
    broker.append(Said("a", b"v", b"k", headers=headers, timestamp=1_234), Said("a", None), Said("a", b"", b""))
    told = [read[1:] for read in broker.fetch("a")]
    assert told == [(b"k", b"v", headers, 1_234), (None, None, (), 0), (b"", b"", (), 0)]


# --- Transactions. ---------------------------------------------------------------------------------------------------


def test_a_transaction_is_visible_as_a_whole(broker: Broker) -> None:
    """Outputs of all topics, the changelog and the offsets of the inputs."""
    broker.append(Said("a", b"in"))
    broker.producer("t").commit([Said("b", b"out"), Said("a", b"more", partition=1)], offsets={A0: 1}, changelog=[(b"k", b"row")])
    assert (values(broker, "b"), values(broker, "a", 1)) == ([b"out"], [b"more"])
    assert values(broker, *broker.changelog) == [b"row"]
    assert broker.committed("a") == 1


def test_an_unknown_topic_leaves_nothing(broker: Broker) -> None:
    """One record that cannot be written, and nothing of its transaction is: no output, no row, no offset."""
    broker.append(Said("a", b"in"))
    producer = broker.producer("t")
    with pytest.raises(UnknownTopic):
        producer.commit([Said("b", b"out"), Said("nowhere", b"out")], offsets={A0: 1}, changelog=[(b"k", b"row")])
    assert values(broker, "b") == values(broker, *broker.changelog) == []
    assert broker.committed("a") == 0
    producer.commit([Said("b", b"next")])
    assert values(broker, "b") == [b"next"]


def test_a_zombie_is_fenced(broker: Broker) -> None:
    """Whoever began before the newest producer of an id commits nothing any more, however often it tries."""
    broker.append(Said("a", b"in"))
    zombie = broker.producer("t")
    zombie.commit([Said("b", b"alive")])
    heir = broker.producer("t")
    for _ in range(2):
        with pytest.raises(Fenced):
            zombie.commit([Said("b", b"dead")], offsets={A0: 1}, changelog=[(b"k", b"dead")])
    assert values(broker, "b") == [b"alive"]
    assert values(broker, *broker.changelog) == []
    assert broker.committed("a") == 0
    heir.commit([Said("b", b"heir")], offsets={A0: 1}, changelog=[(b"k", b"heir")])
    assert values(broker, "b") == [b"alive", b"heir"]
    assert broker.committed("a") == 1


def test_other_ids_are_not_fenced(broker: Broker) -> None:
    """An id is one task's; a restart of one says nothing about another."""
    one = broker.producer("t-1")
    broker.producer("t-2")
    one.commit([Said("b", b"out")])
    assert values(broker, "b") == [b"out"]


def test_a_transaction_may_be_empty(broker: Broker) -> None:
    """A chunk that only moves its offset is one too."""
    broker.append(Said("a", b"in"))
    broker.producer("t").commit(offsets={A0: 1})
    assert broker.committed("a") == 1


def test_offsets_of_several_inputs_move_together(broker: Broker) -> None:
    """A chunk merges several partitions; those it does not name stay where they are."""
    broker.append(Said("a", b"1"), Said("a", b"2", partition=1), Said("b", b"3"))
    broker.producer("t").commit(offsets={A0: 1, A1: 1})
    assert [broker.committed(*place) for place in (("a", 0), ("a", 1), ("b", 0))] == [1, 1, 0]


# --- Changelogs. -----------------------------------------------------------------------------------------------------


def test_a_changelog_keeps_the_newest_per_key(broker: Broker) -> None:
    """Read from its beginning, the last record of each key is the last that was written; deleted is deleted."""
    producer = broker.producer("t")
    producer.commit(changelog=[(b"a", b"1"), (b"b", b"1")])
    producer.commit(changelog=[(b"a", b"2"), (b"c", b"1")])
    producer.commit(changelog=[(b"b", None)])
    newest = {read.key: read.value for read in broker.fetch(*broker.changelog)}
    assert {key: value for key, value in newest.items() if value is not None} == {b"a": b"2", b"c": b"1"}


def test_a_changelog_ends_in_a_marker(broker: Broker) -> None:
    """The end lies behind the last record, so that a recovery which waits for a record there never ends."""
    broker.producer("t").commit(changelog=[(b"a", b"1"), (b"b", b"1")])
    records = broker.fetch(*broker.changelog)
    assert broker.end(*broker.changelog) > records[-1].offset + 1
    assert broker.fetch(*broker.changelog, offset=records[-1].offset + 1) == []
