"""The topics are the registry."""

import ast
from pathlib import Path

import pytest

from schemas.message import Due, Message
from schemas.topics import CARRIER, DEAD_LETTERS, FRAUD_RULES, PAYMENT_EVENTS, TOPICS, topic_of

ROOM = Path(__file__).parents[2] / "schemas"

AS_AGREED = {
    "order.events": ("order_id", 6, "OrderCreated ItemAdded OrderConfirmed OrderShipped OrderCompleted OrderCancelled OrderResolved"),
    "payment.events": ("order_id", 3, "PaymentProcessed PaymentFailed PaymentRefunded PaymentDisputed"),
    "inventory.events": ("order_id", 6, "InventoryReserved InventoryShortage InventoryReleased"),
    "shipping.events": ("order_id", 6, "ShipmentScheduled ShipmentFailed ShipmentCancelled ShipmentDelivered"),
    "user.events": ("user_id", 3, "UserRegistered"),
    "order.commands": ("order_id", 6, "ReserveInventory ReleaseInventory ProcessPayment RefundPayment ScheduleShipment CancelShipment"),
    "notification.events": ("customer_id", 3, "NotificationRequested"),
    "fraud.alerts": ("user_id", 3, "FraudAlertRaised HoldReleased"),
    "fraud.rules": ("rule_id", 1, "FraudRuleChanged"),
    "dead-letter-queue": ("", 1, ""),
    "late-events": ("", 1, ""),
}


def test_the_topics_are_as_agreed() -> None:
    """Names, keys and partitions are the contract with the services around."""
    said = {topic.name: (topic.key, topic.partitions, " ".join(kind.wire.name for kind in topic.carries)) for topic in TOPICS}
    assert said == AS_AGREED


def test_one_topic_carries_a_type() -> None:
    """A type's topic is never a question, and no two types share a name."""
    carried = [kind for topic in TOPICS for kind in topic.carries]
    names = [name for kind in carried for name in (kind.wire.name, *kind.wire.also)]
    assert len(carried) == len(CARRIER)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", CARRIER, ids=lambda kind: kind.wire.name)
def test_a_message_has_the_key_of_its_topic(kind: type[Message]) -> None:
    """Else its record could not be keyed; what it is once per are fields of it too."""
    assert topic_of(kind).key in kind.__struct_fields__
    assert set(kind.wire.once_per) <= set(kind.__struct_fields__)
    assert kind.__name__ == kind.wire.name


def test_what_is_special_about_a_topic() -> None:
    """Payments may be keyed by payment; rules are compacted; letters are keyed as the record was; deadlines never travel."""
    assert [topic for topic in TOPICS if not topic.trusted_key] == [PAYMENT_EVENTS]
    assert [topic for topic in TOPICS if topic.compacted] == [FRAUD_RULES]
    assert DEAD_LETTERS.carries == ()
    with pytest.raises(KeyError):
        topic_of(Due)


@pytest.mark.parametrize("file", sorted(ROOM.rglob("*.py")), ids=lambda file: file.name)
def test_the_room_is_pure(file: Path) -> None:
    """No clocks, no files, no environment, no float: what is said depends on the words alone."""
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)}
    assert called.isdisjoint({"open", "print", "input", "float", "datetime.now", "datetime.utcnow", "datetime.fromtimestamp", "time.time"})
