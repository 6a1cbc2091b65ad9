"""What must be true of every order after every message. Used by tests, the simulation, the money check and the audit."""

from collections import Counter

from tables.orders.row import UNANSWERED, Leg, Order
from tables.orders.row import Status as S

_UNDONE = frozenset((S.COMPENSATING, S.CANCELLED))
_GONE = frozenset((S.SHIPPED, S.COMPLETED))
_KNOWS_ITS_TOTAL = frozenset((S.RESERVED, S.PAID, S.SHIPPED, S.COMPLETED))
EXTRA = frozenset(("extra_payment", "other_currency"))
"""Why money goes back of an order that goes on."""


def broken_laws(order: Order) -> list[str]:
    """The laws of domain.md section 3 that this row breaks, in words; empty for a row that may be.

    A person's OrderResolved may end an order unpaid or unshipped; the laws about that then do not bind.
    """
    return [law for law, broken in _laws(order) if broken]


def _laws(order: Order) -> list[tuple[str, bool]]:
    status, payments, total_minor = order.status, order.payments, order.total_minor
    commanded = [refund for payment in payments for refund in payment.refunds]
    compensations = order.compensations()
    unanswered = any(compensation.leg in UNANSWERED for compensation in compensations)
    own = sum(payment.captured_minor for payment in payments if payment.currency == order.currency)
    by_person = order.resolved_by is not None
    settled = any(compensation.leg is Leg.SETTLED for compensation in compensations)
    return [
        (
            "more is refunded than was captured",
            any(p.refunded_minor > p.captured_minor for p in payments),
        ),
        (
            "more is commanded back than was captured",
            any(p.returning_minor > p.captured_minor for p in payments),
        ),
        (
            "two refunds answer to the same money",
            any(sum(r.amount_minor for r in p.refunds) > p.captured_minor for p in payments),
        ),
        (
            "money stays with an order that is undone",
            status in _UNDONE and any(p.staying_minor for p in payments),
        ),
        (
            "something is kept of a cancelled order though its compensations are answered",
            status is S.CANCELLED and not unanswered and not settled and any(order.kept.values()),
        ),
        (
            "stock or a shipment stays with an order that is undone",
            status in _UNDONE and any(compensation.leg is Leg.DONE for compensation in compensations),
        ),
        (
            "an order is cancelled that nobody announced",
            status is S.CANCELLED and not order.cancelled,
        ),
        (
            "an order waits for compensations though all are answered",
            status is S.COMPENSATING and not unanswered,
        ),
        (
            "more is kept than was authorised",
            status in _KNOWS_ITS_TOTAL and order.staying_minor > total_minor,
        ),
        (
            "money of another currency is kept",
            any(p.staying_minor for p in payments if p.currency != order.currency),
        ),
        (
            "shipped or completed unpaid",
            status in _GONE and not by_person and (order.paid_at is None or own < total_minor),
        ),
        (
            "shipped without stock",
            status in _GONE and not by_person and order.reserved_at is None,
        ),
        (
            "a refund of a completed order is commanded that is not of extra money",
            status is S.COMPLETED and not by_person and any(refund.reason not in EXTRA for refund in commanded),
        ),
        (
            "stock of an order that goes on is released",
            any(r.tries and order.status not in _UNDONE for r in order.reservations) and not by_person,
        ),
        (
            "both completed and undone",
            status is S.COMPLETED and bool(order.undone_for) and not by_person,
        ),
        (
            "an ended or undone order is held",
            order.held and status not in {S.PENDING, S.RESERVED, S.PAID},
        ),
    ]


def unbalanced(order: Order) -> dict[str, int]:
    """What of this order's money is not as a law wants it, in minor units by currency; empty where all is right.

    Refunded beyond what was captured; kept of an order that is undone and not on its way back; kept beyond the total of one that goes on.
    """
    wrong: Counter[str] = Counter()
    staying: Counter[str] = Counter()
    for payment in order.payments:
        wrong[payment.currency] += max(payment.refunded_minor - payment.captured_minor, 0)
        staying[payment.currency] += max(payment.staying_minor, 0)
    if order.status in _UNDONE:
        answered = not any(c.leg in UNANSWERED or c.leg is Leg.SETTLED for c in order.compensations())
        kept = order.kept if order.status is S.CANCELLED and answered else staying
        wrong.update({currency: max(amount, 0) for currency, amount in kept.items()})
    elif order.status in _KNOWS_ITS_TOTAL:
        staying[order.currency] = max(staying[order.currency] - order.total_minor, 0)
        wrong.update(staying)
    return {currency: amount for currency, amount in wrong.items() if amount}
