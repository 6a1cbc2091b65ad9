"""A seeded shop: any number of recorded orders, each with a story whose end is known before the first line is read.

The same (orders, seed) gives the same bytes on every machine: one `random.Random(seed)`, whole numbers only, no clock. Memory is that of
the orders open at one moment. The services' answers are recorded: the lines are meant for `replay --services recorded`.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from random import Random
from typing import NamedTuple

from pipeline.replay.forms import Fact, instant, write, write_foreign

_SECOND_MS = 1_000
_MINUTE_MS = 60 * _SECOND_MS
_HOUR_MS = 60 * _MINUTE_MS

_OPENING_MS = 1_735_689_600_000
"""2025-01-01T00:00:00Z: event time of the first order."""
_CLOSING_MS = 26 * _HOUR_MS
"""The last order comes this much later than the one before it: time has then passed every deadline that a story counts on."""


class _Story(NamedTuple):
    share: int
    """Of a thousand orders."""
    end: str
    """The status after the last line."""
    steps: str


_STORIES = {
    "happy": _Story(640, "COMPLETED", "created reserved paid scheduled delivered"),
    "paid-first": _Story(40, "COMPLETED", "created paid reserved scheduled delivered"),
    "item-added": _Story(60, "COMPLETED", "created added reserved-first reserved-added paid scheduled delivered"),
    "partial": _Story(16, "COMPLETED", "created reserved part rest scheduled delivered"),
    "extra": _Story(10, "COMPLETED", "created reserved paid extra extra-back scheduled delivered"),
    "overpaid": _Story(8, "COMPLETED", "created reserved overpaid excess-back scheduled delivered"),
    "early-facts": _Story(16, "COMPLETED", "created reserved paid delivered-early scheduled-late"),
    "refused": _Story(10, "COMPLETED", "created reserved paid scheduled cancelled delivered-early"),
    "lost-parcel": _Story(4, "SHIPPED", "created reserved paid scheduled"),
    "declined": _Story(60, "CANCELLED", "created reserved declined released"),
    "shortage": _Story(38, "CANCELLED", "created shortage"),
    "paid-shortage": _Story(6, "CANCELLED", "created paid shortage refunded"),
    "cancel-pending": _Story(12, "CANCELLED", "created cancelled reserved released"),
    "cancel-reserved": _Story(14, "CANCELLED", "created reserved cancelled released"),
    "cancel-paid": _Story(14, "CANCELLED", "created reserved paid cancelled refunded released"),
    "cancel-shipped": _Story(8, "CANCELLED", "created reserved paid scheduled cancelled recalled refunded released"),
    "late-payment": _Story(10, "CANCELLED", "created reserved cancelled released paid refunded"),
    "unshippable": _Story(12, "CANCELLED", "created reserved paid unshippable refunded released"),
    "stock-timeout": _Story(6, "CANCELLED", "created"),
    "late-stock": _Story(4, "CANCELLED", "created reserved-late released"),
    "payment-timeout": _Story(10, "CANCELLED", "created reserved released-late"),
    "carrier-timeout": _Story(2, "CANCELLED", "created reserved paid refunded-late released"),
}
STORIES: dict[str, str] = {name: story.end for name, story in _STORIES.items()}
"""Story name -> the status its orders end in. The order id ends in the story's name: `o-123-happy`, see `story_of`."""


def story_of(order_id: str) -> str:
    """The story's name in a generated order id."""
    return order_id.split("-", 2)[2]


class _Order:
    """One order and its amounts, in minor units. `due` is what must be paid: the total and what was added to it."""

    __slots__ = ("added", "body", "currency", "digits", "due", "id", "number", "quantity", "total")

    def __init__(self, number: int, story: str, currency: str, digits: int, bits: int) -> None:
        self.number = number
        self.id = f"o-{number}-{story}"
        self.currency = currency
        self.digits = digits
        unit: int = 10**digits
        self.total = (200 + bits % 3_800) if digits == 0 else 2 * unit + bits % (400 * unit)
        self.quantity = 1 + bits % 3
        self.added = self.quantity * (1 + bits % 97) if story == "item-added" else 0
        self.due = self.total + self.added
        self.body = f'"order_id":"{self.id}"'

    def money(self, minor: int) -> str:
        """Written with all digits of the currency; every fourth order's services write numbers, the others strings."""
        if self.digits == 0:
            text = str(minor)
        else:
            whole, fraction = divmod(minor, 10**self.digits)
            text = f"{whole}.{fraction:0{self.digits}d}"
        return text if self.number % 4 == 0 else f'"{text}"'


