"""Any history: orders with several lines, payments, shortages, cancellations, holds, repetitions, rubbish, in any order of arrival."""

from decimal import Decimal
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st

from schemas.fraud import FraudAlertRaised, HoldReleased
from schemas.message import Message
from schemas.orders import ItemAdded, Line, OrderCancelled, OrderConfirmed, OrderCreated
from schemas.payments import PaymentDisputed, PaymentFailed, PaymentProcessed, PaymentRefunded
from schemas.shipping import ShipmentDelivered
from tests.engine.driver import SECOND_MS, line

LEVELS = {"A": 6, "B": 4, "NOSHIP": 5}
ORDERS = ("o-1", "o-2", "o-3")


def some(share: float) -> settings:
    """A run of the whole pipeline costs a tenth of a second: a share of the profile's examples."""
    return settings(max_examples=max(int(settings().max_examples * share), 5))


class Told(NamedTuple):
    """A message and when it happened, in seconds after noon."""

    at: int
    message: Message
    event_id: str

    @property
    def line(self) -> bytes:
        return line(self.message, self.at * SECOND_MS, self.event_id)


orders = st.sampled_from(ORDERS)
skus = st.sampled_from(sorted(LEVELS))
lines = st.lists(st.builds(Line, skus, st.integers(1, 3)), min_size=1, max_size=2).map(tuple)
totals = st.sampled_from([Decimal("10.00"), Decimal("25.13"), Decimal("99.99"), Decimal(0)])
currencies = st.sampled_from(["USD", "EUR"])
payments = st.sampled_from(["p-1", "p-2", "pay-o-1"])
creations = st.builds(OrderCreated, orders, st.just("c-1"), totals, currencies, lines)
facts: st.SearchStrategy[Message] = st.one_of(
    creations,
    st.builds(ItemAdded, orders, skus, st.integers(1, 2), totals),
    st.builds(OrderCancelled, orders, st.just("customer")),
    st.builds(PaymentProcessed, orders, totals, payments, currency=st.none() | currencies),
    st.builds(PaymentFailed, orders, payments),
    st.builds(PaymentRefunded, orders, totals, payments),
    st.builds(PaymentDisputed, orders, payments),
    st.builds(FraudAlertRaised, st.just("c-1"), st.just("rule"), action=st.sampled_from(["hold", "cancel"]), order_id=orders),
    st.builds(HoldReleased, orders),
    st.builds(ShipmentDelivered, orders),
    st.builds(OrderConfirmed, orders),
)
NO_ORDER = b'{"event_id":"x","event_type":"OrderCreated","timestamp":"2025-10-30T12:00:00Z","payload":{}}'
rubbish = st.sampled_from([b"", b"{", b"[]", NO_ORDER])


@st.composite
def histories(draw: st.DrawFn) -> list[bytes]:
    """Each order is created, mostly; then anything may be said, nearly in the order of time, some of it twice, with rubbish in between."""
    said = [Told(i, _of(draw(creations), order), f"c-{order}") for i, order in enumerate(ORDERS)]
    said = [each for each in said if draw(st.integers(0, 9))]
    for number in range(draw(st.integers(0, 12))):
        said.append(Told(draw(st.integers(0, 40)), draw(facts), f"f-{number}"))  # drawn one by one
    arriving = sorted(said, key=lambda each: each.at + draw(st.integers(0, 5)))
    raw: list[bytes] = []
    for each in arriving:
        raw += [each.line] * draw(st.sampled_from([1, 1, 1, 2]))
        if not draw(st.integers(0, 7)):
            raw.append(draw(rubbish))
    return raw


def _of(created: OrderCreated, order: str) -> OrderCreated:
    return OrderCreated(order, created.customer_id, created.total, created.currency, created.items)
