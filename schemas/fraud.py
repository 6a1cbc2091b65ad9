"""What is said about fraud: alerts and the end of holds on `fraud.alerts`, rules on `fraud.rules`."""

from typing import Any, Literal

from msgspec import field

from schemas.fields import Id, MaybeId, Text, Version
from schemas.message import Event, Wire


class FraudAlertRaised(Event, frozen=True):
    """A rule matched: once per rule, user and window or crossing. It carries what it saw."""

    wire = Wire("FraudAlertRaised", once_per=("rule", "user_id", "currency", "window_start"))

    user_id: Id
    rule: Id
    rule_version: Version = 1
    action: Literal["alert", "hold", "cancel"] = "alert"
    order_id: MaybeId = ""
    window_start: MaybeId = ""
    """ISO 8601 time."""
    value: Text = ""
    threshold: Text = ""
    event_ids: tuple[Id, ...] = ()
    """The newest of those that it is about."""
    currency: MaybeId = ""
    """Of value and threshold, where they are money."""


class HoldReleased(Event, frozen=True, omit_defaults=True):
    """A person let a held order go on."""

    wire = Wire("HoldReleased")

    order_id: Id
    user_id: MaybeId = ""


class FraudRuleChanged(Event, frozen=True):
    """A rule from now on; an empty one is switched off. Fractions in it are strings, as written, never floats."""

    wire = Wire("FraudRuleChanged")

    rule_id: Id
    version: Version = 1
    rule: dict[str, Any] = field(default_factory=dict)
