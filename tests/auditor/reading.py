"""A small decoder of its own: one line of a file in, what was said out. Written from the specification, section 1."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, NamedTuple, NoReturn

NEWEST = {
    "OrderCreated": 2,
    "ItemAdded": 1,
    "OrderConfirmed": 1,
    "OrderShipped": 1,
    "OrderCompleted": 1,
    "OrderCancelled": 1,
    "OrderResolved": 1,
    "PaymentProcessed": 1,
    "PaymentFailed": 1,
    "PaymentRefunded": 1,
    "PaymentDisputed": 1,
    "InventoryReserved": 1,
    "InventoryShortage": 1,
    "InventoryReleased": 1,
    "ShipmentScheduled": 1,
    "ShipmentFailed": 1,
    "ShipmentCancelled": 1,
    "ShipmentDelivered": 1,
    "FraudAlertRaised": 1,
    "HoldReleased": 1,
}
"""Newest version of each type that the orders agent reads. Every other type is read by nobody."""

SYNONYMS = {"PaymentCompleted": "PaymentProcessed", "OrderPaid": "PaymentProcessed", "InventoryReserveFailed": "InventoryShortage"}
FIELD_SYNONYMS = {"product_id": "sku", "total_amount": "total"}
ENVELOPE = {
    "event_id", "event_type", "event_version", "version", "sequence", "timestamp", "aggregate_id", "aggregate_type",
    "metadata", "correlation_id", "causation_id", "source_service", "trace_id", "span_id",
}  # fmt: skip

BY_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC "
    "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW "
    "KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP "
    "PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN "
    "UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
DIGITS = {currency: digits for digits, currencies in BY_DIGITS.items() for currency in currencies.split()}
"""ISO 4217: digits of the minor unit."""
DECIMAL = r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
MOST_MINOR = 10**15
MOST_QUANTITY = 1_000_000


class Bad(Exception):
    """The record is a dead letter for this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Said(NamedTuple):
    """One event as it is understood. `kind` is empty for a type that the orders agent does not read."""

    event_id: str
    kind: str
    at: int
    """Event time in milliseconds since 1970."""
    source: str
    order_id: str
    payload: dict[str, Any]


def read(line: bytes) -> Said:
    """What the line says. Raises Bad."""
    told, headers = unwrap(parse(line))
    event_id, kind, stamp, version, source, aggregate_id, aggregate_type, payload = envelope(told, headers)
    if not (isinstance(event_id, str) and event_id and isinstance(kind, str) and kind) or stamp is None:
        raise Bad("malformed")
    at = instant(stamp)
    kind = pascal(kind)
    if kind not in NEWEST:
        return Said(event_id, "", at, source, "", {})
    if number_of(version) > NEWEST[kind]:
        raise Bad("unsupported_version")
    if not isinstance(payload, dict):
        raise Bad("invalid")
    payload = canonical_names(payload)
    order_id = payload.get("order_id") or (aggregate_id if aggregate_type != "Payment" else None)
    if kind == "OrderCreated" and number_of(version) == 1:
        payload.setdefault("currency", "USD")
    check(kind, order_id, payload)
    return Said(event_id, kind, at, source, order_id or "", payload)


def parse(line: bytes | str) -> dict[str, Any]:
    def refuse(_: str) -> NoReturn:
        raise ValueError("not JSON")

    try:
        text = line.decode() if isinstance(line, bytes) else line
        told = json.loads(text, parse_float=Decimal, parse_constant=refuse)
    except (ValueError, RecursionError, InvalidOperation):
        raise Bad("malformed") from None
    if not isinstance(told, dict):
        raise Bad("malformed")
    return told


