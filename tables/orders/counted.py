"""What is known of all orders at any time without reading them: how many stand where, what money came and went, and what is wrong."""

from collections.abc import Mapping

from tables.orders.laws import unbalanced
from tables.orders.row import Order

STUCK = "stuck"
CURRENCY = "currency."
"""Before a currency: orders in it."""
CAPTURED, REFUNDED, UNBALANCED = "captured.", "refunded.", "unbalanced."
"""Before a currency: minor units."""


def counted(before: Order, after: Order) -> Mapping[str, int]:
    """What this step adds: orders per status and per currency, those that are stuck, money that moved, and money that is wrong."""
    steps: dict[str, int] = {}
    if after.status is not before.status:
        if before.created:
            steps[before.status.value] = -1
        else:
            steps[CURRENCY + after.currency] = 1
        steps[after.status.value] = 1
    if after.payments is not before.payments:
        _move(steps, CAPTURED, before.captured, after.captured)
        _move(steps, REFUNDED, before.refunded, after.refunded)
    if not (_as_planned(before) and _as_planned(after)):
        if after.stuck != before.stuck:
            steps[STUCK] = after.stuck - before.stuck
        for sign, order in ((-1, before), (1, after)):
            for currency, amount_minor in unbalanced(order).items():
                steps[UNBALANCED + currency] = steps.get(UNBALANCED + currency, 0) + sign * amount_minor
    return steps


def _move(steps: dict[str, int], name: str, before: Mapping[str, int], after: Mapping[str, int]) -> None:
    for currency in {**before, **after}:
        if minor := after.get(currency, 0) - before.get(currency, 0):
            steps[name + currency] = minor


def _as_planned(order: Order) -> bool:
    """At a glance, as it is asked at every step: nothing turned back, and no money too much. Such an order is neither stuck nor wrong."""
    if order.undone_for or order.cancel_asked_for or order.overdue:
        return False
    payments = order.payments
    if not payments:
        return True
    first = payments[0]
    if len(payments) > 1 or first.refunds or first.refunded_minor:
        return False
    return first.currency == order.currency and first.captured_minor <= order.total_minor
