"""What an order has, owes and takes back: its money and its compensations, from the specification, section 3."""

from collections import Counter
from collections.abc import Callable

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
ANSWER_MS = 5 * MINUTE_MS


class Payment:
    """Money of one payment id, in minor units of its currency."""

    def __init__(self, captured: int, currency: str) -> None:
        self.captured = captured
        self.currency = currency
        self.asked_back = 0
        self.given_back = 0


class Holdings:
    """What was done for one order, and how it is undone. `say(type)` is called for each message that the saga emits."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.status = "UNKNOWN"
        self.currency = ""
        self.total = 0
        self.now = 0
        self.payments: dict[str, Payment] = {}
        self.refunded: Counter[str] = Counter()  # by currency
        self.facts_seen: set[tuple[str, str]] = set()  # type and payment id
        self.parts_asked = 0
        self.parts_reserved = 0
        self.releases_open = 0
        self.payment_asked = False
        self.shipment_asked = False
        self.shipped = False
        self.recall_open = False
        self.cancelled_outside = False
        self.held = False
        self.stuck = False
        self.tries = 0
        self.told: set[str] = set()  # our own facts, said by us or by the order service
        self.step_due: int | None = None
        self.hold_due: int | None = None
        self.retry_due: int | None = None

    # --- Money. ---

    def captured(self, currency: str) -> int:
        return sum(p.captured for p in self.payments.values() if p.currency == currency)

    def kept_for_order(self) -> int:
        """What was paid in the order's currency and is not on its way back."""
        return sum(p.captured - max(p.asked_back, p.given_back) for p in self.payments.values() if p.currency == self.currency)

    def refund_open(self) -> bool:
        """A refund is answered when the refunds sum to what must go back."""
        wanted: Counter[str] = Counter()
        for p in self.payments.values():
            wanted[p.currency] += max(p.asked_back, p.given_back)
        return any(self.refunded[currency] < back for currency, back in wanted.items())

    def refund(self, payment: Payment, units: int) -> None:
        payment.asked_back += units
        self.say("RefundPayment")
        self.wait_for_answer()

    # --- Compensations. ---

    def open(self) -> bool:
        return self.recall_open or self.releases_open > 0 or self.refund_open()

    def wait_for_answer(self) -> None:
        self.tries = 1
        self.retry_due = self.now + ANSWER_MS

    def undo(self) -> None:
        """The compensations of the steps that were done, in reverse order; a step asked for but unanswered is not waited for."""
        self.status = "COMPENSATING"
        self.step_due = self.hold_due = None
        self.held = False
        if self.shipped:
            self.recall()
        for payment in self.payments.values():
            left = payment.captured - max(payment.asked_back, payment.given_back)
            if left > 0:
                self.refund(payment, left)
        for _ in range(self.parts_reserved):
            self.release()
        self.close()

    def release(self) -> None:
        self.releases_open += 1
        self.say("ReleaseInventory")
        self.wait_for_answer()

    def recall(self) -> None:
        self.shipped = False
        self.recall_open = True
        self.say("CancelShipment")
        self.wait_for_answer()

    def close(self) -> None:
        if self.open():
            return
        self.retry_due = None
        self.stuck = False
        if self.status == "COMPENSATING":
            self.status = "CANCELLED"
            if not self.cancelled_outside:
                self.say("OrderCancelled")
