"""Lines to records, and the pace at which they are fed."""

import asyncio
import base64
import json
from typing import Any

import pytest

from pipeline.clock import MonotonicClock, SteppingClock
from pipeline.replay.feed import draft, time_of
from pipeline.replay.run import How
from schemas.codec import parse_instant
from tests.replay.making import event, happy, run

CREATED = happy("o-1")[0]
AT = parse_instant("2025-10-29T10:00:00.000Z")
NO_RECORD: dict[str, tuple[Any, ...]] = {
    "topic": (5, True, ["order.events"], {}),
    "timestamp": (-1, 1.5, True, [], 1 << 62, 10**400, "yesterday", ""),
    "partition": (-1, 1.5, True, "2", 1 << 31),
}
"""What these members of a record never say."""


def as_record(**members: Any) -> bytes:
    return json.dumps(members).encode()


def test_a_bare_event_goes_where_its_type_belongs() -> None:
    """The type decides the topic, the topic which field is the key."""
    assert draft(CREATED)[:6] == ("order.events", b"o-1", CREATED, (), None, AT)


def test_a_record_keeps_what_it_says_of_itself() -> None:
    """Topic, key, headers and timestamp are the record's own; the value is a string of JSON or JSON itself."""
    said = draft(as_record(topic="payment.events", key="pay-1", value=CREATED.decode(), headers={"a": "b"}, timestamp=5, partition=2))
    assert said[:6] == ("payment.events", b"pay-1", CREATED, (("a", b"b"),), 5, AT)
    within = json.loads(CREATED)
    assert json.loads(draft(as_record(value=within)).value or b"") == within


def test_a_record_without_topic_or_key_gets_them_from_its_event() -> None:
    """What a record does not say its event says."""
    for record in (as_record(value=CREATED.decode()), as_record(topic=None, key=None, value=CREATED.decode())):
        assert draft(record)[:3] == ("order.events", b"o-1", CREATED)


@pytest.mark.parametrize(("member", "said"), [(member, said) for member, all_said in NO_RECORD.items() for said in all_said])
def test_a_record_that_cannot_be_one_is_malformed(member: str, said: object) -> None:
    """A topic that is no name, a time that is none, a partition that is no number: the whole line is one dead letter."""
    line = as_record(**{"topic": "order.events", "key": "o-1", "value": json.loads(CREATED), member: said})
    assert draft(line)[:5] == (None, None, line, (), None)
    report = run([line])
    assert (report.records, report.applied, report.dead_letters, report.problems) == (1, 0, {"malformed": 1}, [])


@pytest.mark.parametrize(
    "members",
    [{"topic": "nobody.knows"}, {"topic": None, "timestamp": None, "partition": None}, {"timestamp": "2025-10-29T10:00:00Z"}],
    ids=str,
)
def test_a_record_need_not_say_where_it_was(members: dict[str, Any]) -> None:
    """Null is as good as absent, a time may be ISO 8601, and of a topic that nobody knows the type decides."""
    assert run([as_record(value=json.loads(CREATED), **members)]).applied == 1


@pytest.mark.parametrize("mark", ["payload", "data", "event_id", "eventId", "specversion"])
def test_an_event_that_has_a_value_is_an_event(mark: str) -> None:
    """Only an object with a value and nothing of an event is a record."""
    line = as_record(**{mark: "x", "value": "1"})
    assert draft(line).value == line


@pytest.mark.parametrize(
    ("headers", "read"),
    [
        ({"a": "1", "b": {"base64": "/w=="}}, (("a", b"1"), ("b", b"\xff"))),
        ([["a", "1"], ["a", "2"]], (("a", b"1"), ("a", b"2"))),
        ({"a": 7, "b": None, "c": {"base64": "?"}}, (("a", b"7"),)),
        ([["a"], "b", 3], ()),
        ("a", ()),
        (None, ()),
    ],
    ids=["object", "pairs", "odd values", "no pairs", "text", "nothing"],
)
def test_headers_are_an_object_or_pairs(headers: object, read: object) -> None:
    """A name may come twice in pairs; bytes that are no text are base64."""
    assert draft(as_record(value=CREATED.decode(), headers=headers)).headers == read


def test_a_record_may_carry_a_binary_cloud_event() -> None:
    """The headers say what it is and when it happened."""
    headers = {"ce_specversion": "1.0", "ce_id": "e", "ce_type": "order.shipped", "ce_time": "2025-10-29T10:00:00Z", "ce_subject": "o-1"}
    line = as_record(value={"order_id": "o-1"}, headers=headers)
    assert (draft(line).topic, draft(line).key, draft(line).at, time_of(line)) == ("order.events", b"o-1", AT, AT)


def test_bytes_that_are_no_text_come_as_base64() -> None:
    """A dead letter that was written out can be fed again."""
    line = as_record(topic="order.events", key_base64=base64.b64encode(b"\xff").decode(), value_base64=base64.b64encode(b"\xfe").decode())
    assert draft(line)[:6] == ("order.events", b"\xff", b"\xfe", (), None, None)


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"\xff\x00", b'{"value":', b'{"value":1}', b'{"value":null}', b'"value"', b"[" * 100_000 + b'"value"']
)
def test_what_cannot_be_read_is_a_record_all_the_same(line: bytes) -> None:
    """A bad line has no topic and no time; it is one dead letter, and the run goes on."""
    said = draft(line)
    assert (said.topic, said.at, time_of(line)) == (None, None, None)
    report = run([line])
    assert (report.records, report.events, report.dead_letters, report.problems) == (1, 0, {"malformed": 1}, [])


def test_a_huge_line_is_too_large() -> None:
    """More than 1 MiB is a dead letter that says so."""
    assert run([b'{"a":"' + b"x" * (1 << 20) + b'"}']).dead_letters == {"too_large": 1}


def test_event_time_passes_as_fast_as_it_is_told_to() -> None:
    """At speed 60 a minute of event time takes a second; lateness and rubbish are not waited for, and the sum is exact."""
    clock = SteppingClock()
    lines = [*happy("o-1"), b"rubbish", *happy("o-2", minute=10), *happy("o-3", minute=3)]
    report = run(lines, how=How(speed=60, clock=clock))
    assert report.records == len(lines)
    assert sum(clock.slept) == pytest.approx(604 / 60)
    assert max(clock.slept) <= 1.0


def test_a_wrong_clock_is_not_waited_for() -> None:
    """An event that is years ahead does not make anybody sleep."""
    clock = SteppingClock()
    run([*happy("o-1"), CREATED.replace(b"2025", b"2099")], how=How(speed=1, clock=clock))
    assert sum(clock.slept) == pytest.approx(4)


def test_the_pace_changes_nothing_else() -> None:
    """Fed one by one or all at once, the same comes out."""
    lines = [*happy("o-1"), event("x", "OrderCancelled", "10:00:09", order_id="o-2")]
    fast, slow = run(lines), run(lines, how=How(speed=1_000, clock=SteppingClock()))
    assert (fast.applied, fast.parked, fast.emitted, fast.money) == (slow.applied, slow.parked, slow.emitted, slow.money)


def test_sleeping_really_sleeps() -> None:
    """The machine's clock moves on by what was slept."""
    clock = MonotonicClock()
    began = clock.now()
    asyncio.run(clock.sleep(0.01))
    assert clock.now() - began >= 0.01
