"""What comes too early waits with its row, as it came, until its time has come or its patience is at an end."""

from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import msgspec
import pytest

from pipeline.testing.specs import NOON
from schemas.codec import format_instant
from schemas.orders import ItemAdded, OrderConfirmed
from tests.agents.words import CREATED, DELIVERED, PAID, RESERVED, SCHEDULED, SHORTAGE
from tests.engine.agents import CLUMSY
from tests.engine.driver import MINUTE_MS, OPTIONS, SECOND_MS, Run, line, live, play, record, told

PATIENCE_MS = 15 * MINUTE_MS


def test_an_early_fact_is_applied_when_its_time_has_come() -> None:
    """The answers came before the question: all are applied once the order is there, in the order of their coming."""
    lines = [line(SCHEDULED, 0), line(PAID, SECOND_MS), line(RESERVED, 2 * SECOND_MS), line(CREATED, 3 * SECOND_MS)]
    ending = play(lines)
    assert ending.rows["orders"]["o-1"].status == "SHIPPED"
    assert ending.outcomes() == {"applied": 4}


def test_until_then_it_is_counted_as_parked() -> None:
    """And moves to what it comes to in the end; the sum is right at each moment."""

    async def wait(run: Run) -> None:
        await run.feed([line(SCHEDULED, 0), line(PAID, SECOND_MS)])
        assert run.pipeline.counts()["input.parked"] == 2
        await run.feed([line(CREATED, 2 * SECOND_MS)])
        assert run.pipeline.counts()["input.parked"] == 1
        await run.feed([line(RESERVED, 3 * SECOND_MS)])
        assert run.pipeline.counts()["input.parked"] == 0

    assert live(wait).outcomes() == {"applied": 4}


def test_a_parked_fact_may_come_to_nothing() -> None:
    """Applied too late for its own state it is a dead letter like any other, for the reason that holds then."""
    ending = play([line(SHORTAGE, 0), line(RESERVED, 1), line(DELIVERED, 2), line(CREATED, SECOND_MS)])
    assert ending.outcomes()["applied"] >= 2
    assert sum(ending.outcomes().values()) == 4


def test_after_its_patience_it_is_orphaned() -> None:
    """With its original bytes, key, headers and timestamp, though it was a foreign form and re-keyed."""
    raw = msgspec.json.encode(
        {
            "eventId": "a",
            "eventType": "order.paid",
            "timestamp": format_instant(NOON),
            "payload": {"orderId": "o-1", "paymentId": "p", "amount": 5},
        }
    )
    early = record(raw, topic="payment.events", key=b"p-1", headers=(("trace", b"\xff"), ("trace", b"2")))
    other = line(msgspec.structs.replace(CREATED, order_id="o-2"), PATIENCE_MS + OPTIONS.lateness_ms)
    ending = play([early, other])
    (letter,) = ending.letters
    assert ending.reasons == ["orphaned"]
    assert (letter.value, letter.key, letter.timestamp) == (raw, b"p-1", NOON)
    assert letter.headers[:2] == (("trace", b"\xff"), ("trace", b"2"))
    assert told(letter, "__streams.errors.topic") == "payment.events"
    assert told(letter, "orderflow-agent") == "orders"
    assert ending.outcomes() == {"applied": 1, "dead.orphaned": 1}


def test_it_waits_no_longer_than_its_patience() -> None:
    """A moment earlier it is applied; with the order's own event at the end of the patience it is too late."""
    for at_ms, expected in ((PATIENCE_MS - 1, {"applied": 2}), (PATIENCE_MS, {"applied": 1, "dead.orphaned": 1})):
        assert play([line(RESERVED, 0), line(CREATED, at_ms)]).outcomes() == expected


def test_each_waits_for_itself() -> None:
    """The patience of one says nothing about the next."""
    lines = [line(RESERVED, 0), line(PAID, 5 * MINUTE_MS), line(CREATED, PATIENCE_MS + SECOND_MS)]
    ending = play(lines)
    assert ending.outcomes() == {"applied": 2, "dead.orphaned": 1}
    assert ending.rows["orders"]["o-1"].payments


def test_the_number_that_waits_per_key_is_bounded() -> None:
    """What is too many becomes a letter at once; other keys have room of their own."""
    options = replace(OPTIONS, parked_per_key=3)
    lines = [line(OrderConfirmed("o-1"), i, f"a{i}") for i in range(5)] + [line(OrderConfirmed("o-2"), 9, "b")]
    ending = play(lines, options=options)
    assert ending.outcomes() == {"parked": 4, "dead.orphaned": 2}
    assert [letter.value for letter in ending.letters] == lines[3:5]


@pytest.mark.parametrize("lost", [[], ["state"]])
def test_what_waits_survives_a_restart(lost: list[str], tmp_path: Path) -> None:
    """It lies in its row, and so in the changelog."""
    first = play([line(PAID, 0), line(RESERVED, 1)], folder=tmp_path)
    for name in lost:
        rmtree(tmp_path / name)
    ending = play([line(CREATED, SECOND_MS)], folder=tmp_path, before=first.fed)
    assert first.outcomes() == {"parked": 2}
    assert ending.outcomes() == {"applied": 3}
    assert ending.rows["orders"]["o-1"].status == "PAID"


def test_a_duplicate_of_what_waits_is_a_duplicate() -> None:
    """Waiting, it has been seen."""
    assert play([line(PAID, 0), line(PAID, 0)], batch=1).outcomes() == {"parked": 1, "duplicate": 1}


def test_waiting_does_not_hold_up_others() -> None:
    """Later records of the key that can be applied are."""
    lines = [line(ItemAdded("o-1", "EARLY", total=CREATED.total), 0), line(CREATED, 1, "b"), line(CREATED, 2, "c")]
    ending = play(lines, [CLUMSY])
    assert ending.rows["clumsy"]["o-1"].heard == ("b", "c")
    assert ending.outcomes() == {"parked": 1, "applied": 2}
