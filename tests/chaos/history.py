"""What services write to Kafka in some days: orders and all that happens to them, under the keys that real producers use.

The steps of one order are further apart than the pipeline's lateness, so that how it ends follows from the history alone.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple, TypeAlias

from aiokafka.partitioner import murmur2

from pipeline.replay.forms import Fact, instant, write, write_foreign

SECOND_MS = 1_000
HOUR_MS = 3_600_000
OPENING_MS = 1_735_689_600_000
"""2025-01-01T00:00:00Z: the first day begins."""
DAY_MS = 30 * HOUR_MS
CLOSING_MS = 27 * HOUR_MS
"""After a day's beginning: every deadline of that day but that of parcels has passed."""
PACE = 5
"""Event time goes by so many times faster than the wall clock while a day is written."""
LATENESS_SECONDS = 5
LONGEST_GAP_MS = 16 * SECOND_MS
PARTITIONS = {"order.events": 6, "payment.events": 3, "inventory.events": 6, "shipping.events": 6}

STORIES = {
    "happy": (400, "created reserved paid scheduled delivered"),
    "paidfirst": (60, "created paid reserved scheduled delivered"),
    "added": (60, "created added reserved-first reserved-added paid scheduled delivered"),
    "partial": (40, "created reserved part rest scheduled delivered"),
    "extra": (40, "created reserved paid extra extra-back scheduled delivered"),
    "overpaid": (30, "created reserved overpaid excess-back scheduled delivered"),
    "declined": (60, "created reserved declined released"),
    "shortage": (40, "created shortage"),
    "paidshortage": (20, "created paid shortage refunded"),
    "cancelpending": (20, "created cancelled reserved released"),
    "cancelreserved": (20, "created reserved cancelled released"),
    "cancelpaid": (40, "created reserved paid cancelled refunded released"),
    "cancelshipped": (30, "created reserved paid scheduled cancelled recalled refunded released"),
    "latepayment": (20, "created reserved cancelled released paid refunded"),
    "unshippable": (20, "created reserved paid unshippable refunded released"),
    "toolate": (10, "created reserved paid scheduled delivered added"),
    # Their deadlines pass when the day closes, and nobody answers what is asked for then.
    "silent": (20, "created"),
    "unpaid": (20, "created reserved"),
    "unshipped": (20, "created reserved paid"),
    "unborn": (10, "paid"),
}
CURRENCIES = (("USD", 2),) * 5 + (("EUR", 2),) * 3 + (("JPY", 0), ("BHD", 3))

Place: TypeAlias = tuple[str, int, int]
"""Topic, partition, offset."""


class Line(NamedTuple):
    """One record, as its producer writes it."""

    due_ms: int
    """Event time at which it is written; it may tell of something earlier."""
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    stamp: int
    """The record's own time: that of its event."""
    order_id: str = ""


class Order:
    """One order and its amounts in minor units."""

    def __init__(self, day: int, number: int, story: str, random: Random) -> None:
        self.number = f"{day}x{number}"
        self.id = f"o-{self.number}-{story}"
        self.currency, self.digits = random.choice(CURRENCIES)
        self.total = 10 ** (self.digits + 1) + random.randrange(10 ** (self.digits + 2))
        self.added = random.randrange(1, 10 ** (self.digits + 1)) if story == "added" else 0
        self.due = self.total + self.added
        self.sku = f"SKU{random.randrange(40):03d}"

    def money(self, minor: int) -> str:
        whole, fraction = divmod(minor, 10**self.digits)
        return f'"{whole}.{fraction:0{self.digits}d}"' if self.digits else f'"{minor}"'

    def items(self) -> str:
        return f'"items":[{{"sku":"{self.sku}","quantity":2}}]'

    def payment(self, name: str, minor: int) -> str:
        return f'"payment_id":"{name}{self.number}","user_id":"c{self.number}","amount":{self.money(minor)},"currency":"{self.currency}"'


class Step(NamedTuple):
    kind: str
    topic: str
    body: Callable[[Order], str]


