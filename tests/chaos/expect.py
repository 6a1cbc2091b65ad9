"""What a history must come to, by the auditor: he knows the rules, and nothing of the engine."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from tests.auditor.auditor import Auditor, Known
from tests.auditor.reading import Said
from tests.chaos.history import CLOSING_MS, DAY_MS, HOUR_MS, LATENESS_SECONDS, OPENING_MS, SECOND_MS, Line


class Expected(Auditor):
    """What the lines must come to in the order in which they were written; with what is said of each order."""

    def __init__(self, lines: Iterable[Line]) -> None:
        super().__init__(LATENESS_SECONDS * SECOND_MS)
        self.said: dict[str, Counter[str]] = defaultdict(Counter)
        for line in lines:
            if line.value:
                self.hear(line.value)
            else:
                self.letters["malformed"] += 1  # he reads files, which have no empty records

    def fire_all(self, until: int) -> None:
        """Only when a day closes: before, whoever is ahead in one topic must not pass the deadlines of what is still to come in another."""
        if (until - OPENING_MS) % DAY_MS >= CLOSING_MS - HOUR_MS:
            super().fire_all(until)

    def judge(self, said: Said) -> None:
        if said.order_id not in self.known:
            self.known[said.order_id] = Known(self.said[said.order_id])
        super().judge(said)

    def named(self) -> Counter[str]:
        """What became of the records, under the names that heads use."""
        told = self.report()
        found = Counter({"applied": told["applied"], "duplicate": told["duplicates"], "ignored": told["ignored"], "parked": told["parked"]})
        found.update({f"dead.{reason}": count for reason, count in told["dead_letters"].items()})
        return found
