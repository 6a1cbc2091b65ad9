"""What cannot be applied goes to the dead letters, once, as it came, and says why; nothing else is disturbed."""

from dataclasses import replace
from struct import unpack

import msgspec
import pytest

from pipeline.log.partitioner import partition_of
from pipeline.testing.specs import NOON
from schemas.notifications import NotificationRequested
from schemas.orders import ItemAdded
from tests.agents.words import ADDED, CREATED, PAID, RESERVED
from tests.engine.agents import CLUMSY, DIARIST
from tests.engine.driver import HOUR_MS, OPTIONS, SECOND_MS, Ending, Line, line, play, record, told

DAY_MS = 24 * HOUR_MS


def added(sku: str, at_ms: int = 0, event_id: str = "") -> bytes:
    return line(ItemAdded("o-1", sku, total=CREATED.total), at_ms, event_id or f"{sku}-{at_ms}")


# --- As it came. -----------------------------------------------------------------------------------------------------

HEADERS = (("trace", b"\xff\x00"), ("trace", b"again"), ("empty", b""))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{not json", "malformed"),
        (b"\xff\xfe\x00", "malformed"),
        (None, "malformed"),
        (b"[]", "malformed"),
        (line(CREATED).replace(b'"100.00"', b'"-1"'), "invalid"),
        (line(CREATED).replace(b'"event_version":2', b'"event_version":99'), "unsupported_version"),
        (line(ADDED), "orphaned"),
    ],
)
def test_a_letter_is_the_record_as_it_came(value: bytes | None, reason: str) -> None:
    """Bytes, key, headers and timestamp are those of its sender; the reasons come behind its headers."""
    bad = record(value, topic="order.events", key=b"\x00key", headers=HEADERS)
    ending = play([bad, line(replace_order("o-9"), HOUR_MS)], options=replace(OPTIONS, lateness_ms=0))
    (letter,) = ending.letters
    assert (letter.value, letter.key, letter.timestamp) == (value, b"\x00key", NOON)
    assert letter.headers[:3] == HEADERS
    assert ending.reasons == [reason]
    assert ending.outcomes()[f"dead.{reason}"] == 1


def replace_order(order: str) -> NotificationRequested:
    changed: NotificationRequested = msgspec.structs.replace(CREATED, order_id=order)  # type: ignore[assignment]  # any message
    return changed


def test_a_letter_s_headers_are_those_that_other_tools_read() -> None:
    """Text as in KIP-1034, big-endian numbers as in Spring for Apache Kafka, our own for the rest."""
    lines: list[Line] = [
        line(CREATED, 0),
        line(RESERVED, SECOND_MS),
        record(line(ADDED, 2 * SECOND_MS), topic="order.events", key=b"o-1", at_ms=2 * SECOND_MS),
    ]
    (letter,) = play(lines).letters
    headers = dict(letter.headers)
    partition, at = partition_of(b"o-1", 6), NOON + 2 * SECOND_MS
    assert {name: told(letter, name) for name in headers if name.startswith("__streams")} == {
        "__streams.errors.exception": "Unexpected",
        "__streams.errors.message": "ItemAdded in RESERVED: the order is past taking more lines",
        "__streams.errors.topic": "order.events",
        "__streams.errors.partition": str(partition),
        "__streams.errors.offset": "2",
    }
    assert unpack(">i", headers["kafka_dlt-original-partition"]) == (partition,)
    assert unpack(">q", headers["kafka_dlt-original-offset"]) == (2,)
    assert unpack(">q", headers["kafka_dlt-original-timestamp"]) == (at,)
    assert headers["kafka_dlt-original-topic"] == b"order.events"
    assert headers["kafka_dlt-exception-fqcn"] == headers["__streams.errors.exception"]
    assert headers["kafka_dlt-exception-message"] == headers["__streams.errors.message"]
    assert {name: told(letter, f"orderflow-{name}") for name in ("reason", "agent", "field", "attempts")} == {
        "reason": "illegal_transition",
        "agent": "orders",
        "field": "",
        "attempts": "1",
    }
    assert unpack(">q", headers["orderflow-first-failed-at"]) == unpack(">q", headers["orderflow-last-failed-at"]) == (at,)


def test_a_letter_names_the_field() -> None:
    """Whether decoding finds it wrong or only the row does."""
    wrong = line(CREATED).replace(b'"USD"', b'"ZZZ"')
    late = line(msgspec.structs.replace(PAID, amount=PAID.amount / 100_000, currency=None), SECOND_MS)
    ending = play([wrong, line(CREATED, 0, "c"), late])
    assert [told(letter, "orderflow-field") for letter in ending.letters] == ["payload.currency", "amount"]


