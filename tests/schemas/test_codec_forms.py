"""Foreign forms and names: how they are told apart, and what each member of theirs means."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from schemas.codec import Unknown, decode
from schemas.fraud import FraudAlertRaised
from schemas.inventory import InventoryShortage
from schemas.message import Message
from schemas.orders import ItemAdded, Line, OrderCancelled, OrderConfirmed, OrderCreated, ReserveInventory
from schemas.payments import PaymentFailed, PaymentProcessed
from schemas.topics import CARRIER
from tests.schemas.makers import LEFT_OUT, PAYMENT, bad, event, heard, paying

AT = "2025-10-29T10:00:00Z"
ENVELOPE = {"event_id": "e-1", "timestamp": AT}
CREATED = {"order_id": "o-1", "customer_id": "c-1", "total": "12.30", "currency": "EUR"}
CE = (("ce_specversion", b"1.0"), ("ce_id", b"e-1"), ("ce_type", b"order.created"), ("ce_time", AT.encode()), ("ce_subject", b"o-1"))


def dotted(name: str) -> str:
    return "".join(f".{letter.lower()}" if letter.isupper() else letter for letter in name).strip(".")


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for kind in CARRIER for name in (kind.wire.name, *kind.wire.also)])
def test_a_dotted_type_is_the_same_as_pascal_case(name: str, kind: type[Message]) -> None:
    """order.created is OrderCreated, for every type and synonym; the payload's first missing field shows that it was known."""
    for written in (name, dotted(name)):
        raw = event(event_type=written, event_version=kind.wire.version, payload={}, aggregate_type="Payment")
        assert bad(raw).field.startswith("payload.")


@pytest.mark.parametrize(
    "name", ["order.item_added", "Item.Added", "item.added", "item-added.v2", "Order.", "ordercreated", "order_created"]
)
def test_only_known_names_are_known(name: str) -> None:
    """Words may break at dots, underscores and hyphens of a dotted name; nothing else is guessed."""
    known = {"Item.Added", "item.added"}
    raw = event(event_type=name, payload={"order_id": "o-1", "sku": "A", "total": 1})
    assert isinstance(decode(raw), Unknown) == (name not in known)


def test_an_unknown_type_is_no_error() -> None:
    """It is passed over with its id, time and flow; its payload and version are not our business."""
    raw = event(event_type="LoyaltyPointsGranted", event_version=9, payload=[1])
    assert decode(raw) == Unknown("e-1", "LoyaltyPointsGranted", 1_761_732_000_000, "e-1")


