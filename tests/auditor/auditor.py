"""Predicts the `replay --json` report of recorded files (section 3 of the specification, and the counting rules of the report).

Plain Python, on purpose: it imports nothing of the product and shares nothing with it but the specification. It knows the orders agent
only: `alerts`, `stock`, the timing and FraudAlertRaised under `emitted` are not predicted.
"""

from collections import Counter
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Any

from tests.auditor.holdings import HOUR_MS, MINUTE_MS, SECOND_MS
from tests.auditor.life import APPLIED, DUPLICATE, IGNORED, PARKED, Illegal, Order
from tests.auditor.reading import Bad, Said, major, read

LATENESS_MS = 30 * SECOND_MS
PATIENCE_MS = 15 * MINUTE_MS
SAME_EVENT_MS = 24 * HOUR_MS
AHEAD_MS = 30 * 24 * HOUR_MS


class Known:
    """What is remembered of one order id, created or not: its life, and the facts that came too early."""

    def __init__(self, emitted: Counter[str]) -> None:
        self.order = Order(say=lambda kind: emitted.update((kind,)))
        self.waiting: list[Said] = []

    def next_due(self) -> int | None:
        dues = [said.at + PATIENCE_MS for said in self.waiting]
        due = self.order.next_due()
        return min([*dues, due] if due is not None else dues, default=None)


class Auditor:
    """Feed it the lines of the files in order, then ask for the report."""

    def __init__(self, lateness_ms: int = LATENESS_MS) -> None:
        self.lateness_ms = lateness_ms
        self.greatest: int | None = None
        self.known: dict[str, Known] = {}
        self.seen: dict[str, int] = {}
        self.records = 0
        self.outcomes: Counter[str] = Counter()
        self.letters: Counter[str] = Counter()
        self.emitted: Counter[str] = Counter()
        self.dues: list[tuple[int, str]] = []

    def hear_all(self, lines: Iterable[bytes]) -> "Auditor":
        for line in lines:
            if line.strip():
                self.hear(line)
        return self

    def hear(self, line: bytes) -> None:
        self.records += 1
        try:
            said = read(line)
        except Bad as bad:
            self.letters[bad.reason] += 1
            return
        if self.greatest is not None and said.at > self.greatest + AHEAD_MS:
            self.letters["invalid"] += 1
            return
        self.greatest = max(self.greatest or said.at, said.at)
        if said.order_id in self.known:
            self.fire_one(said.order_id, said.at)
        self.fire_all(self.greatest - self.lateness_ms)
        first = self.seen.get(said.event_id)
        if first is not None and abs(said.at - first) <= SAME_EVENT_MS:
            self.outcomes[DUPLICATE] += 1
        elif said.kind == "" or said.order_id == "":
            self.seen[said.event_id] = said.at
            self.outcomes[IGNORED] += 1
        else:
            self.seen[said.event_id] = said.at
            self.judge(said)

    def judge(self, said: Said) -> None:
        known = self.known.get(said.order_id) or self.known.setdefault(said.order_id, Known(self.emitted))
        outcome = self.outcome(known, said)
        if outcome == PARKED:
            known.waiting.append(said)
        elif outcome is not None:
            self.outcomes[outcome] += 1
        if outcome == APPLIED:
            self.settle(known)
        self.note_due(said.order_id)

    def outcome(self, known: Known, said: Said) -> str | None:
        """None when it became a dead letter."""
        try:
            return known.order.hear(said)
        except Illegal:
            self.letters["illegal_transition"] += 1
        except Bad as bad:
            self.letters[bad.reason] += 1
            self.seen.pop(said.event_id, None)  # a record that cannot be read leaves no memory
        return None

    def settle(self, known: Known) -> None:
        """After each change the facts that wait are tried again, first come first."""
        changed = True
        while changed:
            changed = False
            for said in known.waiting:
                outcome = self.outcome(known, said)
                if outcome != PARKED:
                    known.waiting.remove(said)
                    if outcome is not None:
                        self.outcomes[outcome] += 1
                    changed = True
                    break

    # --- Time: deadlines pass before the record that passes them; the end of a file passes none. ---

    def note_due(self, order_id: str) -> None:
        due = self.known[order_id].next_due()
        if due is not None:
            heappush(self.dues, (due, order_id))

    def fire_all(self, until: int) -> None:
        while self.dues and self.dues[0][0] <= until:
            due, order_id = heappop(self.dues)
            if self.known[order_id].next_due() == due:
                self.fire_one(order_id, due)

    def fire_one(self, order_id: str, until: int) -> None:
        known = self.known[order_id]
        fired = False
        while (due := known.next_due()) is not None and due <= until:
            fired = True
            orphan = next((said for said in known.waiting if said.at + PATIENCE_MS == due), None)
            if orphan is not None:
                known.waiting.remove(orphan)
                self.letters["orphaned"] += 1
            else:
                known.order.time_comes()
                self.settle(known)
        if fired:
            self.note_due(order_id)

    # --- The report. ---

    def orders(self) -> dict[str, Order]:
        """Those with an OrderCreated, by id."""
        return {order_id: known.order for order_id, known in self.known.items() if known.order.status != "UNKNOWN"}

    def report(self) -> dict[str, Any]:
        orders = self.orders().values()
        return {
            "records": self.records,
            "events": self.records - self.letters["malformed"],
            "applied": self.outcomes[APPLIED],
            "duplicates": self.outcomes[DUPLICATE],
            "ignored": self.outcomes[IGNORED],
            "parked": sum(len(known.waiting) for known in self.known.values()),
            "dead_letters": dict(sorted(self.letters.items())),
            "emitted": dict(sorted(self.emitted.items())),
            "orders": dict(sorted(Counter(order.status for order in orders).items())),
            "money": money(orders),
        }


def money(orders: Iterable[Order]) -> dict[str, dict[str, str]]:
    sums: dict[str, Counter[str]] = {}
    for order in orders:
        for currency in sorted({order.currency, *order.refunded, *(p.currency for p in order.payments.values())}):
            own = order.total if currency == order.currency else 0
            captured, refunded = order.captured(currency), order.refunded[currency]
            due_back = sum(p.asked_back for p in order.payments.values() if p.currency == currency)
            may_keep = 0 if order.status == "CANCELLED" else own
            line = sums.setdefault(currency, Counter())
            line["authorised"] += own
            line["captured"] += captured
            line["refunded"] += refunded
            line["unbalanced"] += max(0, captured - max(refunded, due_back) - may_keep)
    names = ("authorised", "captured", "refunded", "unbalanced")
    return {currency: {name: major(line[name], currency) for name in names} for currency, line in sorted(sums.items())}
