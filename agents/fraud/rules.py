"""Rules as they are applied: checked, and with everything worked out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from math import ceil, floor
from operator import ge, gt, le, lt
from typing import Literal, TypeAlias

from msgspec import Struct

from schemas.message import Instant
from schemas.money import digits, text
from schemas.payments import PaymentFailed, PaymentProcessed
from tables.windows import Hopping, Pane, Panes, Session, Sliding, Step, Tumbling, WindowKind, distinct, joined

Payment: TypeAlias = PaymentProcessed | PaymentFailed
KINDS: dict[str, type[Payment]] = {kind.wire.name: kind for kind in (PaymentProcessed, PaymentFailed)}
"""What rules may hear, by its name."""
USUAL = "USD"
"""Of a payment that names no currency, as of orders of version 1."""

Aggregate: TypeAlias = Literal["sum", "count", "avg", "min", "max", "distinct"]
Action: TypeAlias = Literal["alert", "hold", "cancel"]
Word: TypeAlias = Literal["above", "at_least", "below", "at_most"]
WORDS: tuple[Word, ...] = ("above", "at_least", "below", "at_most")
Thing: TypeAlias = Literal["order_id", "payment_id", "currency"]


class Where(Struct, frozen=True, forbid_unknown_fields=True):
    """Which events count. Amounts in units of the payment's currency."""

    above: Decimal | None = None
    at_least: Decimal | None = None
    below: Decimal | None = None
    at_most: Decimal | None = None
    currency: tuple[str, ...] = ()
    reason: tuple[str, ...] = ()

    def fits(self, payment: Payment) -> bool:
        amount = payment.amount
        if amount is None and any(getattr(self, word) is not None for word in WORDS):
            return False
        return (
            (self.above is None or amount > self.above)  # type: ignore[operator]  # None was turned away
            and (self.at_least is None or amount >= self.at_least)  # type: ignore[operator]  # as above
            and (self.below is None or amount < self.below)  # type: ignore[operator]  # as above
            and (self.at_most is None or amount <= self.at_most)  # type: ignore[operator]  # as above
            and (not self.currency or (payment.currency or USUAL) in self.currency)
            and (not self.reason or (isinstance(payment, PaymentFailed) and payment.reason in self.reason))
        )


