"""An agent hears what is about its key, whatever key the record came with, and each key in the order of time."""

from decimal import Decimal

import msgspec

from pipeline.log.partitioner import partition_of
from pipeline.replay.feed import Draft
from schemas.message import Message
from schemas.users import UserRegistered
from tests.agents.words import ADDED, CREATED, DECLINED, PAID, RESERVED, SCHEDULED
from tests.engine.agents import DIARIST
from tests.engine.driver import SECOND_MS, Ending, Line, line, play, record, told


def heard(ending: Ending, order: str = "o-1") -> list[str]:
    return list(ending.rows["diaries"][order].heard) if order in ending.rows["diaries"] else []


def of(order: str, message: Message) -> Message:
    return msgspec.structs.replace(message, order_id=order)


def paid(key: bytes | None, event_id: str, at_ms: int = 0, order: str = "o-1") -> Draft:
    return record(line(of(order, PAID), at_ms, event_id), topic="payment.events", key=key, at_ms=at_ms)


def test_a_payment_keyed_by_its_payment_id_reaches_its_order() -> None:
    """Services key payments as they like: by order, by payment, by nothing."""
    ending = play([paid(b"p-1", "a"), paid(None, "b"), paid(b"o-1", "c"), paid(b"", "d")], [DIARIST])
    assert heard(ending) == ["a", "b", "c", "d"]
    assert ending.outcomes() == {"applied": 4}


def test_an_order_event_with_a_wrong_key_reaches_its_order() -> None:
    """It is read in place where its key is right, and re-keyed where it is not; a missing key is a wrong one."""
    wrong: list[Line] = [
        record(line(ADDED, 0, name), topic="order.events", key=key) for name, key in (("a", b"wrong"), ("b", None), ("c", b"o-1"))
    ]
    ending = play(wrong, [DIARIST])
    assert sorted(heard(ending)) == ["a", "b", "c"]
    assert ending.outcomes() == {"applied": 3}


def test_an_event_on_another_topic_is_heard() -> None:
    """The type decides who hears it, not where it was written."""
    elsewhere: list[Line] = [
        record(line(PAID, 0, "a"), topic="order.events", key=b"o-1"),
        record(line(CREATED, 1, "b"), topic="payment.events", key=b"o-1", at_ms=1),
        record(line(ADDED, 2, "c"), topic="somewhere.else", key=b"x", at_ms=2),
    ]
    assert heard(play(elsewhere, [DIARIST])) == ["a", "b", "c"]


def test_equal_times_keep_the_order_of_the_lines() -> None:
    """Five topics, read in place or re-keyed, one moment: the order is that of the file."""
    messages = (CREATED, PAID, RESERVED, DECLINED, SCHEDULED, ADDED)
    for turn in range(len(messages)):
        lines = [line(message, 0, f"{i}") for i, message in enumerate(messages[turn:] + messages[:turn])]
        for batch in (1, 4, 100):
            assert heard(play(lines, [DIARIST], batch=batch)) == ["0", "1", "2", "3", "4", "5"]


def test_keys_keep_their_order_over_all_partitions() -> None:
    """Forty orders, interleaved, their payments under keys of any partition."""
    orders = [f"o-{i}" for i in range(40)]
    assert {partition_of(order.encode(), 6) for order in orders} == set(range(6))
    lines: list[bytes | Draft] = []
    for step in range(6):
        for i, order in enumerate(orders):
            at_ms = step * SECOND_MS
            is_payment = (i + step) % 2
            name = f"{order}/{step}"
            lines.append(paid(b"p-%d" % i, name, at_ms, order) if is_payment else line(of(order, RESERVED), at_ms, name))
    ending = play(lines, [DIARIST], batch=25)
    assert {order: heard(ending, order) for order in orders} == {order: [f"{order}/{step}" for step in range(6)] for order in orders}


def test_what_nobody_hears_is_counted_where_it_is_read() -> None:
    """Lines of topics without a reader, and of types without an agent, are ignored; none is lost from the books."""
    lines: list[Line] = [line(UserRegistered("c-1"), 0, "u"), record(line(UserRegistered("c-1"), 1, "v"), topic="order.events", key=b"c-1")]
    assert play([*lines, lines[0]], [DIARIST]).outcomes() == {"ignored": 2, "duplicate": 1}


def test_a_letter_tells_the_place_before_the_re_keying() -> None:
    """The inbox is ours alone: whoever looks for the record finds it where its sender wrote it, under the key that it had."""
    late = record(line(of("o-1", PAID), 0, "a"), topic="payment.events", key=b"p-1", headers=(("trace", b"1"),))
    refund = msgspec.structs.replace(PAID, amount=Decimal("0.001"), payment_id="p-2")
    bad = record(line(refund, SECOND_MS, "b"), topic="payment.events", key=b"p-2", headers=(("trace", b"2"),), at_ms=SECOND_MS)
    ending = play([line(CREATED, 0), late, bad])
    (letter,) = ending.letters
    assert (letter.key, letter.headers[0]) == (b"p-2", ("trace", b"2"))
    assert told(letter, "__streams.errors.topic") == "payment.events"
    assert told(letter, "__streams.errors.partition") == str(partition_of(b"p-2", 3))
    assert "orderflow-origin" not in dict(letter.headers)
