"""Rules as they are written, in TOML or in a FraudRuleChanged: read, and refused where they cannot be applied."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import blake2b
from itertools import product
from typing import Any, Literal

import msgspec
from msgspec import Struct

from agents.fraud.rules import KINDS, WORDS, Action, Aggregate, Payment, Rule, RuleSet, SequenceRule, Thing, Where, WindowRule, Word
from schemas.fields import LARGEST_NUMBER
from schemas.message import Instant, Invalid
from schemas.money import LARGEST_MINOR, MOST_DIGITS, digits
from tables.windows import MOST_MARKS, Hopping, Session, Sliding, Step, Tumbling, WindowKind

DAY_MS = 86_400_000
LONGEST_MS = 31 * DAY_MS
MOST_HOPS = 100
"""Windows that one event may be in."""
MOST_STEPS = 16
MOST_LIMIT_DIGITS = 12
"""After the point; so that a limit is exact in any currency, and an alert can tell it."""
LEAST_RATE, MOST_RATE = Decimal("0.000000001"), Decimal(1_000_000_000)
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY_MS}
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")


class RuleError(Exception):
    """A rule that cannot be applied: which one, what of it, and what to do."""

    def __init__(self, rule: str, name: str, why: str) -> None:
        super().__init__(rule, name, why)  # as they were given: so it can come out of another process
        self.rule, self.name, self.why = rule, name, why

    def __str__(self) -> str:
        return f"{self.rule}: {self.name}: {self.why}" if self.rule else f"{self.name}: {self.why}"


class _Window(Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["tumbling", "hopping", "sliding", "session"]
    size: str = ""
    every: str = ""
    gap: str = ""


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
    steps: tuple[_Step, ...] | None = None


class _Rate(Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    from_: str
    to: str
    since: date
    rate: Decimal


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[_Rule, ...] = ()
    rate: tuple[_Rate, ...] = ()


# --- from there to what is applied


def read_rules(toml: str) -> RuleSet:
    """Raises RuleError, or tomllib.TOMLDecodeError, which names the line."""
    written = _converted(_parsed(toml), _File, "")
    ids: set[str] = set()
    for each in written.rule:
        if each.id in ids:
            raise RuleError(each.id, "id", "used twice; rename one of them")
        ids.add(each.id)
    rules = tuple(_applied(rule) for rule in written.rule)
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
    """The line that an error is about, as far as that can be told from the text. Of two rules of one id, the last one is meant."""
    lines = toml.splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"\s*\[\[", line)]
    begin, end = 0, len(lines)
    for start, following in zip(starts, [*starts, len(lines)][1:], strict=True):
        if any(re.search(rf'^\s*id\s*=\s*["\']{re.escape(rule)}["\']', line) for line in lines[start:following]):
            begin, end = start, following
    last = re.sub(r"\[\d+\]", "", name).rpartition(".")[2]
    for i in range(begin, end):
        if re.search(rf'(^|[\s,{{"]){re.escape(last)}["]?\s*=', lines[i]):
            return i + 1
    return begin + 1 if end < len(lines) or begin else None


def _parsed(toml: str) -> dict[str, Any]:
    try:
        return tomllib.loads(toml, parse_float=Decimal)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise RuleError("", "file", "cannot be read: nested too deeply") from None
    except (ValueError, ArithmeticError):  # an integer of thousands of digits, a fraction with such an exponent
        raise RuleError("", "file", "cannot be read: a number is too long") from None


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
        if table := re.fullmatch(r"(rule|rate)(\[\d+\])?", path):
            raise RuleError(rule, path, f"must be a table; begin each with [[{table[1]}]]") from None
        raise RuleError(rule, path or "file", why[:1].lower() + why[1:]) from None


def _applied(rule: _Rule) -> Rule:
    if not _ID.fullmatch(rule.id):
        raise RuleError(rule.id, "id", "must be letters, digits, dots, dashes and underscores, at most 100")
    if not 1 <= rule.version <= LARGEST_NUMBER:
        raise RuleError(rule.id, "version", f"must be from 1 to {LARGEST_NUMBER}")
    if rule.steps == () and rule.window is None:
        raise RuleError(rule.id, "steps", "empty; write at least one")
    if bool(rule.steps) == (rule.window is not None):
        raise RuleError(rule.id, "window", "a rule has either a window and an aggregate, or steps and within")
    return _sequence(rule, rule.steps) if rule.steps else _windowed(rule)


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
    on = tuple(sorted(_kind(rule.id, name, "on").wire.name for name in rule.on))
    where = _where(rule.id, rule.where, "where", on)
    word, limit = _limit(rule, of_money=of_money)
    return WindowRule(
        id=rule.id,
        version=rule.version,
        action=rule.action,
        on=frozenset(KINDS[name] for name in on),
        where=where,
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
    if limit.as_tuple().exponent < -MOST_LIMIT_DIGITS:
        raise RuleError(rule.id, word, f"at most {MOST_LIMIT_DIGITS} digits after the point")
    if rule.having < 1:
        raise RuleError(rule.id, "having", "must be 1 or more")
    least = 0 if of_money else rule.having if rule.aggregate == "count" else 1  # of a window that holds enough
    if (word == "below" and limit <= least) or (word == "at_most" and limit < least):
        raise RuleError(rule.id, word, "nothing can match; raise it")
    if rule.having == 1 and (_any_amount(rule, word, limit) if of_money else _any_event(rule, word, limit)):
        raise RuleError(rule.id, word, f"every single event would match; {'raise' if word in {'above', 'at_least'} else 'lower'} it")
    return word, limit


def _any_event(rule: _Rule, word: Word, limit: Decimal) -> bool:
    """Whether a window of a single one matches. That one holds no more than a few may be wanted, once it has closed."""
    match word:
        case "above":
            return limit < 1
        case "at_least":
            return limit <= 1
        case "below":
            return limit > 1 and rule.emit == "crossing"
        case "at_most":
            return limit >= 1 and rule.emit == "crossing"


def _any_amount(rule: _Rule, word: Word, limit: Decimal) -> bool:
    """Whether each payment of more than nothing matches. A failed one may tell no amount; of what has closed, each sum may be wanted."""
    if word == "at_least" and limit == 0:
        return True
    if "PaymentFailed" in rule.on or rule.emit == "close":
        return False
    currencies = (rule.convert_to,) if rule.convert_to else rule.where.currency
    unit = Decimal(1).scaleb(-max(map(digits, currencies), default=MOST_DIGITS))
    return (word == "above" and limit < unit) or (word == "at_least" and limit <= unit)


def _sequence(rule: _Rule, written: tuple[_Step, ...]) -> SequenceRule:
    given = [name for name in ("on", "aggregate", "of", *WORDS, "convert_to") if getattr(rule, name)]
    if given:
        raise RuleError(rule.id, given[0], "belongs to a window; a sequence has it in its steps")
    if rule.emit != "crossing" or rule.having != 1:
        raise RuleError(rule.id, "emit" if rule.emit != "crossing" else "having", "belongs to a window")
    if len(written) > MOST_STEPS:
        raise RuleError(rule.id, "steps", f"at most {MOST_STEPS}")
    marks, steps = [], []
    for i, step in enumerate(written):
        name = f"steps[{i}]"
        if step.times < 1 or step.times > 100:  # noqa: PLR2004  # fewer than are kept
            raise RuleError(rule.id, f"{name}.times", "must be from 1 to 100")
        if step.follows == "never" and (i == 0 or written[i - 1].follows == "never" or step.times != 1):
            raise RuleError(rule.id, f"{name}.follows", "never must come once, after a step that does")
        marks.append((_kind(rule.id, step.on, f"{name}.on"), _where(rule.id, step, name, (step.on,))))
        steps.append(Step(step.times, step.follows))
    if sum(step.times for step in steps if step.follows != "never") > MOST_MARKS:
        raise RuleError(rule.id, "steps", f"nothing can match: together at most {MOST_MARKS} events are kept")
    if len(steps) == 1 and steps[0].times == 1 and marks[0][1] is None:
        raise RuleError(rule.id, "steps", "every single event would match; add a step")
    return SequenceRule(
        rule.id, rule.version, rule.action, tuple(steps), tuple(marks), _duration(rule.id, "within", rule.within),
        _feed(rule.id, written, rule.within),
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


def _where(rule: str, written: Where, name: str, on: Sequence[str]) -> Where | None:
    for word in WORDS:
        if (limit := getattr(written, word)) is not None and (not limit.is_finite() or limit < 0):
            raise RuleError(rule, f"{name}.{word}", "must be an amount from 0")
    for low, high in product(("above", "at_least"), ("below", "at_most")):
        least, most = getattr(written, low), getattr(written, high)
        if None not in {least, most} and (least > most or (least == most and (low, high) != ("at_least", "at_most"))):
            raise RuleError(rule, f"{name}.{high}", f"nothing can match: no amount is {low} and {high} these")
    if written.below == 0:
        raise RuleError(rule, f"{name}.below", "nothing can match: no amount is below 0")
    if written.reason and "PaymentFailed" not in on:
        raise RuleError(rule, f"{name}.reason", "nothing can match: only a PaymentFailed has one")
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
