"""The pipeline in memory: what is fed happens, time passes when it is told to, and everything can be looked at."""

from decimal import Decimal

import pytest

from pipeline.problem import Problem
from pipeline.testing.app import App
from pipeline.testing.specs import NOON, SECOND_MS
from schemas.codec import encode, format_instant
from schemas.inventory import InventoryReserved
from schemas.message import Envelope
from schemas.notifications import NotificationRequested
from schemas.orders import Line, OrderCompleted, OrderConfirmed, OrderCreated, ProcessPayment, ReleaseInventory, ReserveInventory
from schemas.payments import PaymentProcessed
from tables.orders import Status
from tables.stock import Stock

CREATED = OrderCreated("o-1", "c-1", Decimal("10.00"), "USD", (Line("SKU001", 1),))
RESERVED = InventoryReserved("o-1")
PAID = PaymentProcessed("o-1", Decimal("10.00"), "p-1")
SEEN = {"event_type": "InventoryReserved", "order_id": "o-1"}


def test_what_follows_has_happened_when_feed_returns(orderflow_app: App) -> None:
    """No waiting, no polling: rows and emitted messages are there."""
    orderflow_app.feed(CREATED, RESERVED, PAID)
    assert orderflow_app.order("o-1").status is Status.PAID
    assert orderflow_app.emitted[OrderConfirmed] == [OrderConfirmed("o-1")]


def test_every_test_has_an_app_of_its_own(orderflow_app: App) -> None:
    """Nothing of another test is left."""
    assert orderflow_app.order("o-1").status is Status.UNKNOWN
    assert len(orderflow_app.emitted) == 0
    assert orderflow_app.outcomes == {}


def test_a_message_has_one_meaning_in_whatever_way_it_is_fed(orderflow_app: App) -> None:
    """Message, dict, string and bytes of one event are one event: the first is applied, the others are duplicates."""
    at = NOON + SECOND_MS
    orderflow_app.feed(CREATED)
    orderflow_app.feed(Envelope("e-1", at, RESERVED))
    line = encode(Envelope("e-1", at, RESERVED))
    orderflow_app.feed({**SEEN, "event_id": "e-1", "timestamp": format_instant(at)}, line, line.decode())
    assert orderflow_app.outcomes == {"applied": 2, "duplicate": 3}


def test_what_has_no_time_comes_a_second_after_the_one_before(orderflow_app: App) -> None:
    """The first comes at noon."""
    assert orderflow_app.now == NOON
    orderflow_app.feed(CREATED, SEEN)
    assert orderflow_app.now == NOON + SECOND_MS
    assert orderflow_app.order("o-1").reserved_at == NOON + SECOND_MS


def test_a_time_can_be_named(orderflow_app: App) -> None:
    """In milliseconds or in ISO 8601; it is the first one's."""
    orderflow_app.feed(CREATED, RESERVED, at="2025-10-29T10:00:00Z")
    order = orderflow_app.order("o-1")
    assert format_instant(order.created_at or 0) == "2025-10-29T10:00:00.000Z"
    assert format_instant(order.reserved_at or 0) == "2025-10-29T10:00:01.000Z"
    orderflow_app.feed(PAID, at=orderflow_app.now + 5 * SECOND_MS)
    assert format_instant(orderflow_app.order("o-1").paid_at or 0) == "2025-10-29T10:00:06.000Z"


def test_a_record_line_keeps_its_topic_and_headers(orderflow_app: App) -> None:
    """A dict without an event type is written as it is: a record with its headers, or a foreign form."""
    headers = {"ce_specversion": "1.0", "ce_id": "e-1", "ce_type": "inventory.reserved", "ce_time": "2025-10-30T12:00:01Z"}
    orderflow_app.feed(CREATED, {"topic": "inventory.events", "key": "o-1", "value": {"order_id": "o-1"}, "headers": headers})
    assert orderflow_app.order("o-1").status is Status.RESERVED


def test_a_deadline_passes_when_its_time_has_come_and_not_before(orderflow_app: App) -> None:
    """Fifteen minutes are fifteen minutes: nothing is late in a test that does not ask for it."""
    orderflow_app.feed(CREATED, RESERVED)
    orderflow_app.wait(minutes=14, seconds=59)
    assert orderflow_app.emitted[ReleaseInventory] == []
    orderflow_app.wait(seconds=1)
    assert [command.reason for command in orderflow_app.emitted[ReleaseInventory]] == ["payment_timeout"]


