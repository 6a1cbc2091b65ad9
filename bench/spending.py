"""The workload of the peer kit, declared as any user would: the newest payment of each order, and what each user spends in five minutes.

Or, instead of that one rule, the fraud rules that are shipped.
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import msgspec

from agents.agent import Agent, AnyAgent, Deadline, Says
from agents.fraud import fraud
from pipeline.composition import rules
from schemas.message import Due, Envelope, Event, Instant, Message, Wire
from schemas.payments import PaymentProcessed
from schemas.topics import DEAD_LETTERS, FRAUD_ALERTS, FRAUD_RULES, LATE, Topic
from tables.table import Row, Table
from tables.windows import Pane, Panes, Tumbling

THRESHOLD_CENTS = 1_000_000
PARTITIONS = 4
FIVE_MINUTES = Tumbling(300_000)
GRACE_MS = 60_000
"""A window stays open for so long behind its end, besides the lateness of the watermark."""


class SpendingAlert(Event, frozen=True):
    """A user has spent more than 10,000.00 within five minutes."""

    wire = Wire("SpendingAlert")

    user_id: str
    window_start: Instant
    sum_cents: int
    count: int
    event_id: str


def topics(payments: str, alerts: str, *, shipped: bool = False) -> tuple[Topic, ...]:
    """Payments keyed by user, and alerts for readers that know no envelope; with the `shipped` rules theirs, too."""
    return (
        Topic(payments, key="user_id", partitions=PARTITIONS, carries=(PaymentProcessed,)),
        Topic(alerts, key="user_id", partitions=PARTITIONS, carries=(SpendingAlert,), bare=True),
        *((msgspec.structs.replace(FRAUD_ALERTS, partitions=PARTITIONS), FRAUD_RULES) if shipped else ()),
        DEAD_LETTERS,
        LATE,
    )


class PaidOrder(Row, frozen=True):
    """What the newest payment of an order says."""

    status: str = ""
    amount: Decimal = Decimal(0)
    event_id: str = ""


class Spending(Row, frozen=True):
    """What one user has paid in each window that is open, in cents."""

    panes: Panes = ()


def _paid(order: PaidOrder, heard: Envelope[Message]) -> PaidOrder:
    match heard.payload:
        case PaymentProcessed(status=status, amount=amount):
            return PaidOrder(status, amount, heard.event_id)
    return order


def _remember(_order: PaidOrder, _heard: Envelope[Message]) -> Says:
    return ()


def _spent(user: Spending, heard: Envelope[Message], _watermark: Instant) -> Spending:
    payment = heard.payload
    if isinstance(payment, PaymentProcessed):
        cents, at = payment.amount_minor("USD"), heard.at
        return Spending(FIVE_MINUTES.add(user.panes, Pane(at, at, 1, cents, cents, cents), 0))
    if isinstance(payment, Due):
        return Spending(tuple(pane for pane in user.panes if FIVE_MINUTES.expires(pane) + GRACE_MS > heard.at))
    return user


def _watch(*, every: bool) -> Callable[[Spending, Envelope[Message], Instant], Says]:
    def decide(user: Spending, heard: Envelope[Message], _watermark: Instant) -> Says:
        payment = heard.payload
        if not isinstance(payment, PaymentProcessed):
            return ()
        start, before, count = FIVE_MINUTES.start(heard.at), 0, 0
        for pane in user.panes:
            if pane.start == start:
                before, count = pane.total, pane.count
        cents = before + payment.amount_minor("USD")
        if every or before <= THRESHOLD_CENTS < cents:
            return (SpendingAlert(payment.user_id, start, cents, count + 1, heard.event_id),)
        return ()

    return decide


def _closes(user: Spending) -> Deadline | None:
    return Deadline(FIVE_MINUTES.expires(user.panes[0]) + GRACE_MS, "window") if user.panes else None


def _orders(name: str) -> AnyAgent:
    table = Table(name, PaidOrder, "order_id", PARTITIONS, _paid, lambda _key: PaidOrder(), spread_by="user_id")
    return Agent(name=name, hears=(PaymentProcessed,), table=table, decide=_remember)


def _placed(agent: AnyAgent) -> AnyAgent:
    """In the partitions of the payments, so that nothing is re-keyed."""
    beside = None if agent.beside is None else replace(agent.beside, partitions=PARTITIONS)
    return replace(agent, table=replace(agent.table, partitions=PARTITIONS), beside=beside)


def agents(*, every: bool = False, count: int = 2, shipped: bool = False) -> tuple[AnyAgent, ...]:
    """`every`: an alert per payment, to measure latency. `count`: 1 has no windows; each after the second does what the first does.

    `shipped`: the fraud rules of the product in place of the one rule, in the same partitions.
    """
    if shipped:
        return (_orders("orders"), *map(_placed, fraud(rules(None))))
    users = Table("users", Spending, "user_id", PARTITIONS, _spent, lambda _key: Spending(), empty=lambda user: not user.panes)
    spending = Agent(
        name="spending",
        hears=(PaymentProcessed, Due),
        table=users,
        decide=_watch(every=every),
        says=(SpendingAlert,),
        due=_closes,
        closes=lambda heard: FIVE_MINUTES.start(heard.at) + FIVE_MINUTES.size_ms + GRACE_MS,
    )
    return (_orders("orders"), spending, *(_orders(f"orders-{number}") for number in range(3, count + 1)))[:count]