# --- What is said at each step. --------------------------------------------------------------------------------------


def _bare(o: _Order) -> str:
    return o.body


def _items(o: _Order) -> str:
    sku = o.number % 20 + 1
    second = f',{{"sku":"SKU{sku + 20:03d}","quantity":1}}' if o.number % 3 == 0 else ""
    return f'"items":[{{"sku":"SKU{sku:03d}","quantity":{o.quantity}}}{second}]'


def _created(o: _Order) -> str:
    # A price in dollars without a currency is version 1: one order of twenty.
    currency = "" if o.currency == "USD" and o.number % 10 == 0 else f',"currency":"{o.currency}"'
    return f'{o.body},"customer_id":"c{o.number}",{_items(o)},"total":{o.money(o.total)}{currency}'


def _extra_item(o: _Order) -> str:
    return f'"sku":"SKU{o.number % 7 + 50:03d}","quantity":{o.quantity}'


def _added(o: _Order) -> str:
    worth = f'"total":{o.money(o.added)}' if o.number % 2 else f'"price":{o.money(o.added // o.quantity)}'
    return f"{o.body},{_extra_item(o)},{worth}"


def _reserved_first(o: _Order) -> str:
    return f"{o.body},{_items(o)}"


def _reserved_added(o: _Order) -> str:
    return f'{o.body},"items":[{{{_extra_item(o)}}}]'


def _payment(o: _Order, payment: str, minor: int) -> str:
    # A payment without a currency is in its order's.
    currency = f',"currency":"{o.currency}"' if o.number % 5 else ""
    return f'{o.body},"payment_id":"{payment}{o.number}","user_id":"c{o.number}","amount":{o.money(minor)}{currency}'


def _paid(o: _Order) -> str:
    return _payment(o, "p", o.due)


def _extra(o: _Order) -> str:
    return _payment(o, "q", o.due)