@dataclass(frozen=True)
class WindowRule:
    """An aggregate over a window, and its limit."""

    id: str
    version: int
    action: Action
    on: frozenset[type[Payment]]
    where: Where | None
    """None: all of them."""
    window: WindowKind
    aggregate: Aggregate
    of: Thing | None
    word: Word
    limit: Decimal
    """In units of the currency where it is about money."""
    having: int
    """Events that a window must hold."""
    at_close: bool
    convert_to: str
    feed: str
    """Names the state: a rule whose limit or action changes goes on with the windows it has."""
    _overs: dict[str, Callable[[Panes], bool]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def reach_ms(self) -> int:
        """What happened longer ago is of no matter; a session that goes on for longer is cut."""
        match self.window:
            case Sliding(size) | Tumbling(size) | Hopping(size):
                return 2 * size
            case Session(gap):
                return 20 * gap

    @property
    def of_money(self) -> bool:
        return self.aggregate not in {"count", "distinct"}

    def over(self, currency: str) -> Callable[[Panes], bool]:
        """Whether a window of this currency (empty: it is not about money) is over the limit."""
        found = self._overs.get(currency)
        if found is None:
            found = self._overs[currency] = self._make_over(currency)
        return found

    def _make_over(self, currency: str) -> Callable[[Panes], bool]:
        limit = Fraction(self.limit.scaleb(digits(currency)) if currency else self.limit)
        beyond, having = _BEYOND[self.word], self.having
        if self.aggregate == "avg":
            top, bottom = limit.as_integer_ratio()

            def over_on_average(panes: Panes) -> bool:
                count = sum([pane.count for pane in panes])
                return count >= having and beyond(sum([pane.total for pane in panes]) * bottom, top * count)

            return over_on_average
        value = _WHOLE[self.aggregate]
        edge = floor(limit) if self.word in {"above", "at_most"} else ceil(limit)  # what is compared is whole

        def over(panes: Panes) -> bool:
            return (having == 1 or sum([pane.count for pane in panes]) >= having) and beyond(value(panes), edge)

        return over

    def value(self, pane: Pane, currency: str) -> str:
        """As it is told: an amount with all the digits of its currency, an average rounded to them."""
        number = round(Fraction(pane.total, pane.count)) if self.aggregate == "avg" else _WHOLE[self.aggregate]((pane,))
        return text(number, currency) if currency else str(number)

    def threshold(self, currency: str) -> str:
        return text(round(self.limit.scaleb(digits(currency))), currency) if currency else str(self.limit)


@dataclass(frozen=True)
class SequenceRule:
    """Steps that follow one another within a time."""

    id: str
    version: int
    action: Action
    steps: tuple[Step, ...]
    marks: tuple[tuple[type[Payment], Where | None], ...]
    """What fits each step."""
    within_ms: int
    feed: str

    @property
    def reach_ms(self) -> int:
        """What happened longer ago is of no matter."""
        return self.within_ms

    def fits(self, payment: Payment) -> int:
        """A bit for each step that it fits."""
        found, kind = 0, type(payment)
        for i, (on, where) in enumerate(self.marks):  # a loop, as it is asked of each payment: half the cost of a sum
            if on is kind and (where is None or where.fits(payment)):
                found |= 1 << i
        return found


Rule: TypeAlias = WindowRule | SequenceRule

_WHOLE: dict[str, Callable[[Panes], int]] = {
    "sum": lambda panes: sum([pane.total for pane in panes]),
    "count": lambda panes: sum([pane.count for pane in panes]),
    "min": lambda panes: min([pane.least for pane in panes]),
    "max": lambda panes: max([pane.most for pane in panes]),
    "distinct": lambda panes: distinct(joined(panes).marks),
}
"""Only what an aggregate needs is added up; an average is a fraction, and has its own way."""
_BEYOND: dict[Word, Callable[[int, int], bool]] = {"above": gt, "at_least": ge, "below": lt, "at_most": le}


@dataclass(frozen=True)
class RuleSet:
    """All rules that hold at one moment, and what currencies are worth."""

    rules: tuple[Rule, ...] = ()
    rates: Mapping[tuple[str, str], Sequence[tuple[Instant, Decimal]]] = field(default_factory=dict)

    @cached_property
    def windows(self) -> dict[type, tuple[WindowRule, ...]]:
        return {kind: tuple(rule for rule in self.rules if isinstance(rule, WindowRule) and kind in rule.on) for kind in KINDS.values()}

    @cached_property
    def sequences(self) -> dict[type, tuple[SequenceRule, ...]]:
        return {
            kind: tuple(rule for rule in self.rules if isinstance(rule, SequenceRule) and any(on is kind for on, _ in rule.marks))
            for kind in KINDS.values()
        }

    @property
    def converting(self) -> tuple[WindowRule, ...]:
        return tuple(rule for rule in self.rules if isinstance(rule, WindowRule) and rule.convert_to)

    @cached_property
    def by_feed(self) -> dict[str, Rule]:
        return {rule.feed: rule for rule in self.rules}

    def changed(self, rules: Mapping[str, Rule | None]) -> "RuleSet":
        """With these in place of those of the same id; None switches one off."""
        changed = {rule.id: rule for rule in self.rules} | dict(rules)
        return RuleSet(tuple(rule for rule in changed.values() if rule is not None), self.rates)

    def converted(self, minor: int, currency: str, to: str, at: Instant) -> int | None:
        """Minor units of `to`, rounded half to even; None without a rate."""
        if currency == to:
            return minor
        rate = None
        for since, value in self.rates.get((currency, to), ()):
            if since <= at:
                rate = value
        return None if rate is None else round((minor * rate).scaleb(digits(to) - digits(currency)))
