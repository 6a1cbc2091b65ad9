"""What the stand-ins have in common: how they are declared, when they answer, and under which ids."""

from decimal import Decimal

import pytest

from agents.agent import AnyAgent, Unexpected, check
from agents.standins import standins
from schemas.codec import decode, encode
from schemas.message import Envelope, Message
from schemas.orders import (
    CancelShipment,
    OrderConfirmed,
    ProcessPayment,
    RefundPayment,
    ReleaseInventory,
    ReserveInventory,
    ScheduleShipment,
)
from schemas.shipping import ShipmentScheduled
from schemas.topics import ORDER_COMMANDS

from .driver import NOON, Service, lines

PAYMENT = ProcessPayment("o-1", "c-1", Decimal("1.00"), "USD")
SHIPMENT = ScheduleShipment("o-1", "c-1", lines(A=1))
COMMANDS: list[tuple[str, Message]] = [
    ("stock", ReserveInventory("o-1", lines(A=1))),
    ("stock", ReserveInventory("o-1", lines(A=9))),
    ("stock", ReleaseInventory("o-1", lines(A=1), "fraud")),
    ("gateway", PAYMENT),
    ("gateway", RefundPayment("o-1", "p-1", Decimal("1.00"), "USD", "fraud")),
    ("carrier", SHIPMENT),
    ("carrier", CancelShipment("o-1", "fraud")),
]


def test_they_fit_together() -> None:
    """One writer per table, one speaker per fact."""
    check(standins({"A": 1}))


def test_every_command_has_one_receiver() -> None:
    """Whatever the orders ask for, exactly one stand-in hears."""
    heard = [kind for agent in standins({}) for kind in agent.hears if kind is not ShipmentScheduled]
    assert sorted(kind.wire.name for kind in heard) == sorted(kind.wire.name for kind in ORDER_COMMANDS.carries)


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_answers_come_a_second_later_with_ids_of_the_command(name: str, command: Message) -> None:
    """The same command id repeats the answers and their ids, byte for byte; each answer is at cause + 1 s."""
    said, again = (Service(name, {"A": 5}).answers(command, "c-7") for _ in range(2))
    assert said == again
    assert len({each.event_id for each in said}) == len(said) > 0
    assert {(each.at, each.causation_id, each.correlation_id) for each in said} == {(NOON + 1_000, "c-7", "flow-1")}


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_what_is_said_can_be_read(name: str, command: Message) -> None:
    """Every answer survives the wire."""
    for each in Service(name, {"A": 5}).answers(command):
        read = decode(encode(each))
        assert isinstance(read, Envelope)
        assert (read.event_id, read.at, read.payload) == (each.event_id, each.at, each.payload)


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_another_command_id_gives_other_answer_ids(name: str, command: Message) -> None:
    """A repeat under another id is answered anew: the same facts, told again."""
    service = Service(name, {"A": 5})
    first, second = service.answers(command, "c-7"), service.answers(command, "c-8")
    assert [each.payload for each in first] == [each.payload for each in second]
    assert {each.event_id for each in first}.isdisjoint(each.event_id for each in second)


@pytest.mark.parametrize("agent", standins({}), ids=lambda agent: agent.name)
def test_what_nobody_foresaw_is_unexpected(agent: AnyAgent) -> None:
    """A message that is none of its own goes to the dead letters, never to silence."""
    heard = Envelope("e-1", NOON, OrderConfirmed("o-1"))
    with pytest.raises(Unexpected):
        agent.decide({} if agent.keys else agent.table.initial("o-1"), heard)
