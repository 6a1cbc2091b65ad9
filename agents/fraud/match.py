"""Rules at work on one user's activity: what a payment adds to windows and sequences, and what ends when time passes."""

from agents.fraud.rules import USUAL, Payment, Rule, RuleSet, SequenceRule, WindowRule
from schemas.codec import format_instant
from schemas.fraud import FraudAlertRaised
from schemas.message import Instant
from schemas.money import text
from tables.activity import Activity, Kept
from tables.windows import Crossing, Mark, Pane, add_mark, first_match, reachable, single, unanswered

_NOTHING = Kept()


class Applying:
    """A row in the making: rules are applied to it one after the other."""

    def __init__(self, rules: RuleSet, row: Activity, user_id: str) -> None:
        self._rules = rules
        self._row = row
        self._user_id = user_id
        self._windows = dict(row.windows)
        self._sequences = dict(row.sequences)
        self._unrated = row.unrated
        self._newest = row.newest
        self._wakes = row.wakes
        self.alerts: list[FraudAlertRaised] = []

    # --- a payment

    def payment(self, at: Instant, event_id: str, payment: Payment, horizon: Instant) -> Activity:
        """Nothing older than `horizon` comes any more: it has been turned away."""
        self._newest = max(self._newest, at)
        minor, currency = payment.amount_minor(USUAL), payment.currency or USUAL
        plain = single(at, event_id, minor)
        for rule in self._rules.windows[type(payment)]:
            if rule.where is None or rule.where.fits(payment):
                value, unit = self._worth(rule, minor, currency, at)
                if value is not None:
                    mark = None if rule.of is None else getattr(payment, rule.of) or currency
                    new = plain if mark is None and value == minor else single(at, event_id, value, mark)
                    self._window(rule, unit, new, horizon, payment.order_id)
        about = (payment.order_id, str(minor), currency)
        for sequence in self._rules.sequences[type(payment)]:
            if fits := sequence.fits(payment):
                self._sequence(sequence, Mark(at, event_id, fits, about), horizon)
        return self._after(self._newest)

    def _worth(self, rule: WindowRule, minor: int, currency: str, at: Instant) -> tuple[int | None, str]:
        """What counts, and the unit that it is in; None where nobody says what its currency is worth."""
        if not rule.convert_to:
            return minor, currency if rule.of_money else ""
        value = self._rules.converted(minor, currency, rule.convert_to, at)
        if value is None:
            self._unrated = {**self._unrated, rule.id: self._unrated.get(rule.id, 0) + 1}
        return value, rule.convert_to

    def _window(self, rule: WindowRule, unit: str, new: Pane, horizon: Instant, order_id: str) -> None:
        name = f"{rule.feed}/{unit}"
        kept = self._windows.get(name, _NOTHING)
        panes, raised = rule.window.add(kept.panes, new, horizon), kept.raised
        if rule.at_close:
            self._wake(rule.window.next_end(panes, kept.closed))
        else:
            found = rule.window.crossings(kept.panes, panes, new, rule.over(unit), raised)
            if raised or found:
                raised = rule.window.remembered((*raised, *(crossing.start for crossing in found)), panes, horizon)
            self.alerts += [self._crossed(rule, crossing, unit, order_id) for crossing in found]
        self._windows[name] = Kept(panes, raised, kept.closed)

    def _sequence(self, rule: SequenceRule, new: Mark, horizon: Instant) -> None:
        marks = add_mark(self._sequences.get(rule.feed, ()), new, horizon, rule.within_ms)
        self._sequences[rule.feed] = marks = self._matched(rule, marks, -1)
        self._wake(unanswered(marks, rule.steps, rule.within_ms))

    def _matched(self, rule: SequenceRule, marks: tuple[Mark, ...], now: Instant) -> tuple[Mark, ...]:
        """What is left when each match has had its alert, and has used up all up to its end."""
        while match := first_match(marks, rule.steps, rule.within_ms, now):
            order_id, minor, currency = match[-1].about
            ids = tuple(mark.id for mark in match)
            self.alerts.append(self._alert(rule, order_id, match[0].at, text(int(minor), currency), "", ids, currency))
            marks = marks[marks.index(match[-1]) + 1 :]
        return marks

    def _wake(self, at: Instant | None) -> None:
        if at is not None and (self._wakes is None or at < self._wakes):
            self._wakes = at

    # --- time

    def passed(self, now: Instant) -> Activity:
        """Windows that have ended have their final result, and what nothing on time can reach any more goes."""
        for name, kept in self._row.windows.items():
            feed, _, unit = name.rpartition("/")
            rule = self._rules.by_feed.get(feed)
            self._windows.pop(name)
            if isinstance(rule, WindowRule) and (left := self._closed(rule, kept, unit, now)).panes:
                self._windows[name] = left
        for name, marks in self._row.sequences.items():
            sequence = self._rules.by_feed.get(name)
            self._sequences.pop(name)
            if isinstance(sequence, SequenceRule):
                rest = self._matched(sequence, marks, now)
                if rest := reachable(rest, now, sequence.within_ms):
                    self._sequences[name] = rest
        self._wakes = None
        return self._after(now)

    def _closed(self, rule: WindowRule, kept: Kept, unit: str, now: Instant) -> Kept:
        panes = tuple(pane for pane in kept.panes if rule.window.expires(pane) > now)
        if not rule.at_close:
            return Kept(panes, rule.window.remembered(kept.raised, panes, now))
        over = rule.over(unit)
        for crossing in rule.window.closed(kept.panes, kept.closed, now):
            if over((crossing.holds,)):
                self.alerts.append(self._crossed(rule, crossing, unit, ""))
        return Kept(panes, (), max(kept.closed, now))

    def _after(self, now: Instant) -> Activity:
        if self._wakes is None:
            self._wakes = self._next(now)
        return Activity(self._newest, self._wakes, self._windows, self._sequences, self._unrated)

    def _next(self, now: Instant) -> Instant | None:
        """When the last of what is kept can go, once for all of it; or earlier, where something ends that somebody waits for."""
        last, first = [], []
        for name, kept in self._windows.items():
            rule = self._rules.by_feed.get(name.rpartition("/")[0])
            if isinstance(rule, WindowRule):
                last.append(max([rule.window.expires(pane) for pane in kept.panes]))
                if rule.at_close and (end := rule.window.next_end(kept.panes, max(kept.closed, now))) is not None:
                    first.append(end)
        for name, marks in self._sequences.items():
            sequence = self._rules.by_feed.get(name)
            if isinstance(sequence, SequenceRule) and marks:
                last.append(marks[-1].at + sequence.within_ms)
                if (end := unanswered(marks, sequence.steps, sequence.within_ms)) is not None:
                    first.append(end)
        if not last:
            return now + 1 if self._windows or self._sequences else None
        return max(now + 1, min([max(last), *first]))

    # --- alerts

    def _crossed(self, rule: WindowRule, crossing: Crossing, unit: str, order_id: str) -> FraudAlertRaised:
        value, threshold, ids = rule.value(crossing.holds, unit), rule.threshold(unit), crossing.holds.ids
        return self._alert(rule, order_id, crossing.start, value, threshold, ids, unit)

    def _alert(  # noqa: PLR0917  # what an alert tells, in its order
        self, rule: Rule, order_id: str, start: Instant, value: str, threshold: str, ids: tuple[str, ...], currency: str
    ) -> FraudAlertRaised:
        began = format_instant(start)
        return FraudAlertRaised(self._user_id, rule.id, rule.version, rule.action, order_id, began, value, threshold, ids, currency)
