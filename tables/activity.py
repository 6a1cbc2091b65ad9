"""What a user's payments come to, as far as a fraud rule may still ask; the alerts they have had; and the rules that have changed."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from schemas.fraud import FraudAlertRaised, FraudRuleChanged
from schemas.message import Envelope, Instant, Message
from tables.table import Row, Table
from tables.windows import Mark, Pane

USERS = 3
"""Partitions, as many as `fraud.alerts` has."""
ACTIVITY = "activity"
UNRATED = "unrated."
"""Before a rule: payments that it could not convert."""
MOST_ALERTS = 100
"""That are kept of one user, the newest ones."""


class Kept(Struct, frozen=True, array_like=True, gc=False):
    """The windows of one rule (and currency)."""

    panes: tuple[Pane, ...] = ()
    raised: tuple[Instant, ...] = ()
    """The starts of the windows that have had their alert and can still change."""
    closed: Instant = -1
    """Windows up to here have had their final result."""


class Activity(Row, frozen=True):
    """One user's."""

    newest: Instant = -1
    wakes: Instant | None = None
    """When something is to be let go, or a window closes."""
    windows: dict[str, Kept] = field(default_factory=dict)
    """By rule and currency."""
    sequences: dict[str, tuple[Mark, ...]] = field(default_factory=dict)
    """By rule."""
    unrated: dict[str, int] = field(default_factory=dict)
    """How many payments a rule could not convert, by rule."""


class Changed(Struct, frozen=True, array_like=True):
    """A rule that was changed while running."""

    version: int
    rule: dict[str, Any] | None
    """As it was written; None: switched off."""


class Changes(Row, frozen=True):
    """All of them, by rule."""

    rules: dict[str, Changed] = field(default_factory=dict)


class Raised(Struct, frozen=True, array_like=True):
    """An alert, and the event that told it."""

    event_id: str
    at: Instant
    alert: FraudAlertRaised


class Alerts(Row, frozen=True):
    """One user's, the newest last."""

    raised: tuple[Raised, ...] = ()


def _said(row: Alerts, heard: Envelope[Message]) -> Alerts:
    if isinstance(heard.payload, FraudAlertRaised):
        return Alerts((*row.raised, Raised(heard.event_id, heard.at, heard.payload))[-MOST_ALERTS:])
    return row


def _changed(row: Changes, heard: Envelope[Message]) -> Changes:
    change = heard.payload
    if isinstance(change, FraudRuleChanged):
        return Changes({**row.rules, change.rule_id: Changed(change.version, change.rule or None)})
    return row


def counted(before: Activity, after: Activity) -> Mapping[str, int]:
    """The payments that a rule could not convert, over all users."""
    if before.unrated is after.unrated:
        return {}
    return {UNRATED + rule: count - before.unrated.get(rule, 0) for rule, count in after.unrated.items()}


ALERTS = Table("alerts", Alerts, "user_id", USERS, _said, lambda _key: Alerts())
RULES = Table("rules", Changes, "rule_id", USERS, _changed, lambda _key: Changes(), spread_by="user_id", one_row=True)
