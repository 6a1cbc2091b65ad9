"""One order's life, written straight down from the specification, section 3. Slow, and meant to be obviously right."""

from collections.abc import Callable
from typing import Any

from tests.auditor.holdings import ANSWER_MS, HOUR_MS, MINUTE_MS, Holdings, Payment
from tests.auditor.reading import Said, minor

STOCK_MS = 5 * MINUTE_MS
PAYMENT_MS = 15 * MINUTE_MS
CARRIER_MS = 24 * HOUR_MS
HOLD_MS = 24 * HOUR_MS
TRANSIT_MS = 14 * 24 * HOUR_MS
TRIES = 5

APPLIED, IGNORED, DUPLICATE, PARKED = "applied", "ignored", "duplicates", "parked"
OPEN = {"PENDING", "RESERVED", "PAID"}
UNDONE = {"COMPENSATING", "CANCELLED"}
OWN_FACTS = {"OrderConfirmed", "OrderShipped", "OrderCompleted", "OrderCancelled"}


class Illegal(Exception):
    """Unexpected in this state: the dead letter's reason is illegal_transition."""


class Order(Holdings):
    """`hear` answers with the outcome of an event; `time_comes` is called when the earliest deadline has passed."""

    # --- Steps forward. ---

    def tell(self, fact: str) -> None:
        if fact not in self.told:
            self.told.add(fact)
            self.say(fact)

    def stock_is_there(self) -> None:
        self.status = "RESERVED"
        self.step_due = None
        if self.kept_for_order() >= self.total:
            self.paid()
        elif not self.held:
            self.ask_for_payment()

    def ask_for_payment(self) -> None:
        self.payment_asked = True
        self.say("ProcessPayment")
        self.step_due = self.now + PAYMENT_MS

    def paid(self) -> None:
        self.status = "PAID"
        self.step_due = None
        self.tell("OrderConfirmed")
        self.say("NotificationRequested")
        if not self.held:
            self.ask_for_shipment()

    def ask_for_shipment(self) -> None:
        self.shipment_asked = True
        self.say("ScheduleShipment")
        self.step_due = self.now + CARRIER_MS

    # --- Time. ---

    def next_due(self) -> int | None:
        dues = [due for due in (self.step_due, self.hold_due, self.retry_due) if due is not None]
        return min(dues) if dues else None

    def time_comes(self) -> None:
        """The earliest deadline has passed."""
        due = self.next_due()
        assert due is not None
        self.now = due
        if due == self.retry_due:
            self.ask_again()
        elif due == self.hold_due or self.status != "SHIPPED":
            # PENDING: reservation_timeout; RESERVED: payment_timeout; PAID: as ShipmentFailed; held for too long.
            self.undo()
        else:
            self.stuck = True
            self.step_due = None

    def ask_again(self) -> None:
        if self.tries == TRIES:
            self.stuck = True
            self.retry_due = None
            return
        self.retry_due = self.now + ANSWER_MS * 2**self.tries
        self.tries += 1
        if self.recall_open:
            self.say("CancelShipment")
        for payment in self.payments.values():
            if payment.given_back < payment.asked_back:
                self.say("RefundPayment")
        for _ in range(self.releases_open):
            self.say("ReleaseInventory")

    # --- What is heard. ---

    def hear(self, said: Said) -> str:
        """The outcome. Raises Illegal, or Bad for money that the order's currency cannot hold."""
        if said.kind in OWN_FACTS and said.source == "orderflow":
            return IGNORED
        if self.status == "UNKNOWN" and said.kind != "OrderCreated":
            return PARKED
        payment_id = said.payload.get("payment_id")
        fact = (said.kind, payment_id or "")
        if payment_id and fact in self.facts_seen and not self.more_of_a_refund(said):
            return DUPLICATE
        self.now = max(self.now, said.at)
        outcome = HEARS[said.kind](self, said)
        if payment_id and outcome != PARKED:
            self.facts_seen.add(fact)
        return outcome

    def more_of_a_refund(self, said: Said) -> bool:
        """One payment may be refunded in parts; only when nothing of it is left is another refund the same one again."""
        payment = self.payments.get(said.payload["payment_id"])
        return said.kind == "PaymentRefunded" and payment is not None and payment.given_back < payment.captured

    def order_created(self, said: Said) -> str:
        if self.status != "UNKNOWN":
            raise Illegal
        self.status = "PENDING"
        self.currency = said.payload["currency"]
        self.total = minor(said.payload["total"], self.currency)
        self.parts_asked = 1
        self.say("ReserveInventory")
        self.say("NotificationRequested")
        self.step_due = said.at + STOCK_MS
        return APPLIED

    def item_added(self, said: Said) -> str:
        if self.status != "PENDING":
            raise Illegal
        if said.payload.get("total") is not None:
            self.total += minor(said.payload["total"], self.currency)
        else:
            self.total += minor(said.payload["price"], self.currency) * int(said.payload.get("quantity", 1))
        self.parts_asked += 1
        self.say("ReserveInventory")
        return APPLIED

    def inventory_reserved(self, _: Said) -> str:
        if self.parts_reserved == self.parts_asked or self.status == "COMPLETED":
            raise Illegal
        self.parts_reserved += 1
        if self.status == "PENDING":
            self.stock_is_there()
        elif self.status in UNDONE:
            self.release()
        return APPLIED

    def inventory_shortage(self, _: Said) -> str:
        if self.status in UNDONE:
            return IGNORED
        if self.status not in OPEN or self.parts_reserved == self.parts_asked:
            raise Illegal
        self.undo()
        return APPLIED

    def inventory_released(self, _: Said) -> str:
        if self.releases_open == 0:
            raise Illegal
        self.releases_open -= 1
        self.close()
        return APPLIED

    def payment_processed(self, said: Said) -> str:
        if self.status == "COMPLETED":
            raise Illegal
        currency = said.payload.get("currency") or self.currency
        payment = Payment(minor(said.payload["amount"], currency), currency)
        self.payments[said.payload.get("payment_id") or said.event_id] = payment
        too_much = payment.captured
        if self.status not in UNDONE and currency == self.currency:
            too_much = min(too_much, self.kept_for_order() - self.total)
        if too_much > 0:
            self.refund(payment, too_much)
        if self.status == "RESERVED" and self.kept_for_order() >= self.total:
            self.paid()
        return APPLIED

    def payment_failed(self, _: Said) -> str:
        if self.status == "PENDING":
            return PARKED
        if self.status in UNDONE:
            return IGNORED
        if self.status != "RESERVED":
            raise Illegal
        self.undo()
        return APPLIED

    def payment_refunded(self, said: Said) -> str:
        currency = said.payload.get("currency") or self.currency
        units = minor(said.payload["amount"], currency)
        if self.refunded[currency] + units > self.captured(currency):
            if self.status == "PENDING":
                return PARKED
            raise Illegal
        self.refunded[currency] += units
        payment = self.payments.get(said.payload.get("payment_id", ""))
        if payment is not None:
            payment.given_back += units
        if self.status == "PAID" and self.total and self.refunded[self.currency] == self.captured(self.currency):
            self.undo()
        else:
            self.close()
        return APPLIED

    def payment_disputed(self, said: Said) -> str:
        if self.status == "PAID":
            self.hold(said)
        return APPLIED

    def shipment_scheduled(self, _: Said) -> str:
        if self.status in {"PENDING", "RESERVED"}:
            return PARKED
        if self.shipped or self.recall_open or self.status == "COMPLETED":
            raise Illegal
        self.shipped = True
        if self.status in UNDONE:
            self.recall()
            return APPLIED
        self.status = "SHIPPED"
        self.hold_due = None
        self.step_due = self.now + TRANSIT_MS
        self.tell("OrderShipped")
        self.say("NotificationRequested")
        return APPLIED

    def shipment_failed(self, _: Said) -> str:
        if self.status in {"PENDING", "RESERVED"}:
            return PARKED
        if self.status in UNDONE:
            return IGNORED
        if self.status != "PAID":
            raise Illegal
        self.undo()
        return APPLIED

    def shipment_cancelled(self, _: Said) -> str:
        if self.status in OPEN:
            return PARKED
        if not self.recall_open or self.status == "COMPLETED":
            raise Illegal
        self.recall_open = False
        if self.status == "SHIPPED":
            self.shipped = False
            self.undo()
        else:
            self.close()
        return APPLIED

    def shipment_delivered(self, _: Said) -> str:
        if self.status in OPEN:
            return PARKED
        if self.status == "COMPLETED":
            raise Illegal
        if self.status == "SHIPPED":
            self.status = "COMPLETED"
            self.recall_open = False
            self.step_due = None
            self.tell("OrderCompleted")
            self.close()
        return APPLIED

    def order_cancelled(self, said: Said) -> str:
        if self.status in UNDONE or (self.status == "SHIPPED" and self.recall_open):
            return IGNORED
        if self.status == "COMPLETED":
            raise Illegal
        self.cancelled_outside = True
        if self.status == "SHIPPED":
            self.now = max(self.now, said.at)
            self.recall()
        else:
            self.undo()
        return APPLIED

    def order_service_spoke(self, said: Said) -> str:
        if said.kind in self.told or self.status in UNDONE:
            return IGNORED
        self.told.add(said.kind)
        return APPLIED

    def order_resolved(self, said: Said) -> str:
        if not self.stuck:
            raise Illegal
        self.status = said.payload.get("status", "CANCELLED")
        self.stuck = False
        return APPLIED

    def fraud_alert(self, said: Said) -> str:
        action = said.payload.get("action", "alert")
        if action == "alert" or self.status not in OPEN:
            return IGNORED
        if action == "cancel":
            self.undo()
        else:
            self.hold(said)
        return APPLIED

    def hold(self, said: Said) -> None:
        if not self.held:
            self.held = True
            self.hold_due = said.at + HOLD_MS

    def hold_released(self, _: Said) -> str:
        if not self.held:
            return IGNORED
        self.held = False
        self.hold_due = None
        if self.status == "RESERVED" and not self.payment_asked:
            self.ask_for_payment()
        if self.status == "PAID" and not self.shipment_asked:
            self.ask_for_shipment()
        return APPLIED


HEARS: dict[str, Callable[[Order, Any], str]] = {
    "OrderCreated": Order.order_created,
    "ItemAdded": Order.item_added,
    "OrderConfirmed": Order.order_service_spoke,
    "OrderShipped": Order.order_service_spoke,
    "OrderCompleted": Order.order_service_spoke,
    "OrderCancelled": Order.order_cancelled,
    "OrderResolved": Order.order_resolved,
    "PaymentProcessed": Order.payment_processed,
    "PaymentFailed": Order.payment_failed,
    "PaymentRefunded": Order.payment_refunded,
    "PaymentDisputed": Order.payment_disputed,
    "InventoryReserved": Order.inventory_reserved,
    "InventoryShortage": Order.inventory_shortage,
    "InventoryReleased": Order.inventory_released,
    "ShipmentScheduled": Order.shipment_scheduled,
    "ShipmentFailed": Order.shipment_failed,
    "ShipmentCancelled": Order.shipment_cancelled,
    "ShipmentDelivered": Order.shipment_delivered,
    "FraudAlertRaised": Order.fraud_alert,
    "HoldReleased": Order.hold_released,
}
