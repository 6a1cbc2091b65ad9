"""The forms in which services write one and the same fact: the canonical one, and the foreign ones that fit in a line."""

import re
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

_WORD = re.compile("(?<=[a-z])(?=[A-Z])")
_SNAKE = re.compile(r'(?<=[a-z])_([a-z])(?=[a-z]*":)')
_SYNONYMS = {"PaymentProcessed": "OrderPaid", "InventoryShortage": "InventoryReserveFailed"}
_MINUTES = tuple(f"{minute // 60:02d}:{minute % 60:02d}:" for minute in range(24 * 60))


class Fact(NamedTuple):
    """An event before it is written; nothing in it needs escaping."""

    event_id: str
    kind: str
    aggregate_id: str
    at: int
    """Event time, milliseconds since 1970."""
    body: str
    """The payload's members, in JSON, without the braces."""

    @property
    def version(self) -> int:
        return 2 if self.kind == "OrderCreated" and '"currency"' in self.body else 1


@cache
def _day(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%dT")


@cache
def _dotted(kind: str) -> str:
    return _WORD.sub(".", kind).lower()


def instant(at: int) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    minutes, ms = divmod(at, 60_000)
    day, minute = divmod(minutes, 1_440)
    return f"{_day(day)}{_MINUTES[minute]}{ms // 1_000:02d}.{ms % 1_000:03d}Z"


def _canonical(f: Fact) -> str:
    family, aggregate_id = "User" if f.kind == "UserRegistered" else "Order", f.aggregate_id
    return (
        f'{{"event_id":"{f.event_id}","event_type":"{f.kind}","aggregate_id":"{aggregate_id}","aggregate_type":"{family}",'
        f'"event_version":{f.version},"timestamp":"{instant(f.at)}","metadata":{{"correlation_id":"{aggregate_id}"}},"payload":{{{f.body}}}}}'
    )


def _older(f: Fact) -> str:
    kind = _SYNONYMS.get(f.kind, f.kind)
    return (
        f'{{"event_id":"{f.event_id}","event_type":"{kind}","aggregate_id":"{f.aggregate_id}","timestamp":"{instant(f.at)}",'
        f'"metadata":{{"source":"shop"}},"payload":{{{f.body}}}}}'
    )


def _camel(f: Fact) -> str:
    body = _SNAKE.sub(lambda found: found[1].upper(), f.body)
    kind = "PaymentCompleted" if f.kind == "PaymentProcessed" else f.kind
    return (
        f'{{"eventId":"{f.event_id}","eventType":"{kind}","aggregateId":"{f.aggregate_id}","version":{f.version},'
        f'"timestamp":"{instant(f.at)}","correlationId":"{f.aggregate_id}","payload":{{{body}}}}}'
    )


def _cloud(f: Fact) -> str:
    return (
        f'{{"specversion":"1.0","id":"{f.event_id}","type":"{_dotted(f.kind)}","source":"/shop","subject":"{f.aggregate_id}",'
        f'"time":"{instant(f.at)}","data":{{{f.body}}}}}'
    )


def _bus(f: Fact) -> str:
    return f'{{"event_id":"{f.event_id}","event_type":"{_dotted(f.kind)}","timestamp":"{instant(f.at)}","data":{{{f.body}}}}}'


def _flat(f: Fact) -> str:
    kind = _SYNONYMS.get(f.kind, f.kind)
    return f'{{"event_id":"{f.event_id}","event_type":"{kind}","event_version":"v{f.version}","timestamp":"{instant(f.at)}",{f.body}}}'


_FOREIGN = (_older, _camel, _cloud, _bus, _flat)
_FORMS = (_canonical,) * 45 + _FOREIGN


def write(fact: Fact, bits: int) -> str:
    """The fact in a form chosen by `bits`: canonical in 9 of 10 cases, as in a shop whose services were nearly all moved over."""
    return _FORMS[bits % len(_FORMS)](fact)


def write_foreign(fact: Fact, bits: int) -> str:
    """The fact in one of the foreign forms, chosen by `bits`."""
    return _FOREIGN[bits % len(_FOREIGN)](fact)
