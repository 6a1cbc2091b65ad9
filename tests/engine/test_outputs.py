"""What the pipeline says: envelopes that name their cause, ids that repeat, and books that balance."""

from collections import Counter

import msgspec
import pytest

from agents.orders import saga
from agents.standins import standins
from pipeline.replay.feed import draft
from pipeline.testing.specs import NOON
from schemas.codec import decode, encode
from schemas.message import Envelope, Message
from schemas.orders import Line, OrderCancelled, OrderConfirmed, OrderCreated, ReserveInventory
from schemas.topics import CARRIER
from tests.agents.words import CREATED, PAID, RESERVED, SCHEDULED
from tests.engine.driver import SECOND_MS, Ending, line, play
from tests.engine.histories import LEVELS, OPTIONS, mixed, stories

ITEMS = (Line("SKU001", 2), Line("SKU002", 1))
ORDERED = msgspec.structs.replace(CREATED, items=ITEMS)
STANDIN = saga("orchestrated") + standins(LEVELS)


@pytest.fixture(scope="module")
def ending() -> Ending:
    return play(stories(), STANDIN, options=OPTIONS)


def test_what_is_said_can_be_read_again(ending: Ending) -> None:
    """Each value is an envelope in canonical form: decoded and encoded again it has the same bytes."""
    for said in ending.said:
        heard = decode(said.value)
        assert isinstance(heard, Envelope)
        assert encode(heard) == said.value


def test_it_lies_on_its_own_topic_under_its_own_key(ending: Ending) -> None:
    """The registry says which; the record's time is the event's."""
    for said, envelope in zip(ending.said, ending.envelopes, strict=True):
        topic = CARRIER[type(envelope.payload)]
        assert (said.topic, said.key) == (topic.name, getattr(envelope.payload, topic.key).encode())
        assert said.timestamp == envelope.at
        assert said.headers == ()


def test_every_cause_is_known(ending: Ending) -> None:
    """Following the causes backwards one comes to an event of the input or to a deadline; the flow is that of the cause."""
    said = {envelope.event_id: envelope for envelope in ending.envelopes}
    fed: dict[str, Envelope[Message]] = {}
    for raw in stories():
        if (heard := _heard(raw)) is not None:
            fed.setdefault(heard.event_id, heard)
    for envelope in ending.envelopes:
        cause = said.get(envelope.causation_id) or fed.get(envelope.causation_id)
        if cause is not None:
            assert envelope.correlation_id == cause.correlation_id
            assert envelope.at in {cause.at, cause.at + SECOND_MS}
        assert (envelope.source, envelope.sequence) == ("orderflow", None)
    unknown = {envelope.causation_id for envelope in ending.envelopes} - said.keys() - fed.keys()
    assert all(cause[14] == "5" for cause in unknown), "what is no event is a deadline, with a derived id"


def _heard(raw: bytes) -> Envelope[Message] | None:
    try:
        said = draft(raw)
        heard = decode(said.value, said.headers)
    except Exception:  # noqa: BLE001  # whatever is wrong with it, it causes nothing
        return None
    return heard if isinstance(heard, Envelope) else None


def test_an_id_is_one_thing(ending: Ending) -> None:
    """Equal ids are repeats of one command, asked again because nobody answered: same bytes but for the cause and time."""
    by_id: dict[str, set[bytes]] = {}
    for envelope in ending.envelopes:
        by_id.setdefault(envelope.event_id, set()).add(msgspec.json.encode(envelope.payload))
    assert all(len(payloads) == 1 for payloads in by_id.values())
    repeated = {type(e.payload).__name__ for e in ending.envelopes if Counter(o.event_id for o in ending.envelopes)[e.event_id] > 1}
    assert repeated <= {"ReleaseInventory", "RefundPayment", "CancelShipment", "InventoryReleased", "PaymentRefunded", "ShipmentCancelled"}


