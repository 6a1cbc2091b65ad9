"""The shipped rules by brute force: every payment is kept for ever, and counted again when one comes. Knows nothing of our code."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

SECOND = 1_000
MINUTE = 60 * SECOND
LATENESS = 30 * SECOND


class Paid(NamedTuple):
    """A payment of a user, or one that failed; in cents."""

    number: int
    user: int
    at: int
    cents: int
    currency: str = "USD"
    failed: bool = False

    @property
    def id(self) -> str:
        return f"e-{self.number}"


class Alert(NamedTuple):
    """Which rule, of whom, for which time, and what it took."""

    rule: str
    user: int
    start: int
    value: str
    cause: str


class Naive:
    """One at a time, in the order in which they come."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.late: list[str] = []
        self._now = -1
        self._seen: set[int] = set()
        self._known: dict[int, list[Paid]] = defaultdict(list)
        self._told: set[tuple[int, str, int]] = set()
        self._used: dict[str, set[str]] = defaultdict(set)

    def play(self, payments: Iterable[Paid]) -> "Naive":
        for paid in payments:
            self._now = max(self._now, paid.at)
            if paid.number in self._seen:
                continue
            self._seen.add(paid.number)
            if paid.at < self._now - LATENESS:
                self.late.append(paid.id)
                continue
            self._one(paid)
        return self

    def _one(self, paid: Paid) -> None:
        before = sorted(self._known[paid.user], key=lambda each: each.at)
        self._known[paid.user].append(paid)
        after = sorted(self._known[paid.user], key=lambda each: each.at)
        if not paid.failed:
            self._high_volume(paid, after)
            self._runs("velocity", paid, _ok(before), _ok(after), MINUTE, lambda held: len(held) > 10)
            self._runs(
                "high_average",
                paid,
                _ok(before, paid.currency),
                _ok(after, paid.currency),
                5 * MINUTE,
                lambda held: len(held) >= 3 and Fraction(sum(p.cents for p in held), len(held)) > 100_000,
            )
        self._followed(
            "probe_then_spend", paid, after, MINUTE, [lambda p: not p.failed and p.cents < 100, lambda p: not p.failed and p.cents > 50_000]
        )
        self._followed("card_testing", paid, after, 10 * MINUTE, [lambda p: p.failed] * 3 + [lambda p: not p.failed])

    def _high_volume(self, paid: Paid, after: Sequence[Paid]) -> None:
        start = paid.at // (5 * MINUTE) * 5 * MINUTE
        total = sum(p.cents for p in _ok(after, paid.currency) if start <= p.at < start + 5 * MINUTE)
        if total > 1_000_000 and (paid.user, paid.currency, start) not in self._told:
            self._told.add((paid.user, paid.currency, start))
            self.alerts.append(Alert("high_volume", paid.user, start, _money(total), paid.id))

    def _runs(self, rule, paid, before, after, size, over) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  # local
        known = {p.id for run in _over(before, size, over) for p in run}
        for run in _over(after, size, over):
            first = run[0]
            if not known & {p.id for p in run}:
                held = [p for p in after[: after.index(first) + 1] if p.at > first.at - size]
                window = (paid.user, rule if rule == "velocity" else rule + first.currency, first.at - size)
                if window in self._told:
                    continue
                self._told.add(window)
                value = str(len(held)) if rule == "velocity" else _money(round(Fraction(sum(p.cents for p in held), len(held))))
                self.alerts.append(Alert(rule, paid.user, first.at - size, value, paid.id))

    def _followed(self, rule, paid, after, within, steps) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  # local
        """Whatever comes before the end of a match, or with it, is used up."""
        key = f"{rule}/{paid.user}"
        while True:
            left = [p for p in after if p.id not in self._used[key]]
            match = next((found for i in range(len(left)) if (found := _chain(left[i:], steps, left[i].at + within))), None)
            if match is None:
                return
            relevant = [p for p in left if any(step(p) for step in steps)]
            self._used[key] |= {p.id for p in relevant[: relevant.index(match[-1]) + 1]}
            self.alerts.append(Alert(rule, paid.user, match[0].at, _money(match[-1].cents), paid.id))


def _ok(payments: Sequence[Paid], currency: str | None = None) -> list[Paid]:
    return [p for p in payments if not p.failed and currency in {None, p.currency}]


def _over(payments: Sequence[Paid], size: int, over) -> list[list[Paid]]:  # type: ignore[no-untyped-def]  # noqa: ANN001  # local
    """Runs of payments whose windows are over; each is in the window of the next one."""
    runs: list[list[Paid]] = [[]]
    for i, paid in enumerate(payments):
        if not over([p for p in payments[: i + 1] if p.at > paid.at - size]):
            runs.append([])
            continue
        if i and payments[i - 1].at <= paid.at - size:
            runs.append([])
        runs[-1].append(paid)
    return [run for run in runs if run]


def _chain(payments: Sequence[Paid], steps, until: int) -> list[Paid]:  # type: ignore[no-untyped-def]  # noqa: ANN001  # local
    """The first of these fits the first step; then the earliest one for each."""
    found: list[Paid] = []
    for paid in payments:
        if paid.at < until and len(found) < len(steps) and steps[len(found)](paid):
            found.append(paid)
        elif not found:
            return []
    return found if len(found) == len(steps) else []


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"
