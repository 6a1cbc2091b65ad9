"""Histories for workers on Kafka, cut where facts of different topics would race: what comes of them is one thing, on any log."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from msgspec import structs

from pipeline.composition import embedded
from pipeline.log.record import Record, header
from pipeline.replay.feed import draft
from pipeline.settings import Settings
from schemas.codec import Bad, decode
from schemas.message import Envelope, Message
from schemas.orders import OrderCreated
from schemas.topics import DEAD_LETTERS, FRAUD_ALERTS, LATE, PAYMENT_EVENTS, TOPICS
from tests.agents.words import CANCELLED, CREATED, DECLINED, DELIVERED, NOT_SHIPPED, PAID, REFUNDED, RELEASED, RESERVED, SCHEDULED, SHORTAGE
from tests.engine.driver import line

PUBLIC = frozenset(topic.name for topic in TOPICS) - {DEAD_LETTERS.name, LATE.name}
REKEYED = frozenset({PAYMENT_EVENTS.name, FRAUD_ALERTS.name})
"""Their records come to the orders by way of an inbox."""
ORDERS = 36
PHASE_MS = 30_000
RUBBISH = (b'{"no": "form"}', b"rubbish")

LIVES: tuple[tuple[tuple[Message, ...], ...], ...] = (
    ((CREATED, RESERVED), (PAID,), (SCHEDULED, DELIVERED)),
    ((CREATED, SHORTAGE),),
    ((CREATED, RESERVED), (DECLINED,), (RELEASED,)),
    ((CREATED, RESERVED), (PAID,), (CANCELLED,), (REFUNDED,), (RELEASED,)),
    ((CREATED, RESERVED), (PAID,), (NOT_SHIPPED,), (REFUNDED,), (RELEASED,)),
    ((CREATED, CREATED, RESERVED, RESERVED), (PAID, PAID), (SCHEDULED, DELIVERED, SCHEDULED)),
)
"""What happens to an order, phase by phase: payments never in one phase with anything else."""


@cache
def phases(orders: int = ORDERS) -> tuple[tuple[bytes, ...], ...]:
    """Orders of every life. A phase is to be written when the one before is done."""
    found: list[list[tuple[int, bytes]]] = [[] for _ in range(max(map(len, LIVES)))]
    for number in range(orders):
        for phase, messages in enumerate(LIVES[number % len(LIVES)]):
            for step, message in enumerate(messages):
                at_ms = phase * PHASE_MS + step * (PHASE_MS // 4) + number
                found[phase].append((at_ms, line(_of(number, message), at_ms, _id(number, phase, message))))
    return tuple((*(line for _, line in sorted(phase)), RUBBISH[number % 2]) for number, phase in enumerate(found))


def _of(number: int, message: Message) -> Message:
    own: dict[str, Any] = {"order_id": f"o-{number}"}
    return structs.replace(message, **own | ({"customer_id": f"c-{number % 5}"} if isinstance(message, OrderCreated) else {}))


def _id(number: int, phase: int, message: Message) -> str:
    """Said twice, it is the same event."""
    return f"{message.wire.name}-{number}-{phase}"


def rounds(lines: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Lines in their order, cut so that no round has records of one order on two ways."""
    found: list[bytes] = []
    ways: dict[str, bool] = {}
    for each in lines:
        said = draft(each)
        order, way = _order(said.value, said.headers), said.topic in REKEYED
        if order and ways.get(order, way) != way:
            yield found
            found, ways = [], {}
        if order:
            ways[order] = way
        found.append(each)
    yield found


def _order(value: bytes | None, headers: tuple[tuple[str, bytes], ...]) -> str:
    try:
        heard = decode(value, headers)
    except Bad:
        return ""
    return getattr(heard.payload, "order_id", "") if isinstance(heard, Envelope) else ""


class Expected(NamedTuple):
    """What comes of a history in this process, where nothing disturbs it."""

    rows: Mapping[str, Any]
    outcomes: Mapping[str, int]
    ids: Counter[str]
    letters: Counter[tuple[str, bytes | None]]


def expected(lines: Sequence[bytes], settings: Settings) -> Expected:
    async def running() -> Expected:
        told: list[Record] = []
        async with embedded(settings, folder=None) as pipeline:
            pipeline.emitted.append(told.append)
            await pipeline.feed([pipeline.record(*draft(each)) for each in lines])
            await pipeline.settle()
            return Expected(dict(pipeline.rows("orders")), outcomes(pipeline.counts()), ids(told), letters(told))

    return asyncio.run(running())


def outcomes(counts: Mapping[str, int]) -> dict[str, int]:
    """What became of what was written."""
    return {name: count for name, count in counts.items() if name.startswith("input.") and count}


def ids(records: Sequence[Record]) -> Counter[str]:
    """Of the events that agents said."""
    said = (decode(record.value, record.headers) for record in records if record.topic in PUBLIC)
    return Counter(heard.event_id for heard in said if isinstance(heard, Envelope))


def letters(records: Sequence[Record]) -> Counter[tuple[str, bytes | None]]:
    """Reason and original."""
    dead = (record for record in records if record.topic == DEAD_LETTERS.name)
    return Counter(((header(record.headers, "orderflow-reason") or b"").decode(), record.value) for record in dead)