def _part(o: _Order) -> str:
    return _payment(o, "p", o.due // 2)


def _rest(o: _Order) -> str:
    return _payment(o, "q", o.due - o.due // 2)


def _overpaid(o: _Order) -> str:
    return _payment(o, "p", o.due + o.due // 9)


def _excess(o: _Order) -> str:
    return _payment(o, "p", o.due // 9)


def _declined(o: _Order) -> str:
    return f'{o.body},"payment_id":"p{o.number}","user_id":"c{o.number}","reason":"card_declined"'


def _cancelled(o: _Order) -> str:
    return f'{o.body},"reason":"customer"'


def _scheduled(o: _Order) -> str:
    return f'{o.body},"shipment_id":"s{o.number}"'


class _Step(NamedTuple):
    kind: str
    least_ms: int
    """After the step before it, and at most `least_ms` + `span_ms`."""
    span_ms: int
    body: Callable[[_Order], str]


_PROMPT_MS = 20 * _SECOND_MS
_STEPS = {
    "created": _Step("OrderCreated", 0, 1, _created),
    "added": _Step("ItemAdded", _SECOND_MS, 2 * _SECOND_MS, _added),
    "reserved": _Step("InventoryReserved", _SECOND_MS, 4 * _SECOND_MS, _bare),
    "reserved-first": _Step("InventoryReserved", _SECOND_MS, 4 * _SECOND_MS, _reserved_first),
    "reserved-added": _Step("InventoryReserved", _SECOND_MS, 4 * _SECOND_MS, _reserved_added),
    "shortage": _Step("InventoryShortage", _SECOND_MS, 4 * _SECOND_MS, _bare),
    "paid": _Step("PaymentProcessed", 5 * _SECOND_MS, _MINUTE_MS, _paid),
    "part": _Step("PaymentProcessed", 5 * _SECOND_MS, _MINUTE_MS, _part),
    "rest": _Step("PaymentProcessed", 5 * _SECOND_MS, _MINUTE_MS, _rest),
    "extra": _Step("PaymentProcessed", 5 * _SECOND_MS, _MINUTE_MS, _extra),
    "overpaid": _Step("PaymentProcessed", 5 * _SECOND_MS, _MINUTE_MS, _overpaid),
    "declined": _Step("PaymentFailed", 3 * _SECOND_MS, 30 * _SECOND_MS, _declined),
    "scheduled": _Step("ShipmentScheduled", 30 * _SECOND_MS, 10 * _MINUTE_MS, _scheduled),
    "scheduled-late": _Step("ShipmentScheduled", 2 * _SECOND_MS, _PROMPT_MS, _scheduled),
    "unshippable": _Step("ShipmentFailed", 30 * _SECOND_MS, 10 * _MINUTE_MS, _bare),
    "delivered": _Step("ShipmentDelivered", 10 * _MINUTE_MS, 50 * _MINUTE_MS, _bare),
    "delivered-early": _Step("ShipmentDelivered", 20 * _SECOND_MS, 2 * _MINUTE_MS, _bare),
    "cancelled": _Step("OrderCancelled", 5 * _SECOND_MS, _MINUTE_MS, _cancelled),
    # Answers of compensations come well within the five minutes after which the command would be repeated.
    "released": _Step("InventoryReleased", _SECOND_MS, _PROMPT_MS, _bare),
    "refunded": _Step("PaymentRefunded", _SECOND_MS, _PROMPT_MS, _paid),
    "extra-back": _Step("PaymentRefunded", _SECOND_MS, _PROMPT_MS, _extra),
    "excess-back": _Step("PaymentRefunded", _SECOND_MS, _PROMPT_MS, _excess),
    "recalled": _Step("ShipmentCancelled", _SECOND_MS, _PROMPT_MS, _bare),
    # After the deadline of the step before: 5 minutes for stock, 15 for payment, 24 hours for the carrier.
    "reserved-late": _Step("InventoryReserved", 5 * _MINUTE_MS + 2 * _SECOND_MS, _MINUTE_MS, _bare),
    "released-late": _Step("InventoryReleased", 15 * _MINUTE_MS + 2 * _SECOND_MS, _MINUTE_MS, _bare),
    "refunded-late": _Step("PaymentRefunded", 24 * _HOUR_MS + 2 * _SECOND_MS, _MINUTE_MS, _paid),
}

_PLOTS = tuple((name, tuple(_STEPS[step] for step in story.steps.split())) for name, story in _STORIES.items())
_CAST = tuple(plot for plot, story in zip(_PLOTS, _STORIES.values(), strict=True) for _ in range(story.share))
_HAPPY = _PLOTS[0]
_CURRENCIES = (("USD", 2),) * 8 + (("EUR", 2),) * 4 + (("GBP", 2),) * 2 + (("JPY", 0), ("BHD", 3))

# --- What goes wrong on the way in. ----------------------------------------------------------------------------------

_NO_ORDER = (
    '{{"event_id":"x{n}","event_type":"OrderCreated","event_version":%d,"timestamp":"{at}",'
    '"payload":{{"order_id":"x-{n}","customer_id":"x{n}","items":[{{"sku":"SKU001","quantity":1}}],%s}}}}'
)
_NO_PAYMENT = (
    '{{"event_id":"x{n}","event_type":"PaymentProcessed","event_version":1,"timestamp":"{at}",'
    '"payload":{{"order_id":"x-{n}","payment_id":"x{n}","user_id":"x{n}","amount":"1.00","currency":"EUR","status":"%s"}}}}'
)
_POISON = (
    '{{"event_id":"x{n}","event_type":"OrderCreated","timestamp":"{at}","payload":{{"order_id":"x-{n}-cut',
    '["x{n}","OrderCreated","{at}"]',
    '{{"note":"no known form","number":{n}}}',
    _NO_ORDER % (2, '"total":"1.2345","currency":"USD"'),
    _NO_ORDER % (2, '"total":-1.00,"currency":"USD"'),
    _NO_ORDER % (2, '"total":"NaN","currency":"USD"'),
    _NO_ORDER % (2, '"total":"1.00","currency":"ZZZ"'),
    _NO_ORDER % (99, '"total":"1.00","currency":"USD"'),
    _NO_PAYMENT % "pending",
    # Nobody ever creates this order: the payment waits, and is orphaned.
    _NO_PAYMENT % "completed",
)
_TOO_LATE = '"sku":"SKU099","quantity":1,"total":1'
"""An item added after the stock was reserved: never legal. Said of completed orders only."""


class _Shelf:
    """Lines that are written but not yet due, handed out by the time at which they arrive."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str]] = []
        self._count = 0

    def put(self, at: int, line: str) -> None:
        self._count += 1
        heappush(self._heap, (at, self._count, line))

    def until(self, at: int) -> Iterator[bytes]:
        heap = self._heap
        while heap and heap[0][0] <= at:
            yield heappop(heap)[2].encode()

    def rest(self) -> Iterator[bytes]:
        while self._heap:
            yield heappop(self._heap)[2].encode()


def generate(orders: int, seed: int) -> Iterator[bytes]:
    """The lines of a shop's log, without newlines, in the order they arrive: `orders` orders, about 5.5 lines each.

    About 1 line of 100 comes twice (half of them in a foreign form), 1 of 100 up to 20 s late, 1 of 200 ends among the dead letters.
    """
    random = Random(seed)
    shelf = _Shelf()
    clock = _OPENING_MS
    for number in range(1, orders + 1):
        bits = random.getrandbits(64)
        last = number == orders
        clock += _CLOSING_MS if last else 200 + bits % 1_800
        yield from shelf.until(clock)
        story, steps = _HAPPY if last else _CAST[(bits >> 11) % len(_CAST)]
        currency, digits = _CURRENCIES[(bits >> 22) % len(_CURRENCIES)]
        order = _Order(number, story, currency, digits, bits >> 26)
        end = _tell(order, steps, clock, random, shelf)
        aside = random.getrandbits(32)
        if aside % 2 == 0:
            _talk_past(order, clock, aside >> 1, shelf)
        if aside >> 18 & 31 == 0 and not last:
            _spoil(order, clock, end, aside >> 23, shelf)
    yield from shelf.rest()


def _tell(order: _Order, steps: tuple[_Step, ...], start: int, random: Random, shelf: _Shelf) -> int:
    """Puts the order's lines on the shelf. Answers with the event time of the last."""
    draws = [random.getrandbits(64) for _ in steps]
    times = []
    at = start
    for step, bits in zip(steps, draws, strict=True):
        at += step.least_ms + (bits & 0xFFFFFFFF) % step.span_ms
        times.append(at)
    for place, (step, bits) in enumerate(zip(steps, draws, strict=True)):
        fact = Fact(f"e{order.number}-{place}", step.kind, order.id, times[place], step.body(order))
        line = write(fact, bits >> 32)
        arrival = fact.at
        if bits >> 40 & 63 == 0:
            delay = 2_000 + (bits >> 46) % 18_000
            # Late, but before the next of its order: lateness alone must not change what follows.
            if place + 1 == len(steps) or times[place + 1] > arrival + delay + _SECOND_MS:
                arrival += delay
        shelf.put(arrival, line)
        if (bits >> 50) % 100 == 0:
            again = line if bits & 1 else write_foreign(fact, bits >> 33)
            shelf.put(arrival + _SECOND_MS + (bits >> 40) % _MINUTE_MS, again)
    return at


def _talk_past(order: _Order, start: int, bits: int, shelf: _Shelf) -> None:
    """What a shop's log also holds and nobody here reads; one of eight is of a type that nobody knows."""
    customer = f"c{order.number}"
    kind, about, rest = ("LoyaltyPointsEarned", order.id, '"points":5') if bits % 8 == 0 else ("UserRegistered", customer, '"plan":"free"')
    fact = Fact(f"u{order.number}", kind, about, start, f'"user_id":"{customer}",{rest}')
    shelf.put(start, write(fact, bits >> 3))
    if bits >> 10 & 127 == 0:
        shelf.put(start + _SECOND_MS, write(fact, bits >> 4))


def _spoil(order: _Order, start: int, end: int, bits: int, shelf: _Shelf) -> None:
    """One line that ends among the dead letters, beside an order or about it."""
    kind = bits % (len(_POISON) + 1)
    if kind < len(_POISON):
        shelf.put(start, _POISON[kind].format(n=order.number, at=instant(start)))
    elif STORIES[story_of(order.id)] == "COMPLETED":
        at = end + 30 * _SECOND_MS
        shelf.put(at, write(Fact(f"x{order.number}", "ItemAdded", order.id, at, f"{order.body},{_TOO_LATE}"), bits >> 4))
