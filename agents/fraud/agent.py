"""The fraud agents: one applies the rules to each user's payments, one hears how rules change, one remembers the alerts."""

from collections.abc import Sequence
from typing import NamedTuple

from agents.agent import Agent, AnyAgent, Deadline, Decision, Ignored, Repeated
from agents.fraud.match import Applying
from agents.fraud.rules import RuleSet
from agents.fraud.written import read_rule
from schemas.fraud import FraudAlertRaised, FraudRuleChanged
from schemas.message import SOURCE, Due, Envelope, Instant, Message
from schemas.payments import PaymentFailed, PaymentProcessed
from tables.activity import ACTIVITY, ALERTS, RULES, USERS, Activity, Changes, counted
from tables.table import Table


class _Came(NamedTuple):
    """What came of a message: deciding and remembering ask the same, one after the other."""

    row: Activity
    heard: Envelope[Message]
    changes: Changes
    watermark: Instant
    after: Activity
    alerts: Sequence[FraudAlertRaised]


class _Fraud:
    """The rules that hold now. Pure: what it keeps between calls could be thrown away at any time."""

    def __init__(self, rules: RuleSet) -> None:
        self._base = rules
        self._changes, self._rules = Changes(), rules
        self._came: _Came | None = None

    def decide(self, row: Activity, heard: Envelope[Message], changes: Changes, watermark: Instant) -> Decision:
        return self._work(row, heard, changes, watermark).alerts

    def evolve(self, row: Activity, heard: Envelope[Message], changes: Changes, watermark: Instant) -> Activity:
        return row if isinstance(heard.payload, FraudAlertRaised) else self._work(row, heard, changes, watermark).after

    def _work(self, row: Activity, heard: Envelope[Message], changes: Changes, watermark: Instant) -> _Came:
        came = self._came
        if came is not None and came.row is row and came.heard is heard and came.changes is changes and came.watermark == watermark:
            return came
        if changes is not self._changes:
            self._rules = self._base.changed({
                rule_id: None if each.rule is None else read_rule(rule_id, each.version, each.rule)
                for rule_id, each in changes.rules.items()
            })  # fmt: skip
            self._changes = changes
        match heard.payload:
            case PaymentProcessed() | PaymentFailed() as payment:
                work = Applying(self._rules, row, payment.user_id)
                after = work.payment(heard.at, heard.event_id, payment, watermark)
            case Due(key=user_id):
                work = Applying(self._rules, row, user_id)
                after = work.passed(heard.at)
            case _:
                raise TypeError(f"fraud does not hear {type(heard.payload).__name__}")
        self._came = _Came(row, heard, changes, watermark, after, work.alerts)
        return self._came


def _change(row: Changes, heard: Envelope[FraudRuleChanged]) -> Decision:
    change = heard.payload
    known = row.rules.get(change.rule_id)
    if known is not None and known.version >= change.version:
        return Repeated(f"version {known.version} of the rule is known")
    if change.rule:
        read_rule(change.rule_id, change.version, change.rule)
    return ()


def _remember(_row: object, heard: Envelope[Message]) -> Decision:
    return () if heard.source == SOURCE else Ignored("an alert of somebody else's")


def _wakes(row: Activity) -> Deadline | None:
    return None if row.wakes is None else Deadline(row.wakes, "window")


def fraud(rules: RuleSet) -> tuple[AnyAgent, ...]:
    """The agents for one set of rules; what-if is this call, twice."""
    work = _Fraud(rules)
    activity = Table(
        name=ACTIVITY,
        row=Activity,
        key="user_id",
        partitions=USERS,
        evolve=work.evolve,
        initial=lambda _key: Activity(),
        empty=lambda row: not row.windows and not row.sequences and not row.unrated,
        counted=counted,
    )
    return (
        Agent(
            name="fraud",
            hears=(PaymentProcessed, PaymentFailed, Due),
            table=activity,
            decide=work.decide,
            says=(FraudAlertRaised,),
            due=_wakes,
            closes=lambda heard: heard.at + 1,
            beside=RULES,
        ),
        Agent(name="rules", hears=(FraudRuleChanged,), table=RULES, decide=_change),
        Agent(name="alerts", hears=(FraudAlertRaised,), table=ALERTS, decide=_remember),
    )