@pytest.mark.parametrize(
    ("kind", "version", "payload", "said"),
    [
        ("PaymentCompleted", 1, {"order_id": "o-1", "amount": "1.00"}, PaymentProcessed("o-1", Decimal("1.00"))),
        ("OrderPaid", 1, {"orderId": "o-1", "amount": 1.5}, PaymentProcessed("o-1", Decimal("1.5"))),
        ("PaymentProcessed", 1, {"order_id": "o-1", "amount": 1, "customerId": "c"}, PaymentProcessed("o-1", Decimal(1), user_id="c")),
        (
            "PaymentProcessed",
            1,
            {"order_id": "o-1", "amount": 1, "user_id": "u", "customer_id": "c"},
            PaymentProcessed("o-1", Decimal(1), user_id="u"),
        ),
        ("PaymentFailed", 1, {"order_id": "o-1", "paymentId": "p", "userId": "u"}, PaymentFailed("o-1", "p", "u")),
        ("InventoryReserveFailed", 1, {"order_id": "o-1", "productId": "A"}, InventoryShortage("o-1", "A")),
        ("InventoryShortage", 1, {"order_id": "o-1", "product_id": "A", "sku": "B"}, InventoryShortage("o-1", "B")),
        ("InventoryShortage", 1, {"order_id": "o-1", "product_id": "A", "sku": ""}, InventoryShortage("o-1", "A")),
        ("InventoryShortage", 1, {"order_id": "o-1", "product_id": "A", "sku": None}, InventoryShortage("o-1", "A")),
        ("ItemAdded", 1, {"order_id": "o-1", "sku": "A", "amount": "2.00"}, ItemAdded("o-1", "A", 1, Decimal("2.00"))),
        ("ItemAdded", 1, {"order_id": "o-1", "sku": "A", "unitPrice": 2, "quantity": 3}, ItemAdded("o-1", "A", 3, None, Decimal(2))),
        ("ItemAdded", 1, {"order_id": "o-1", "sku": "A", "price": 2, "totalAmount": 4}, ItemAdded("o-1", "A", 1, Decimal(4), Decimal(2))),
        ("OrderCreated", 2, {**CREATED, "total": LEFT_OUT, "total_amount": 5}, OrderCreated("o-1", "c-1", Decimal(5), "EUR")),
        ("OrderCreated", 2, {**CREATED, "total": LEFT_OUT, "totalAmount": 5}, OrderCreated("o-1", "c-1", Decimal(5), "EUR")),
        ("OrderCreated", 2, {**CREATED, "customer_id": LEFT_OUT, "userId": "u"}, OrderCreated("o-1", "u", Decimal("12.30"), "EUR")),
        (
            "ReserveInventory",
            1,
            {"order_id": "o-1", "items": [{"productId": "A", "quantity": 2}]},
            ReserveInventory("o-1", (Line("A", 2),)),
        ),
        ("FraudAlertRaised", 1, {"user_id": "u", "rule": "r", "ruleVersion": 3}, FraudAlertRaised("u", "r", 3)),
        ("FraudAlertRaised", 1, {"user_id": "u", "rule": "r", "eventIds": ["e"]}, FraudAlertRaised("u", "r", event_ids=("e",))),
        ("InventoryShortage", 1, {"orderId": "x", "order_id": "o-1", "productId": "A"}, InventoryShortage("o-1", "A")),
        ("InventoryShortage", 1, {"order_id": "o-1", "orderId": "x", "productId": "A"}, InventoryShortage("o-1", "A")),
    ],
)
def test_other_names_of_a_field_are_read_in_canonical_form_too(kind: str, version: int, payload: dict[str, Any], said: object) -> None:
    """The canonical name counts first, then the synonyms; null and, for an optional field, nothing are as good as absent."""
    payload = {name: value for name, value in payload.items() if value is not LEFT_OUT}
    assert heard(event(event_type=kind, event_version=version, payload=payload)).payload == said


def test_the_order_is_the_aggregate_where_the_payload_names_none() -> None:
    """A payload without order_id is about its aggregate."""
    raw = event(event_type="OrderCancelled", aggregate_id="o-7", aggregate_type="Order", payload={"reason": "late"})
    assert heard(raw).payload == OrderCancelled("o-7", "late")


@pytest.mark.parametrize("aggregate_type", ["Payment", "payment", "User", "Customer"])
def test_a_payment_or_a_user_is_no_order(aggregate_type: str) -> None:
    """Money must never be booked to an order that has a payment's or a user's name."""
    refused = bad(event(aggregate_id="p-1", aggregate_type=aggregate_type, payload={"amount": "1.00"}))
    assert (refused.reason, refused.field) == ("invalid", "payload.order_id")


def test_an_aggregate_with_the_payment_s_id_is_the_payment() -> None:
    """CloudEvents cannot say what kind of thing the subject is."""
    headers = (*CE[:2], ("ce_type", b"payment.processed"), CE[3], ("ce_subject", b"p-1"))
    assert bad(b'{"payment_id": "p-1", "amount": 1}', *headers).field == "payload.order_id"
    said = heard(b'{"payment_id": "p-1", "order_id": "o-1", "amount": 1}', *headers)
    assert (said.aggregate_id, said.aggregate_type) == ("p-1", "Payment")


def test_a_payment_s_id_is_its_aggregate_s() -> None:
    """Where the payload leaves payment_id out and the aggregate is a payment."""
    raw = event(aggregate_id="p-9", aggregate_type="Payment", payload={"order_id": "o-1", "amount": "1.00"})
    assert heard(raw).payload == PaymentProcessed("o-1", Decimal("1.00"), "p-9")