STEPS = {
    "created": Step(
        "OrderCreated",
        "order.events",
        lambda o: f'"customer_id":"c{o.number}",{o.items()},"total":{o.money(o.total)},"currency":"{o.currency}"',
    ),
    "added": Step("ItemAdded", "order.events", lambda o: f'"sku":"SKU099","quantity":1,"total":{o.money(o.added)}'),
    "cancelled": Step("OrderCancelled", "order.events", lambda _: '"reason":"customer"'),
    "reserved": Step("InventoryReserved", "inventory.events", lambda _: ""),
    "reserved-first": Step("InventoryReserved", "inventory.events", Order.items),
    "reserved-added": Step("InventoryReserved", "inventory.events", lambda _: '"items":[{"sku":"SKU099","quantity":1}]'),
    "shortage": Step("InventoryShortage", "inventory.events", lambda _: ""),
    "released": Step("InventoryReleased", "inventory.events", lambda _: ""),
    "paid": Step("PaymentProcessed", "payment.events", lambda o: o.payment("p", o.due)),
    "part": Step("PaymentProcessed", "payment.events", lambda o: o.payment("p", o.due // 2)),
    "rest": Step("PaymentProcessed", "payment.events", lambda o: o.payment("q", o.due - o.due // 2)),
    "extra": Step("PaymentProcessed", "payment.events", lambda o: o.payment("q", o.due)),
    "overpaid": Step("PaymentProcessed", "payment.events", lambda o: o.payment("p", o.due + o.due // 9)),
    "declined": Step("PaymentFailed", "payment.events", lambda o: f'"payment_id":"p{o.number}","user_id":"c{o.number}","reason":"no"'),
    "refunded": Step("PaymentRefunded", "payment.events", lambda o: o.payment("p", o.due)),
    "extra-back": Step("PaymentRefunded", "payment.events", lambda o: o.payment("q", o.due)),
    "excess-back": Step("PaymentRefunded", "payment.events", lambda o: o.payment("p", o.due // 9)),
    "scheduled": Step("ShipmentScheduled", "shipping.events", lambda o: f'"shipment_id":"s{o.number}"'),
    "unshippable": Step("ShipmentFailed", "shipping.events", lambda _: ""),
    "recalled": Step("ShipmentCancelled", "shipping.events", lambda _: ""),
    "delivered": Step("ShipmentDelivered", "shipping.events", lambda _: ""),
}
NO_ORDER = (
    '{{"event_id":"x{n}","event_type":"OrderCreated","event_version":%d,"timestamp":"{at}",'
    '"payload":{{"order_id":"x-{n}","customer_id":"x{n}","items":[{{"sku":"SKU001","quantity":1}}],%s}}}}'
)
POISON: tuple[str | None, ...] = (
    None,
    "",
    '{{"event_id":"x{n}","event_type":"OrderCreated","timestamp":"{at}","payload":{{"order_id":"x-{n}-cut',
    '["x{n}","OrderCreated","{at}"]',
    '{{"note":"no known form","number":"{n}"}}',
    NO_ORDER % (2, '"total":"1.2345","currency":"USD"'),
    NO_ORDER % (2, '"total":-1.00,"currency":"USD"'),
    NO_ORDER % (2, '"total":"1.00","currency":"ZZZ"'),
    NO_ORDER % (99, '"total":"1.00","currency":"USD"'),
)


def partition_of(key: bytes, topic: str) -> int:
    """As the default of the Java clients."""
    found: int = (murmur2(key) & 0x7FFFFFFF) % PARTITIONS[topic]
    return found


class Day:
    """All lines of one day, and those that close it: to be written when all others have been read."""

    def __init__(self, seed: int, number: int, *, seconds: float, rate: float) -> None:
        """About `rate` lines in each of `seconds` seconds of the wall clock."""
        self.number = number
        self.begin = OPENING_MS + number * DAY_MS
        self._random = Random(f"{seed}/{number}")
        self._cast = [name for name, (share, _) in STORIES.items() for _ in range(share)]
        told: list[Line] = []
        count = max(6, int(seconds * rate / 5))
        for n in range(count):
            told += self._order(n, self.begin + int(n * seconds * PACE * SECOND_MS / count))
        self.lines = sorted(told, key=lambda line: line.due_ms)
        self.closing = [self._closer(partition) for partition in range(PARTITIONS["order.events"])]

    def _order(self, n: int, at: int) -> Iterator[Line]:
        random = self._random
        story = random.choice(self._cast)
        order = Order(self.number, n, story, random)
        lost = random.randrange(60) == 0
        payments = self._whose(order)
        for place, step in enumerate(STORIES[story][1].split()):
            kind, topic, body = STEPS[step]
            rest = body(order)
            fact = Fact(f"e{order.number}-{place}", kind, order.id, at, f'"order_id":"{order.id}"{"," if rest else ""}{rest}')
            key, partition = payments if topic == "payment.events" else self._own(topic, None if lost and step == "created" else order.id)
            value = write(fact, random.getrandbits(32)).encode()
            late = random.randrange(40) == 0
            due = at + (random.randrange(1, 20 * SECOND_MS) if late else 0)
            yield Line(due, topic, partition, key, value, at, order.id)
            if random.randrange(40) == 0:
                again = value if random.randrange(2) else write_foreign(fact, random.getrandbits(32)).encode()
                yield Line(due + random.randrange(6, 20) * SECOND_MS, topic, partition, key, again, at, order.id)
            at = due + random.randrange((LATENESS_SECONDS + 2) * SECOND_MS, LONGEST_GAP_MS)
        if random.randrange(30) == 0:
            yield self._poison(order, at)
        if random.randrange(30) == 0:
            fact = Fact(f"u{order.number}", "LoyaltyPointsEarned", order.id, at, f'"order_id":"{order.id}","points":5')
            key = order.id.encode()
            yield Line(at, "order.events", partition_of(key, "order.events"), key, write(fact, 0).encode(), at)

    def _whose(self, order: Order) -> tuple[bytes | None, int]:
        """Payments are keyed as it pleases whoever takes them; but all of an order alike, or nobody could tell their order."""
        return self._own("payment.events", self._random.choice((f"p{order.number}", f"c{order.number}", order.id, None)))

    def _own(self, topic: str, name: str | None) -> tuple[bytes | None, int]:
        """Key and partition."""
        if name is None:
            return None, self._random.randrange(PARTITIONS[topic])
        return name.encode(), partition_of(name.encode(), topic)

    def _poison(self, order: Order, at: int) -> Line:
        form = self._random.choice(POISON)
        topic = self._random.choice(tuple(PARTITIONS))
        value = None if form is None else form.format(n=order.number, at=instant(at)).encode()
        key, partition = self._own(topic, None if value is not None and self._random.randrange(2) else f"x{order.number}")
        return Line(at, topic, partition, key, value, at)

    def _closer(self, partition: int) -> Line:
        n = 0
        while True:
            order = Order(self.number, 1_000_000 + n, "closer", self._random)
            key = order.id.encode()
            if partition_of(key, "order.events") == partition:
                break
            n += 1
        at = self.begin + CLOSING_MS
        fact = Fact(f"e{order.number}-0", "OrderCreated", order.id, at, f'"order_id":"{order.id}",{STEPS["created"].body(order)}')
        return Line(at, "order.events", partition, key, write(fact, 0).encode(), at, order.id)