def test_one_record_is_one_letter() -> None:
    """However many agents hear it: the first of them speaks for all."""
    bad: list[Line] = [
        b"rubbish",
        line(ADDED, 0).replace(b'"20.00"', b'"x"'),
        record(line(PAID, 0).replace(b'"100.00"', b'"1e99"'), key=b"p"),
    ]
    for agents in ([CLUMSY], [CLUMSY, DIARIST]):
        assert len(play(bad, agents).letters) == 3


def test_letters_are_told_though_nothing_follows() -> None:
    """The last line of a file may be the bad one."""
    assert play([line(CREATED, 0), b"rubbish"]).reasons == ["malformed"]
    assert play([b"rubbish"]).reasons == ["malformed"]


def test_sensitive_numbers_do_not_get_into_the_text() -> None:
    """A card number in an error's words is masked, and words without end are cut; the record itself stays what it is."""
    (letter,) = play([added("BUG")], [CLUMSY]).letters
    text = told(letter, "__streams.errors.message")
    assert "4111" not in text
    assert text == "card *** of o-1"
    assert letter.value == added("BUG")


# --- Faults of ours. -------------------------------------------------------------------------------------------------


def fine(ending: Ending) -> list[str]:
    return [said.order_id for said in ending.messages if isinstance(said, NotificationRequested)]


def test_a_fault_in_an_agent_costs_one_record() -> None:
    """It is a letter that names agent and error; records before and after it, of its key too, are applied."""
    lines = [added("SKU1"), added("BUG", 1), added("SKU2", 2)]
    ending = play(lines, [CLUMSY])
    assert ending.outcomes() == {"applied": 2, "dead.handler_error": 1}
    assert fine(ending) == ["SKU1-0", "SKU2-2"]
    (letter,) = ending.letters
    assert (told(letter, "__streams.errors.exception"), told(letter, "orderflow-agent")) == ("ZeroDivisionError", "clumsy")
    assert ending.rows["clumsy"]["o-1"].heard == ("SKU1-0", "SKU2-2")


def test_a_fault_in_one_agent_does_not_stop_another() -> None:
    """They share a task and a record, not a fate."""
    ending = play([added("BUG"), added("SKU1", 1)], [CLUMSY, DIARIST])
    assert ending.rows["diaries"]["o-1"].heard == ("BUG-0", "SKU1-1")
    assert ending.rows["clumsy"]["o-1"].heard == ("SKU1-1",)


@pytest.mark.parametrize("batch", [1, 10])
def test_an_output_that_is_too_large_applies_nothing(batch: int) -> None:
    """No part of what was decided is said, the row is untouched, the record is a letter, and what follows is applied."""
    lines = [added("SKU1"), added("LONG", 1), added("SKU2", 2)]
    ending = play(lines, [CLUMSY], options=replace(OPTIONS, largest_record_bytes=600), batch=batch)
    assert ending.outcomes() == {"applied": 2, "dead.too_large": 1}
    assert [said.template for said in ending.messages if isinstance(said, NotificationRequested)] == ["fine", "fine"]
    assert ending.rows["clumsy"]["o-1"].heard == ("SKU1-0", "SKU2-2")
    assert (ending.reasons, ending.letters[0].value) == (["too_large"], lines[1])
    assert ending.counts["emitted.NotificationRequested"] == 2


# --- Clocks. ---------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_wrong_moves_nothing() -> None:
    """More than a day ahead of everything seen: the record is a letter, and no deadline passes because of it."""
    lines = [line(CREATED, 0), line(RESERVED, DAY_MS + SECOND_MS), line(RESERVED, SECOND_MS, "r")]
    ending = play(lines, batch=1)
    assert ending.outcomes() == {"applied": 2, "dead.invalid": 1}
    (letter,) = ending.letters
    assert told(letter, "orderflow-field") == "timestamp"
    assert letter.value == lines[1]
    assert ending.rows["orders"]["o-1"].status == "RESERVED"


def test_a_day_ahead_is_believed() -> None:
    """And counts from the newest time seen, not from the first."""
    lines = [line(replace_order(f"o-{day}"), day * DAY_MS) for day in range(4)]
    assert play(lines, [DIARIST]).outcomes() == {"applied": 4}


def test_the_first_event_of_all_is_believed() -> None:
    """There is nothing yet that it could be ahead of; what is older than it comes late, and is applied."""
    ending = play([line(CREATED, 300 * DAY_MS), line(replace_order("o-2"), 0)], [DIARIST])
    assert ending.outcomes() == {"applied": 2}
    assert ending.counts["late"] == 1


def test_an_unbelievable_clock_is_judged_line_by_line() -> None:
    """Within one feed too, and whatever it was fed together with."""
    far = [line(replace_order(f"o-{i}"), 400 * DAY_MS + i) for i in range(3)]
    lines = [line(CREATED, 0), *far, line(RESERVED, SECOND_MS)]
    for batch in (1, 2, 10):
        assert play(lines, [DIARIST], batch=batch).outcomes() == {"applied": 2, "dead.invalid": 3}