def test_an_alert_takes_no_order_from_its_aggregate() -> None:
    """An alert about a user need not be about an order, also where the sender cannot say what its subject is."""
    headers = (*CE[:2], ("ce_type", b"fraud.alert.raised"), CE[3], ("ce_subject", b"u-1"))
    assert heard(b'{"user_id": "u-1", "rule": "velocity"}', *headers).payload == FraudAlertRaised("u-1", "velocity")


def test_the_operator_is_never_the_customer() -> None:
    """metadata.user_id is kept apart from the payload's user."""
    said = heard(event(metadata={"user_id": "clerk"}, payload={"order_id": "o-1", "amount": 1}))
    assert isinstance(said.payload, PaymentProcessed)
    assert (said.user_id, said.payload.user_id) == ("clerk", "")


@pytest.mark.parametrize("metadata", [LEFT_OUT, None, {}, {"correlation_id": None}, {"correlation_id": ""}])
def test_an_event_without_a_flow_begins_its_own(metadata: object) -> None:
    """Absent, null and empty correlation ids are the event's own id."""
    assert heard(event(metadata=metadata)).correlation_id == "e-1"


def test_a_message_without_an_aggregate_is_about_its_own_order() -> None:
    """So that every form gives the same envelope."""
    said = heard(event())
    assert (said.aggregate_id, said.aggregate_type) == ("o-1", "Order")


def test_cloud_events_come_before_camel_case_and_all_others() -> None:
    """The specversion decides even where the marks of all other forms are there."""
    mark: dict[str, Any] = {"specversion": "1.0", "id": "e-3", "type": "order.confirmed", "time": AT, "data": {"order_id": "o-3"}}
    for raw in (event(**mark), event(**mark, eventId="e-2")):
        assert (heard(raw).event_id, heard(raw).payload) == ("e-3", OrderConfirmed("o-3"))


def test_camel_case_comes_before_the_canonical_form() -> None:
    """An eventId decides though everything canonical is there and right."""
    assert heard(event(eventId="e-2", eventType="PaymentProcessed")).event_id == "e-2"


@pytest.mark.parametrize(("version", "currency"), [(1, "USD"), ("1", "USD"), (LEFT_OUT, "USD"), (None, "USD"), (2, None), ("v2", None)])
def test_a_camel_case_version_is_the_payload_s(version: object, currency: str | None) -> None:
    """Version 1 of OrderCreated is in dollars, version 2 must say its currency."""
    payload = {"orderId": "o-1", "customerId": "c-1", "totalAmount": 1}
    raw = event({"eventId": "e", "eventType": "OrderCreated", "timestamp": AT, "payload": payload}, version=version)
    if currency:
        assert heard(raw).payload == OrderCreated("o-1", "c-1", Decimal(1), currency)
    else:
        assert bad(raw).field == "payload.currency"


def test_data_beside_a_payload_is_an_unknown_field() -> None:
    """The bus form has data and no payload."""
    assert heard(event(data={"order_id": "other"})) == heard(event())


@pytest.mark.parametrize(
    ("extension", "version"),
    [({"dataversion": "2"}, 2), ({"dataversion": 2}, 2), ({"eventversion": "v2"}, 2), ({}, 1)],
)
def test_a_cloud_event_s_payload_version_is_an_extension(extension: dict[str, object], version: int) -> None:
    """dataversion, else eventversion, else 1; only version 2 of OrderCreated needs a currency."""
    data = {name: value for name, value in CREATED.items() if name != "currency"}
    raw = msgspec.json.encode({"specversion": "1.0", "id": "e", "type": "OrderCreated", "time": AT, "data": data, **extension})
    if version == 1:
        assert heard(raw).payload == OrderCreated("o-1", "c-1", Decimal("12.30"), "USD")
    else:
        assert bad(raw).field == "payload.currency"


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-XYZ-1-01", "00-4bf92f3577b34da6a3ce929d0e0e4736"])
def test_a_broken_traceparent_is_ignored(traceparent: str) -> None:
    """W3C trace context section 4.3: what cannot be parsed is as if it were not there."""
    said = heard(msgspec.json.encode(CREATED), *CE, ("ce_traceparent", traceparent.encode()))
    assert (said.trace_id, said.span_id) == ("", "")