def unwrap(told: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A line may be a bare event, or a record with a value and headers."""
    if "value" not in told or {"event_id", "eventId", "specversion"} & set(told):
        return told, {}
    value = told["value"]
    event = value if isinstance(value, dict) else parse(value if isinstance(value, str) else "")
    return event, dict(told.get("headers") or {})


def envelope(told: dict[str, Any], headers: dict[str, Any]) -> tuple[Any, Any, Any, Any, str, Any, Any, Any]:
    """Id, type, time, version, source, aggregate id, aggregate type, payload: the forms in the order of the specification."""
    if "ce_specversion" in headers:
        told = {"specversion": headers["ce_specversion"], "data": told}
        told.update((name[3:], text) for name, text in headers.items() if name.startswith("ce_"))
    if "specversion" in told:
        said = told.get("id"), told.get("type"), told.get("time"), 1, told.get("source") or ""
        return *said, told.get("subject"), None, told.get("data")
    if "eventId" in told:
        said = told["eventId"], told.get("eventType"), told.get("timestamp"), told.get("version", 1), told.get("sourceService") or ""
        return *said, told.get("aggregateId"), told.get("aggregateType"), told.get("payload")
    metadata = told["metadata"] if isinstance(told.get("metadata"), dict) else {}
    source = metadata.get("source_service") or metadata.get("source") or told.get("source_service") or ""
    head = told.get("event_id"), told.get("event_type"), told.get("timestamp")
    if "data" in told and "payload" not in told:
        return *head, told.get("event_version", 1), source, None, None, told["data"]
    if "payload" not in told:
        payload = {name: value for name, value in told.items() if name not in ENVELOPE}
        return *head, told.get("event_version", 1), source, told.get("aggregate_id"), told.get("aggregate_type"), payload
    # With event_version the canonical form, without it the older one, whose `version` is the aggregate's sequence.
    return *head, told.get("event_version", 1), source, told.get("aggregate_id"), told.get("aggregate_type"), told["payload"]


def instant(stamp: object) -> int:
    try:
        when = datetime.fromisoformat(str(stamp))
    except ValueError:
        raise Bad("invalid") from None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    since = when - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


def pascal(kind: str) -> str:
    """order.created is OrderCreated."""
    if "." in kind:
        kind = "".join(word[:1].upper() + word[1:] for word in kind.split("."))
    return SYNONYMS.get(kind, kind)


def number_of(version: object) -> int:
    found = re.fullmatch(r"v?([1-9][0-9]*)", str(version))
    if not found or isinstance(version, bool):
        raise Bad("invalid")
    return int(found[1])


@cache
def canonical_name(name: str) -> str:
    snake = re.sub("(?<=[a-z])[A-Z]", lambda found: "_" + found[0].lower(), name)
    return FIELD_SYNONYMS.get(snake, snake)


def canonical_names(told: dict[str, Any]) -> dict[str, Any]:
    """From camelCase to snake_case, and synonyms to one name; also in the lines of `items`."""
    renamed = {canonical_name(name): value for name, value in told.items()}
    if isinstance(renamed.get("items"), list):
        renamed["items"] = [canonical_names(line) if isinstance(line, dict) else line for line in renamed["items"]]
    return renamed


# --- Fields. ---------------------------------------------------------------------------------------------------------


def check(kind: str, order_id: object, payload: dict[str, Any]) -> None:
    """Raises Bad("invalid") for a field that no order could make right."""
    if kind == "FraudAlertRaised":
        needed = payload.get("action", "alert") in {"alert", "hold", "cancel"} and isinstance(order_id, str | None)
    else:
        needed = isinstance(order_id, str) and order_id != ""
    if not needed:
        raise Bad("invalid")
    if kind == "OrderCreated":
        minor(payload.get("total"), payload.get("currency"))
        if not isinstance(payload.get("customer_id"), str) or not all(is_line(one) for one in payload.get("items") or ()):
            raise Bad("invalid")
    if kind == "ItemAdded":
        if not is_line({"quantity": 1, **payload}):
            raise Bad("invalid")
        amount(payload["price"] if payload.get("total") is None and "price" in payload else payload.get("total"))
    if kind == "PaymentProcessed" and payload.get("status", "completed") not in {"completed", "succeeded", "captured"}:
        raise Bad("invalid")
    if kind in {"PaymentProcessed", "PaymentRefunded"} or (kind == "PaymentFailed" and payload.get("amount") is not None):
        if payload.get("currency") is None:
            amount(payload.get("amount"))
        else:
            minor(payload.get("amount"), payload["currency"])


def is_line(told: object) -> bool:
    if not isinstance(told, dict) or not isinstance(told.get("sku"), str):
        return False
    quantity = told.get("quantity")
    return isinstance(quantity, int) and not isinstance(quantity, bool) and 1 <= quantity <= MOST_QUANTITY


def amount(told: object) -> Decimal:
    """The decimal that was written. Raises Bad."""
    if isinstance(told, bool) or not isinstance(told, int | str | Decimal):
        raise Bad("invalid")
    if isinstance(told, str) and not re.fullmatch(DECIMAL, told):
        raise Bad("invalid")
    try:
        value = Decimal(told)
    except InvalidOperation:
        raise Bad("invalid") from None
    if not value.is_finite() or value < 0 or value.adjusted() > 15:
        raise Bad("invalid")
    return value


def minor(told: object, currency: object) -> int:
    """Whole units of the currency's last digit. Raises Bad."""
    value = amount(told)
    digits = DIGITS.get(currency) if isinstance(currency, str) else None
    exponent = value.as_tuple().exponent
    if digits is None or not isinstance(exponent, int) or -exponent > digits:
        raise Bad("invalid")
    units = int(value.scaleb(digits))
    if units > MOST_MINOR:
        raise Bad("invalid")
    return units


def major(units: int, currency: str) -> str:
    """1230 USD is "12.30"."""
    return str(Decimal(units).scaleb(-DIGITS[currency]))
