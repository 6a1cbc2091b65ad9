"""The table of lines itself: complete, without lines that cannot be reached."""

from collections.abc import Sequence
from enum import StrEnum

import pytest

from agents.agent import Ignored, Parked, Repeated, Says, Unexpected
from agents.life import Life, Line, diagram, ignore, on, park, refuse, repeat
from agents.orders import ORDERS, Timeouts, life
from schemas.message import Due, Envelope, Event, Message, Wire
from schemas.topics import FRAUD_ALERTS, INVENTORY_EVENTS, ORDER_EVENTS, PAYMENT_EVENTS, SHIPPING_EVENTS
from tables.orders import Status
from tables.table import Row, Table


class Lamp(StrEnum):
    OFF = "OFF"
    ON = "ON"


class Switch(Row, frozen=True):
    lamp: Lamp = Lamp.OFF


class Pressed(Event, frozen=True):
    wire = Wire("Pressed")

    order_id: str = ""


def press(switch: Switch, _: Envelope[Message]) -> Switch:
    return Switch(Lamp.ON if switch.lamp is Lamp.OFF else Lamp.OFF)


def say(switch: Switch, _: Envelope[Pressed]) -> Says:
    return [Pressed(switch.lamp.value)]


def lit(switch: Switch, _: Envelope[Message]) -> bool:
    return switch.lamp is Lamp.ON


TABLE = Table("switches", Switch, "order_id", 1, press, lambda _: Switch())
PRESSED = Envelope("e", 0, Pressed())


def of(*lines: Line) -> Life[Switch]:
    return Life(TABLE, status=lambda switch: switch.lamp, states=Lamp, lines=lines)


def test_effects_read_the_row_after_the_message_and_guards_the_row_before() -> None:
    """The first line that holds decides."""
    lamp = of(on((Lamp.OFF, Lamp.ON), Pressed, say, when=lit), ignore((Lamp.OFF, Lamp.ON), Pressed, because="dark"))
    assert lamp.decide(Switch(Lamp.ON), PRESSED) == [Pressed("OFF")]
    assert lamp.decide(Switch(), PRESSED) == Ignored("dark")


def test_each_kind_of_line_has_its_outcome() -> None:
    """Repeated, Parked, and Unexpected with the reason that the line gives."""
    either = (Lamp.ON, Lamp.OFF)
    lamp = of(repeat(either, Pressed, because="again", when=lit), refuse(either, Pressed, because="no"))
    assert lamp.decide(Switch(Lamp.ON), PRESSED) == Repeated("again")
    with pytest.raises(Unexpected, match="Pressed in OFF: no"):
        lamp.decide(Switch(), PRESSED)
    assert of(park(either, Pressed, until="dawn")).decide(Switch(), PRESSED) == Parked("dawn")


@pytest.mark.parametrize(
    "lines",
    [
        (on(Lamp.OFF, Pressed, say),),
        (on(Lamp.OFF, Pressed, say), on(Lamp.ON, Pressed, say, when=lit)),
    ],
)
def test_a_pair_without_a_line_is_refused(lines: Sequence[Line]) -> None:
    """No silent default: every pair ends in a line without a condition."""
    with pytest.raises(ValueError, match="Pressed in ON: no line"):
        of(*lines)


def test_a_line_that_is_never_reached_is_refused() -> None:
    """A line after one without a condition."""
    with pytest.raises(ValueError, match="never reached"):
        of(on((Lamp.OFF, Lamp.ON), Pressed, say), ignore(Lamp.ON, Pressed, because="?"))


def test_every_status_and_every_message_of_an_order_has_its_line() -> None:
    """All pairs of the eight states and all that the topics of the saga carry, and Due."""
    carried = {kind for topic in (ORDER_EVENTS, PAYMENT_EVENTS, INVENTORY_EVENTS, SHIPPING_EVENTS, FRAUD_ALERTS) for kind in topic.carries}
    assert set(ORDERS.hears) == carried | {Due}
    assert set(life(Timeouts()).lines) == {(status, kind) for status in Status for kind in ORDERS.hears}


def test_a_diagram_joins_what_leads_the_same_way() -> None:
    """One arrow per pair of states."""
    assert diagram([("A", "y", "B"), ("A", "x", "B"), ("B", "z", "A")]) == "stateDiagram-v2\n    A --> B: x, y\n    B --> A: z\n"
