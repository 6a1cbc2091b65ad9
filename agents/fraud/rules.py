"""Rules as they are written, in TOML or in a FraudRuleChanged; and as they are applied, checked and with everything worked out."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from hashlib import blake2b
from math import ceil, floor
from operator import ge, gt, le, lt
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from schemas.message import Instant, Invalid
from schemas.money import LARGEST_MINOR, digits, text
from schemas.payments import PaymentFailed, PaymentProcessed
from tables.windows import Hopping, Pane, Panes, Session, Sliding, Step, Tumbling, WindowKind, distinct, joined

Payment: TypeAlias = PaymentProcessed | PaymentFailed
KINDS: dict[str, type[Payment]] = {kind.wire.name: kind for kind in (PaymentProcessed, PaymentFailed)}
"""What rules may hear, by its name."""
USUAL = "USD"
"""Of a payment that names no currency, as of orders of version 1."""
DAY_MS = 86_400_000
LONGEST_MS = 31 * DAY_MS
MOST_HOPS = 100
"""Windows that one event may be in."""
MOST_STEPS = 16
LEAST_RATE, MOST_RATE = Decimal("0.000000001"), Decimal(1_000_000_000)
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY_MS}
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")

Aggregate: TypeAlias = Literal["sum", "count", "avg", "min", "max", "distinct"]
Action: TypeAlias = Literal["alert", "hold", "cancel"]
Word: TypeAlias = Literal["above", "at_least", "below", "at_most"]
WORDS: tuple[Word, ...] = ("above", "at_least", "below", "at_most")
Thing: TypeAlias = Literal["order_id", "payment_id", "currency"]


class RuleError(Exception):
    """A rule that cannot be applied: which one, what of it, and what to do."""

    def __init__(self, rule: str, name: str, why: str) -> None:
        super().__init__(f"{rule}: {name}: {why}" if rule else f"{name}: {why}")
        self.rule, self.name, self.why = rule, name, why


# --- as written


class _Window(Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["tumbling", "hopping", "sliding", "session"]
    size: str = ""
    every: str = ""
    gap: str = ""


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


class _Step(Where, frozen=True, forbid_unknown_fields=True, kw_only=True):
    on: str
    times: int = 1
    follows: Literal["next", "later", "never"] = "later"


class _Rule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: str
    version: int = 1
    key: Literal["user_id"] = "user_id"
    action: Action = "alert"
    on: tuple[str, ...] = ()
    where: Where = Where()
    window: _Window | None = None
    aggregate: Aggregate | None = None
    of: Thing | None = None
    above: Decimal | None = None
    at_least: Decimal | None = None
    below: Decimal | None = None
    at_most: Decimal | None = None
    having: int = 1
    emit: Literal["crossing", "close"] = "crossing"
    convert_to: str = ""
    within: str = ""
    steps: tuple[_Step, ...] = ()


class _Rate(Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    from_: str
    to: str
    since: date
    rate: Decimal


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[_Rule, ...] = ()
    rate: tuple[_Rate, ...] = ()


# --- as applied


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


# --- from one to the other


def read_rules(toml: str) -> RuleSet:
    """Raises RuleError, or tomllib.TOMLDecodeError, which names the line."""
    written = _converted(tomllib.loads(toml, parse_float=Decimal), _File, "")
    rules = tuple(_applied(rule) for rule in written.rule)
    if twice := {rule.id for rule in rules if sum(other.id == rule.id for other in rules) > 1}:
        raise RuleError(twice.pop(), "id", "used twice; rename one of them")
    rates: dict[tuple[str, str], list[tuple[Instant, Decimal]]] = {}
    for rate in sorted(written.rate, key=lambda rate: rate.since):
        name = f"rate {rate.from_} to {rate.to}"
        _known(rate.from_, name, "from")
        _known(rate.to, name, "to")
        if not rate.rate.is_finite() or not LEAST_RATE <= rate.rate <= MOST_RATE:
            raise RuleError(name, "rate", f"must be from {LEAST_RATE} to {MOST_RATE}")
        since = datetime.combine(rate.since, datetime.min.time(), UTC)
        rates.setdefault((rate.from_, rate.to), []).append((round(since.timestamp() * 1_000), rate.rate))
    return RuleSet(rules, rates)


def read_rule(rule_id: str, version: int, written: Mapping[str, Any]) -> Rule:
    """A rule as a FraudRuleChanged holds it, where fractions are strings. Raises Invalid."""
    try:
        return _applied(_converted({**written, "id": rule_id, "version": version}, _Rule, rule_id))
    except RuleError as error:
        raise Invalid(f"rule.{error.name}", error.why) from None


def line_of(toml: str, rule: str, name: str) -> int | None:
    """The line that an error is about, as far as that can be told from the text."""
    lines = toml.splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"\s*\[\[", line)]
    begin, end = 0, len(lines)
    for start, following in zip(starts, [*starts[1:], len(lines)], strict=True):
        if any(re.search(rf'^\s*id\s*=\s*["\']{re.escape(rule)}["\']', line) for line in lines[start:following]):
            begin, end = start, following
            break
    last = re.sub(r"\[\d+\]", "", name).rpartition(".")[2]
    for i in range(begin, end):
        if re.search(rf'(^|[\s,{{"]){re.escape(last)}["]?\s*=', lines[i]):
            return i + 1
    return begin + 1 if end < len(lines) or begin else None


def _converted(found: Any, kind: Any, rule: str) -> Any:  # noqa: ANN401  # of the kind that was asked for
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        why, _, path = str(error).partition(" - at `$")
        path = path.rstrip("`").lstrip(".")
        if (place := re.match(r"rule\[(\d+)\]\.?", path)) and isinstance(each := found["rule"][int(place[1])], dict):
            rule, path = str(each.get("id", f"rule {int(place[1]) + 1}")), path[place.end() :]
        if unknown := re.search(r"unknown field `(.*)`", why):
            raise RuleError(rule, f"{path}.{unknown[1]}".lstrip("."), "no such field; see docs/fraud.md for those there are") from None
        if missing := re.search(r"missing required field `(.*)`", why):
            raise RuleError(rule, f"{path}.{missing[1]}".lstrip("."), "missing; add it") from None
        raise RuleError(rule, path or "file", why[:1].lower() + why[1:]) from None


def _applied(rule: _Rule) -> Rule:
    if not _ID.fullmatch(rule.id):
        raise RuleError(rule.id, "id", "must be letters, digits, dots, dashes and underscores, at most 100")
    if rule.version < 1:
        raise RuleError(rule.id, "version", "must be 1 or more")
    if bool(rule.steps) == (rule.window is not None):
        raise RuleError(rule.id, "window", "a rule has either a window and an aggregate, or steps and within")
    return _sequence(rule) if rule.steps else _windowed(rule)


def _windowed(rule: _Rule) -> WindowRule:
    def bad(name: str, why: str) -> RuleError:
        return RuleError(rule.id, name, why)

    if rule.within:
        raise bad("within", "belongs to steps; a window has a size")
    if rule.aggregate is None:
        raise bad("aggregate", "missing; one of sum, count, avg, min, max, distinct")
    if not rule.on:
        raise bad("on", f"missing; name what is counted: {', '.join(KINDS)}")
    if (rule.aggregate == "distinct") != (rule.of is not None):
        raise bad("of", "says what distinct counts: order_id, payment_id or currency; only distinct has it")
    of_money = rule.aggregate not in {"count", "distinct"}
    if rule.convert_to and not of_money:
        raise bad("convert_to", f"{rule.aggregate} is not about money")
    if rule.convert_to:
        _known(rule.convert_to, rule.id, "convert_to")
    window = _window(rule, rule.window)
    at_close = rule.emit == "close"
    if at_close and isinstance(window, Sliding):
        raise bad("emit", "a sliding window ends with each event: there is nothing to wait for")
    if at_close and rule.action != "alert":
        raise bad("emit", "a window that has closed names no order to hold or cancel")
    word, limit = _limit(rule, of_money=of_money)
    on = tuple(sorted(_kind(rule.id, name, "on").wire.name for name in rule.on))
    return WindowRule(
        id=rule.id,
        version=rule.version,
        action=rule.action,
        on=frozenset(KINDS[name] for name in on),
        where=_where(rule.id, rule.where, "where"),
        window=window,
        aggregate=rule.aggregate,
        of=rule.of,
        word=word,
        limit=limit,
        having=rule.having,
        at_close=at_close,
        convert_to=rule.convert_to,
        feed=_feed(rule.id, on, rule.where, rule.window, rule.of, of_money, rule.convert_to),
    )


def _limit(rule: _Rule, *, of_money: bool) -> tuple[Word, Decimal]:
    given = [(word, limit) for word in WORDS if (limit := getattr(rule, word)) is not None]
    if len(given) != 1:
        raise RuleError(rule.id, "above", "a rule has exactly one limit: above, at_least, below or at_most")
    word, limit = given[0]
    if not limit.is_finite() or limit < 0 or limit > LARGEST_MINOR:
        raise RuleError(rule.id, word, "must be from 0 to 10^15")
    if rule.having < 1:
        raise RuleError(rule.id, "having", "must be 1 or more")
    least = 0 if of_money else 1  # of a window that holds anything
    if rule.having == 1 and ((word == "above" and limit < least) or (word == "at_least" and limit <= least)):
        raise RuleError(rule.id, word, "every single event would match; raise it")
    return word, limit


def _sequence(rule: _Rule) -> SequenceRule:
    given = [name for name in ("on", "aggregate", "of", *WORDS, "convert_to") if getattr(rule, name)]
    if given:
        raise RuleError(rule.id, given[0], "belongs to a window; a sequence has it in its steps")
    if rule.emit != "crossing" or rule.having != 1:
        raise RuleError(rule.id, "emit" if rule.emit != "crossing" else "having", "belongs to a window")
    if len(rule.steps) > MOST_STEPS:
        raise RuleError(rule.id, "steps", f"at most {MOST_STEPS}")
    marks, steps = [], []
    for i, step in enumerate(rule.steps):
        name = f"steps[{i}]"
        if step.times < 1 or step.times > 100:  # noqa: PLR2004  # fewer than are kept
            raise RuleError(rule.id, f"{name}.times", "must be from 1 to 100")
        if step.follows == "never" and (i == 0 or rule.steps[i - 1].follows == "never" or step.times != 1):
            raise RuleError(rule.id, f"{name}.follows", "never must come once, after a step that does")
        marks.append((_kind(rule.id, step.on, f"{name}.on"), _where(rule.id, step, name)))
        steps.append(Step(step.times, step.follows))
    if len(steps) == 1 and steps[0].times == 1 and marks[0][1] is None:
        raise RuleError(rule.id, "steps", "every single event would match; add a step")
    return SequenceRule(
        rule.id, rule.version, rule.action, tuple(steps), tuple(marks), _duration(rule.id, "within", rule.within),
        _feed(rule.id, rule.steps, rule.within),
    )  # fmt: skip


def _window(rule: _Rule, window: _Window | None) -> WindowKind:
    if window is None:
        raise RuleError(rule.id, "window", "missing")
    wanted = {"tumbling": ("size",), "hopping": ("size", "every"), "sliding": ("size",), "session": ("gap",)}[window.kind]
    for name in ("size", "every", "gap"):
        if bool(getattr(window, name)) != (name in wanted):
            raise RuleError(rule.id, f"window.{name}", f"a {window.kind} window has {' and '.join(wanted)}")
    first, *more = [_duration(rule.id, f"window.{name}", getattr(window, name)) for name in wanted]
    if window.kind == "tumbling":
        return Tumbling(first)
    if window.kind == "sliding":
        return Sliding(first)
    if window.kind == "session":
        return Session(first)
    if more[0] > first or first > MOST_HOPS * more[0]:
        raise RuleError(rule.id, "window.every", f"must be from a {MOST_HOPS}th of size to size")
    return Hopping(first, more[0])


def _where(rule: str, written: Where, name: str) -> Where | None:
    for word in WORDS:
        if (limit := getattr(written, word)) is not None and (not limit.is_finite() or limit < 0):
            raise RuleError(rule, f"{name}.{word}", "must be an amount from 0")
    for currency in written.currency:
        _known(currency, rule, f"{name}.currency")
    where = Where(*(getattr(written, each) for each in Where.__struct_fields__))
    return None if where == Where() else where


def _kind(rule: str, name: str, field_name: str) -> type[Payment]:
    if name not in KINDS:
        raise RuleError(rule, field_name, f"{name!r} is not one of {', '.join(KINDS)}")
    return KINDS[name]


def _known(currency: str, rule: str, name: str) -> None:
    try:
        digits(currency)
    except Invalid:
        raise RuleError(rule, name, f"{currency!r} is not an active ISO 4217 code") from None


def _duration(rule: str, name: str, written: str) -> int:
    parts = re.findall(r"(\d+)(ms|s|m|h|d)", written)
    if not parts or "".join(number + unit for number, unit in parts) != written:
        raise RuleError(rule, name, f"{written!r} is not a time; write 30s, 5m, 1h30m or 1d")
    total = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < total <= LONGEST_MS:
        raise RuleError(rule, name, "must be from 1ms to 31d")
    return total


def _feed(rule: str, *parts: object) -> str:
    """Stays as long as what is kept for a rule stays of use to it."""
    return f"{rule}~{blake2b(msgspec.json.encode(parts), digest_size=4).hexdigest()}"
