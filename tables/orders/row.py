"""One row per order: where it stands, and what was asked, done and undone per step, with amounts and times."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TypeAlias

import msgspec

from schemas.message import Instant
from schemas.orders import Line
from schemas.payments import PaymentRefunded
from tables.table import Row


class Status(StrEnum):
    """Where an order stands; UNKNOWN until its OrderCreated is heard."""

    UNKNOWN = "UNKNOWN"
    PENDING = "PENDING"
    RESERVED = "RESERVED"
    PAID = "PAID"
    SHIPPED = "SHIPPED"
    COMPLETED = "COMPLETED"
    COMPENSATING = "COMPENSATING"
    CANCELLED = "CANCELLED"


class Leg(StrEnum):
    """How far one step is."""

    IDLE = "idle"
    """Never asked for."""
    ASKED = "asked"
    DONE = "done"
    REFUSED = "refused"
    UNDOING = "undoing"
    """Its compensation is asked for and unanswered."""
    STUCK = "stuck"
    """Its compensation was asked for as often as it is worth, and is unanswered."""
    SETTLED = "settled"
    """A person said that the unanswered compensation need not be answered."""
    UNDONE = "undone"


OPEN_QUESTION = (Leg.IDLE, Leg.ASKED, Leg.REFUSED)
"""The step may still turn out to be done: refused first and done after all, it happens."""
UNANSWERED = (Leg.UNDOING, Leg.STUCK)
ANSWERABLE = (Leg.UNDOING, Leg.STUCK, Leg.SETTLED)


class Reservation(msgspec.Struct, frozen=True, array_like=True):
    """Part 0 is the order as created, each later part one ItemAdded."""

    items: tuple[Line, ...]
    amount_minor: int
    leg: Leg = Leg.IDLE
    tries: int = 0
    """How often its compensation was asked for."""
    asked_at: Instant = 0
    """When that was last done."""


class Shipment(msgspec.Struct, frozen=True, array_like=True):
    """The order's one shipment; tries and time as in Reservation."""

    leg: Leg = Leg.IDLE
    tries: int = 0
    asked_at: Instant = 0


class Refund(msgspec.Struct, frozen=True, array_like=True):
    """A refund that was commanded: the part of its payment that its position says."""

    amount_minor: int
    reason: str
    through_minor: int
    """Answered as soon as the payment's refunds sum to this."""
    leg: Leg = Leg.UNDOING
    tries: int = 1
    asked_at: Instant = 0


class Payment(msgspec.Struct, frozen=True, array_like=True):
    """What was captured under one payment id, in that payment's own currency."""

    id: str
    currency: str
    captured_minor: int
    refunded_minor: int = 0
    refunds: tuple[Refund, ...] = ()

    @property
    def returning_minor(self) -> int:
        """What is back, or commanded to go back."""
        if not self.refunds:
            return self.refunded_minor
        return max(self.refunded_minor, self.refunds[-1].through_minor)

    @property
    def staying_minor(self) -> int:
        """What nobody has given back or commanded to go back."""
        return self.captured_minor - (self.returning_minor if self.refunds else self.refunded_minor)


Compensation: TypeAlias = Reservation | Shipment | Refund


