"""The workload of the peer kit, declared as any user would: the newest payment of each order, and what each user spends in five minutes."""

from collections.abc import Callable
from decimal import Decimal

from msgspec.structs import replace

from agents.agent import Agent, AnyAgent, Deadline, Says
from schemas.message import Due, Envelope, Event, Instant, Message, Wire
from schemas.payments import PaymentProcessed
from schemas.topics import DEAD_LETTERS, Topic
from tables.table import Row, Table
from tables.windows import Panes, Tumbling

THRESHOLD_CENTS = 1_000_000
PARTITIONS = 4
FIVE_MINUTES: Tumbling[tuple[int, int]] = Tumbling(size_ms=300_000, grace_ms=60_000)


class SpendingAlert(Event, frozen=True):
    """A user has spent more than 10,000.00 within five minutes."""

    wire = Wire("SpendingAlert")

    user_id: str
    window_start: Instant
    sum_cents: int
    count: int
    event_id: str


def topics(payments: str, alerts: str) -> tuple[Topic, ...]:
    """Payments keyed by user, and alerts for readers that know no envelope."""
    return (
        Topic(payments, key="user_id", partitions=PARTITIONS, carries=(PaymentProcessed,)),
        Topic(alerts, key="user_id", partitions=PARTITIONS, carries=(SpendingAlert,), bare=True),
        DEAD_LETTERS,
    )


class PaidOrder(Row, frozen=True):
    """What the newest payment of an order says."""

    status: str = ""
    amount: Decimal = Decimal(0)
    event_id: str = ""


class Spending(Row, frozen=True):
    """Cents and payments of one user in each window that is open."""

    panes: Panes[tuple[int, int]] = ()


def _paid(order: PaidOrder, heard: Envelope[Message]) -> PaidOrder:
    match heard.payload:
        case PaymentProcessed(status=status, amount=amount):
            return PaidOrder(status, amount, heard.event_id)
    return order


def _remember(_order: PaidOrder, _heard: Envelope[Message]) -> Says:
    return ()


def _spent(user: Spending, heard: Envelope[Message]) -> Spending:
    payment = heard.payload
    if isinstance(payment, PaymentProcessed):
        cents = payment.amount_minor("USD")
        return Spending(FIVE_MINUTES.put(user.panes, heard.at, lambda old: (cents, 1) if old is None else (old[0] + cents, old[1] + 1)))
    if isinstance(payment, Due):
        return replace(user, panes=FIVE_MINUTES.still_open(user.panes, heard.at))
    return user


def _watch(*, every: bool) -> Callable[[Spending, Envelope[Message]], Says]:
    def decide(user: Spending, heard: Envelope[Message]) -> Says:
        payment = heard.payload
        if not isinstance(payment, PaymentProcessed):
            return ()
        before, count = FIVE_MINUTES.get(user.panes, heard.at) or (0, 0)
        cents = before + payment.amount_minor("USD")
        if every or before <= THRESHOLD_CENTS < cents:
            return (SpendingAlert(payment.user_id, FIVE_MINUTES.start(heard.at), cents, count + 1, heard.event_id),)
        return ()

    return decide


def _closes(user: Spending) -> Deadline | None:
    due = FIVE_MINUTES.due(user.panes)
    return None if due is None else Deadline(due, "window")


def _orders(name: str) -> AnyAgent:
    table = Table(name, PaidOrder, "order_id", PARTITIONS, _paid, lambda _key: PaidOrder(), spread_by="user_id")
    return Agent(name=name, hears=(PaymentProcessed,), table=table, decide=_remember)


def agents(*, every: bool = False, count: int = 2) -> tuple[AnyAgent, ...]:
    """`every`: an alert per payment, to measure latency. `count`: 1 has no windows; each after the second does what the first does."""
    users = Table("users", Spending, "user_id", PARTITIONS, _spent, lambda _key: Spending(), empty=lambda user: not user.panes)
    spending = Agent(
        name="spending",
        hears=(PaymentProcessed, Due),
        table=users,
        decide=_watch(every=every),
        says=(SpendingAlert,),
        due=_closes,
        closes=lambda heard: FIVE_MINUTES.closes(heard.at),
    )
    return (_orders("orders"), spending, *(_orders(f"orders-{number}") for number in range(3, count + 1)))[:count]