def test_a_binary_cloud_event_needs_no_data() -> None:
    """An event that says nothing but its subject."""
    assert heard(b"{}", *CE[:2], ("ce_type", b"order.confirmed"), *CE[3:]).payload == OrderConfirmed("o-1")


def test_a_structured_cloud_event_in_kafka_is_not_binary() -> None:
    """Its content type says so (Kafka binding 3.3), whatever headers a bridge added."""
    raw = msgspec.json.encode({"specversion": "1.0", "id": "e-2", "type": "order.confirmed", "time": AT, "subject": "o-2"})
    assert heard(raw, *CE, ("content-type", b"application/cloudevents+json; charset=UTF-8")).event_id == "e-2"


def test_headers_that_are_no_cloud_event_s_change_nothing() -> None:
    """Tracing headers and our own travel beside every record."""
    assert heard(event(), ("traceparent", b"00"), ("ce_extra", b"1")) == heard(event())


def test_bus_events_are_about_their_order_else_their_user() -> None:
    """The bus form names no aggregate."""
    of_order = event(ENVELOPE, event_type="OrderConfirmed", data={"order_id": "o-1"})
    of_user = event(ENVELOPE, event_type="user.registered", data={"user_id": "u-1"})
    assert (heard(of_order).aggregate_id, heard(of_order).aggregate_type) == ("o-1", "Order")
    assert (heard(of_user).aggregate_id, heard(of_user).aggregate_type) == ("u-1", "User")
    assert bad(event(ENVELOPE, event_type="OrderPaid", data={"user_id": "u-1", "amount": 1})).field == "payload.order_id"


@pytest.mark.parametrize("version", ["v1", "V1", "1", 1, LEFT_OUT, None])
def test_a_flat_event_s_version_may_be_loose(version: object) -> None:
    """As "v1", as "1" or as 1; where it is absent it is 1."""
    raw = event({**ENVELOPE, "event_type": "OrderPaid", "order_id": "o-1", "user_id": "u-1", "amount": 12.30}, event_version=version)
    assert heard(raw).payload == PaymentProcessed("o-1", Decimal("12.3"), user_id="u-1")


@pytest.mark.parametrize("version", ["v", "1.0", "", "vv1", "v-1", "0", 0, True, 1.0, [], "9" * 30])
def test_a_flat_event_s_version_is_still_a_version(version: object) -> None:
    """Anything else is invalid."""
    refused = bad(event({**ENVELOPE, "event_type": "OrderPaid", "order_id": "o-1", "amount": 1}, event_version=version))
    assert (refused.reason, refused.field) == ("invalid", "event_version")


def test_an_older_event_s_version_is_its_sequence() -> None:
    """And its payload is version 1: without a currency, in dollars."""
    payload = {name: value for name, value in CREATED.items() if name != "currency"}
    said = heard(event(event_type="OrderCreated", event_version=LEFT_OUT, version=7, metadata={"source": "shop"}, payload=payload))
    assert (said.sequence, said.source) == (7, "shop")
    assert said.payload == OrderCreated("o-1", "c-1", Decimal("12.30"), "USD")


def test_version_1_with_a_currency_keeps_it() -> None:
    """An upcaster fills a gap; it never overwrites."""
    assert heard(event(event_type="OrderCreated", payload=CREATED)).payload == OrderCreated("o-1", "c-1", Decimal("12.30"), "EUR")


def test_metadata_of_a_canonical_event_stands_in_metadata_only() -> None:
    """The top level is the flat form's; in canonical form it is an unknown field."""
    assert heard(event(correlation_id="flow", metadata={"source": "shop"})) == heard(event())


def test_unknown_fields_are_ignored_and_the_last_of_two_counts() -> None:
    """Wherever they stand, even where the first of two is of the wrong type."""
    raw = (
        b'{"event_id":1,"x":{},"metadata":{"y":1},'
        + event()[1:-2]
        + b',"z":[]},"payload":'
        + msgspec.json.encode(PAYMENT["payload"])
        + b"}"
    )
    assert heard(raw) == heard(event())
    assert heard(paying().replace(b'"order_id":', b'"order_id":5,"order_id":')) == heard(event())