class Order(Row, frozen=True, omit_defaults=True):
    """What is remembered of one order. Times are event time; None where it has not happened."""

    id: str = ""
    status: Status = Status.UNKNOWN
    customer_id: str = ""
    currency: str = ""
    correlation_id: str = ""
    """The flow that OrderCreated belongs to; deadlines speak in its name."""
    sequence: int | None = None
    """The newest version of the aggregate that its own service has told."""

    reservations: tuple[Reservation, ...] = ()
    payments: tuple[Payment, ...] = ()
    shipment: Shipment = Shipment()
    payment_asked: bool = False
    declined: str | None = None
    """The payment id whose failure undid the order."""
    disputed: tuple[str, ...] = ()

    undone_for: str = ""
    """Why it is being undone, or was."""
    cancelled: bool = False
    """An OrderCancelled is out, ours or another service's; so with the next three."""
    confirmed: bool = False
    shipped: bool = False
    completed: bool = False
    cancel_asked_for: str = ""
    """Why somebody wants it cancelled though it is shipped."""
    cancel_refused: bool = False
    """It was delivered all the same."""

    short: bool = False
    """An added line was not in stock when the rest was already under way."""
    goods_out: bool = False
    """Delivered, though undone."""
    overdue: bool = False
    """Shipped, and never heard of again."""
    resolved_by: str | None = None
    """The person who ended it."""

    held_at: Instant | None = None
    since: Instant = 0
    """Where the deadline of the present status counts from; never goes back."""
    created_at: Instant | None = None
    reserved_at: Instant | None = None
    paid_at: Instant | None = None
    shipped_at: Instant | None = None
    undone_at: Instant | None = None
    ended_at: Instant | None = None

    @property
    def created(self) -> bool:
        """Its OrderCreated was seen; other rows are not counted as orders."""
        return self.status is not Status.UNKNOWN

    @property
    def items(self) -> tuple[Line, ...]:
        """As created, and then what was added."""
        if len(self.reservations) == 1:  # nearly always; so with the next ones
            return self.reservations[0].items
        return tuple(line for reservation in self.reservations for line in reservation.items)

    @property
    def total_minor(self) -> int:
        """Authorised: minor units of the order's currency."""
        if len(self.reservations) == 1:
            return self.reservations[0].amount_minor
        return sum(reservation.amount_minor for reservation in self.reservations)

    @property
    def captured(self) -> dict[str, int]:
        """Minor units by currency; two currencies are never added."""
        return _by_currency((payment.currency, payment.captured_minor) for payment in self.payments)

    @property
    def refunded(self) -> dict[str, int]:
        """Minor units by currency."""
        return _by_currency((payment.currency, payment.refunded_minor) for payment in self.payments)

    @property
    def kept(self) -> dict[str, int]:
        """Minor units by currency: captured and not refunded so far."""
        return _by_currency((payment.currency, payment.captured_minor - payment.refunded_minor) for payment in self.payments)

    @property
    def staying_minor(self) -> int:
        """Minor units of the order's own currency that were captured, and are not on their way back."""
        staying_minor = 0
        for payment in self.payments:  # a loop, as it is read at each step: a third of the cost of a sum
            if payment.currency == self.currency:
                staying_minor += payment.staying_minor
        return staying_minor

    @property
    def held(self) -> bool:
        """The next command waits for HoldReleased."""
        return self.held_at is not None

    @property
    def stuck(self) -> bool:
        """Nobody answers: a person has to end it with OrderResolved."""
        if self.overdue and self.status is Status.SHIPPED:
            return True
        return any(compensation.leg is Leg.STUCK for compensation in self.compensations())

    @property
    def flagged(self) -> bool:
        """A person should look: disputed, short of an added line, or delivered though undone."""
        return bool(self.disputed) or self.short or self.goods_out

    @property
    def undoable(self) -> bool:
        """Something is done and not yet undone, or its undoing is unanswered."""
        return any(c.leg is Leg.DONE or c.leg in UNANSWERED for c in self.compensations()) or any(
            payment.staying_minor for payment in self.payments
        )

    def compensations(self) -> list[Compensation]:
        """All that has, or may get, a compensation."""
        them: list[Compensation] = [self.shipment, *self.reservations]
        for payment in self.payments:
            them += payment.refunds
        return them

    def refundable(self, heard: PaymentRefunded) -> int | None:
        """The position of the payment that this refund gives back; None where it would be more than was captured. Raises Invalid.

        Where either side has no payment id, the currency decides, and a refund that was asked for goes first.
        """
        named = [i for i, payment in enumerate(self.payments) if payment.id == heard.payment_id]
        unnamed = [i for i, payment in enumerate(self.payments) if not (heard.payment_id and payment.id)]
        fitting = [i for i in named or unnamed if _fits(self.payments[i], heard)]
        asked = [i for i in fitting if any(refund.leg in UNANSWERED for refund in self.payments[i].refunds)]
        return next(iter(asked or fitting), None)

    def answering(self, items: Sequence[Line], legs: tuple[Leg, ...]) -> tuple[int, ...]:
        """The reservations that an answer about these lines is an answer to; without lines, the first in one of these legs."""
        if len(self.reservations) == 1:
            return (0,) if self.reservations[0].leg in legs else ()
        open_parts = [i for i, reservation in enumerate(self.reservations) if reservation.leg in legs]
        lines = _counted(items)
        if lines and lines == _counted([line for i in open_parts for line in self.reservations[i].items]):
            return tuple(open_parts)
        told = [i for i in open_parts if lines == _counted(self.reservations[i].items)]
        return tuple((told or open_parts)[:1])


def _fits(payment: Payment, heard: PaymentRefunded) -> bool:
    if heard.currency is not None and heard.currency != payment.currency:
        return False
    return payment.refunded_minor + heard.amount_minor(payment.currency) <= payment.captured_minor


def _by_currency(amounts: Iterator[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for currency, amount_minor in amounts:
        sums[currency] = sums.get(currency, 0) + amount_minor
    return sums


def _counted(items: Sequence[Line]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in items:
        counts[line.sku] = counts.get(line.sku, 0) + line.quantity
    return counts
