"""The saga in its two styles: one agent says everything, or those who own a step say what the facts call for."""

from dataclasses import replace
from functools import partial
from typing import Literal, TypeAlias

from agents.agent import Agent, AnyAgent
from agents.orders.life import life
from agents.orders.timeouts import Timeouts, due
from schemas.message import Command, Envelope, Message
from schemas.notifications import NotificationRequested
from schemas.orders import (
    CancelShipment,
    OrderCancelled,
    OrderCompleted,
    OrderConfirmed,
    OrderShipped,
    ProcessPayment,
    RefundPayment,
    ReleaseInventory,
    ReserveInventory,
    ScheduleShipment,
)
from schemas.payments import PaymentFailed
from schemas.shipping import ShipmentFailed
from schemas.topics import ORDER_COMMANDS
from tables.orders import ORDERS as TABLE
from tables.orders import Order

Style: TypeAlias = Literal["orchestrated", "choreographed"]

FORWARD = (ReserveInventory, ProcessPayment, ScheduleShipment)
BACKWARD = (ReleaseInventory, RefundPayment, CancelShipment)


def taken_on_facts(heard: Envelope[Message], said: Message) -> bool:
    """What choreography leaves to the owner of the step: forward steps, and the undoing after a refused payment or shipment.

    Late payments, deadlines, fraud and outside cancellation still go by command from the saga.
    """
    return isinstance(said, FORWARD) or (isinstance(said, BACKWARD) and isinstance(heard.payload, PaymentFailed | ShipmentFailed))


def saga(style: Style, timeouts: Timeouts = Timeouts()) -> tuple[AnyAgent, ...]:
    """The agents of one style. In both, every order ends alike, and each command has the same id."""
    lines = life(timeouts)
    orders: Agent[Order] = Agent(
        name="orders",
        hears=lines.hears,
        table=TABLE,
        decide=lines.decide,
        says=(OrderConfirmed, OrderShipped, OrderCompleted, OrderCancelled, NotificationRequested, *ORDER_COMMANDS.carries),
        due=partial(due, timeouts=timeouts),
    )
    if style == "orchestrated":
        return (orders,)
    return (
        replace(orders, speaks=lambda heard, said: not taken_on_facts(heard, said)),
        _owner(orders, "inventory.reacts", ReserveInventory, ReleaseInventory),
        _owner(orders, "payment.reacts", ProcessPayment, RefundPayment),
        _owner(orders, "shipping.reacts", ScheduleShipment, CancelShipment),
    )


def _owner(orders: Agent[Order], name: str, *commands: type[Command]) -> Agent[Order]:
    """Lives the same life on its own rows, and says only its own part of it."""

    def speaks(heard: Envelope[Message], said: Message) -> bool:
        return isinstance(said, commands) and taken_on_facts(heard, said)

    return replace(orders, name=name, table=replace(TABLE, name=name), says=commands, speaks=speaks)


ORDERS: Agent[Order] = saga("orchestrated")[0]
"""The orchestrated saga with the deadlines of domain.md."""