@pytest.mark.orderflow(payment_timeout_seconds=60)
def test_settings_are_those_of_the_mark(orderflow_app: App) -> None:
    """Any setting can be given, by its name."""
    orderflow_app.feed(CREATED, RESERVED)
    orderflow_app.wait(minutes=1)
    assert orderflow_app.order("o-1").status is Status.COMPENSATING


def test_the_environment_has_no_part_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test comes out alike on every machine."""
    monkeypatch.setenv("ORDERFLOW_SAGA", "a wrong one")
    monkeypatch.setenv("ORDERFLOW_PAYMENT_TIMEOUT_SECONDS", "1")
    with App() as app:
        app.feed(CREATED, RESERVED)
        app.wait(minutes=1)
        assert app.order("o-1").status is Status.RESERVED


def test_a_setting_that_cannot_be_is_refused() -> None:
    """And the error names it."""
    with pytest.raises(Problem, match="ORDERFLOW_PAYMENT_TIMEOUT_SECONDS"):
        App(payment_timeout_seconds=0)


@pytest.mark.orderflow(services="standin", stock={"SKU001": 3})
def test_the_stand_in_services_answer(orderflow_app: App) -> None:
    """With them an order comes to its end by itself, and takes its goods along."""
    orderflow_app.feed(CREATED)
    assert orderflow_app.order("o-1").status is Status.COMPLETED
    assert orderflow_app.emitted.types[-1] == "OrderCompleted"
    assert orderflow_app.row("stock", "SKU001") == Stock(sku="SKU001", received=3, on_hand=2, shipped=1)


@pytest.mark.orderflow(services="standin")
def test_without_stock_of_its_own_a_test_has_that_of_the_samples(orderflow_app: App) -> None:
    """What is sold in the demo can be sold here."""
    assert orderflow_app.row("stock", "SKU001").on_hand > 0


@pytest.mark.orderflow(saga="choreographed")
def test_both_styles_say_the_same(orderflow_app: App) -> None:
    """Who says it is another matter."""
    orderflow_app.feed(CREATED, RESERVED)
    assert orderflow_app.emitted[ReserveInventory] == [ReserveInventory("o-1", (Line("SKU001", 1),))]
    assert orderflow_app.emitted[ProcessPayment] == [ProcessPayment("o-1", "c-1", Decimal("10.00"), "USD")]
    assert orderflow_app.row("payment.reacts", "o-1").status is Status.RESERVED


def test_what_is_emitted_is_in_the_order_of_time_and_can_be_cleared(orderflow_app: App) -> None:
    """A test may look at one step only."""
    orderflow_app.feed(CREATED)
    assert orderflow_app.emitted.types == ["ReserveInventory", "NotificationRequested"]
    assert list(orderflow_app.emitted)[1] == NotificationRequested("c-1", "o-1", "order_confirmation")
    assert {said.correlation_id for said in orderflow_app.emitted.envelopes} == {"test-1"}
    orderflow_app.emitted.clear()
    orderflow_app.feed(RESERVED)
    assert orderflow_app.emitted.types == ["ProcessPayment"]


def test_a_dead_letter_tells_reason_field_and_original_bytes(orderflow_app: App) -> None:
    """Whatever cannot be read is kept as it came."""
    orderflow_app.feed(b"{cut", {"event_type": "InventoryShortage", "order_id": 7}, OrderCompleted("o-9"))
    cut, bad = orderflow_app.dead_letters
    assert (cut.reason, cut.field, cut.value, cut.agent) == ("malformed", "", b"{cut", "")
    assert (bad.reason, bad.field) == ("invalid", "payload.order_id")
    assert orderflow_app.outcomes == {"dead.invalid": 1, "dead.malformed": 1, "parked": 1}


def test_a_dead_letter_of_an_agent_names_it(orderflow_app: App) -> None:
    """What the state forbids was read, and refused."""
    orderflow_app.feed(CREATED, RESERVED, RESERVED)
    (letter,) = orderflow_app.dead_letters
    assert (letter.reason, letter.agent, letter.topic, letter.key) == ("illegal_transition", "orders", "inventory.events", b"o-1")
    assert "everything is reserved already" in letter.text


def test_what_waits_in_vain_is_orphaned(orderflow_app: App) -> None:
    """Fifteen minutes after it came, whatever it was."""
    orderflow_app.feed(PAID)
    orderflow_app.wait(minutes=15)
    assert [letter.reason for letter in orderflow_app.dead_letters] == ["orphaned"]
    assert orderflow_app.outcomes == {"dead.orphaned": 1}


def test_a_table_that_is_not_there_is_an_error(orderflow_app: App) -> None:
    """Stock has no table where nobody stands in for its service."""
    with pytest.raises(KeyError, match="stock"):
        orderflow_app.row("stock", "SKU001")