def test_the_same_work_repeats_the_same_ids() -> None:
    """In another run, another chunk, another style of the saga: a command's id says what it is for."""
    lines = [line(ORDERED, 0), line(RESERVED, SECOND_MS), line(PAID, 2 * SECOND_MS), line(SCHEDULED, 3 * SECOND_MS)]
    one, other = play(lines), play(lines, saga("choreographed"), batch=1)
    assert [e.event_id for e in one.envelopes] == [e.event_id for e in play(lines, batch=1).envelopes]
    assert {e.event_id for e in one.envelopes} == {e.event_id for e in other.envelopes}


def test_another_cause_gives_other_ids_but_to_commands() -> None:
    """A fact of another event is another fact; this order's reservation stays this order's reservation."""
    one, other = (play([line(ORDERED, 0, event_id)]).envelopes for event_id in ("a", "b"))
    ids = {type(e.payload): e.event_id for e in one}, {type(e.payload): e.event_id for e in other}
    assert {kind.__name__ for kind in ids[0] if ids[0][kind] == ids[1][kind]} == {"ReserveInventory", "NotificationRequested"}


def test_our_own_facts_read_back_are_ignored() -> None:
    """From our own log, and from a file that holds what we said once; in any state."""
    facts = (OrderConfirmed("o-1"), OrderCancelled("o-1"))
    lines = [line(fact, i * SECOND_MS, f"{i}", source="orderflow") for i, fact in enumerate(facts)]
    lines += [line(ORDERED, 5 * SECOND_MS), *(line(fact, 6 * SECOND_MS, f"x{i}", source="orderflow") for i, fact in enumerate(facts))]
    ending = play(lines)
    assert ending.outcomes() == {"ignored": 4, "applied": 1}
    assert ending.rows["orders"]["o-1"].status == "PENDING"


def test_another_service_s_cancellation_is_not_ours() -> None:
    """The very same fact with another source is a wish of somebody."""
    ending = play([line(ORDERED, 0), line(OrderCancelled("o-1"), SECOND_MS, source="shop")])
    assert ending.rows["orders"]["o-1"].status == "CANCELLED"


def test_unknown_types_are_counted_and_passed_over() -> None:
    """They are no error, have no letter, and are known again."""
    strange = b'{"event_id":"x","event_type":"LoyaltyPointsEarned","event_version":7,"timestamp":"2025-10-30T12:00:00Z","payload":{}}'
    ending = play([strange, strange, line(ORDERED, SECOND_MS)], batch=1)
    assert ending.outcomes() == {"ignored": 1, "duplicate": 1, "applied": 1}
    assert ending.letters == []


def test_every_own_record_is_accounted_for(ending: Ending) -> None:
    """What is said on a topic that somebody reads is read once, and comes to one outcome."""
    read = {"order.events", "order.commands", "inventory.events", "payment.events", "shipping.events", "fraud.alerts"}
    internal = sum(ending.outcomes("internal.").values())
    assert internal == sum(said.topic in read for said in ending.said)


def test_emitted_is_what_was_said(ending: Ending) -> None:
    """Counted by type."""
    said = Counter(type(envelope.payload).wire.name for envelope in ending.envelopes)
    assert ending.outcomes("emitted.") == said


def test_the_books_balance_line_by_line() -> None:
    """After each single line: what was read is applied, duplicate, ignored, parked or dead. The driver checks after each feed."""
    ending = play(mixed(20, 8), STANDIN, options=OPTIONS, batch=1)
    assert sum(ending.outcomes().values()) == len(mixed(20, 8))
    assert set(ending.outcomes()) >= {"applied", "duplicate", "ignored", "dead.malformed", "dead.invalid", "dead.illegal_transition"}


def test_answers_come_a_second_later() -> None:
    """The services take event time: in the log and in the envelope."""
    ending = play([line(ORDERED, 0)], STANDIN, options=OPTIONS)
    times = {type(e.payload): e.at - NOON for e in ending.envelopes}
    assert times[ReserveInventory] == 0
    assert [said.order.at - NOON for said in ending.said] == sorted(said.order.at - NOON for said in ending.said)
    assert max(times.values()) == 3 * SECOND_MS
    assert ending.rows["orders"]["o-1"].status == "COMPLETED"
    assert isinstance(decode(line(ORDERED, 0)).payload, OrderCreated)  # type: ignore[union-attr]  # it is an envelope
