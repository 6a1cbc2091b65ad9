"""The saga, model-checked by running it: every row that any messages, in any order, can lead to."""

import gc
from collections.abc import Iterator
from enum import StrEnum
from functools import cache

import pytest
from msgspec import msgpack

from agents.life import Walked
from agents.orders import ORDERS, Timeouts, life, saga
from agents.orders.worlds import PEOPLE, PIECES, PLAIN, WORLDS, World, explore, state_diagram
from schemas.message import Due, Message
from schemas.orders import OrderCancelled, RefundPayment
from tables.orders import UNANSWERED, Order, Status, broken_laws
from tests.docs.generated import DIAGRAM, PARTS, written

Graph = dict[Order, list[Walked[Order]]]
EXPLORED_AT_LEAST = 60_000

every_world = pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)


@cache
def graph_of(world: World) -> Graph:
    """Nobody looks for garbage meanwhile, nor in the graph afterwards: it is large, and here to stay."""
    gc.disable()
    try:
        return explore(world)
    finally:
        gc.freeze()
        gc.enable()


def walked(graph: Graph) -> Iterator[tuple[Order, Walked[Order]]]:
    for row, steps in graph.items():
        for step in steps:
            yield row, step


@every_world
def test_the_laws_hold_on_every_reachable_row(world: World) -> None:
    """Whatever comes, in whatever order."""
    assert [(row, broken) for row in graph_of(world) if (broken := broken_laws(row))] == []


@every_world
def test_from_every_reachable_row_the_order_can_end(world: World) -> None:
    """COMPLETED, or CANCELLED with every compensation answered, stays reachable."""
    graph = graph_of(world)
    before: dict[Order, list[Order]] = {}
    for row, step in walked(graph):
        before.setdefault(step.after, []).append(row)
    todo = [row for row in graph if row.status in {Status.COMPLETED, Status.CANCELLED} and not _unanswered(row)]
    ending = set(todo)
    while todo:
        for row in before.get(todo.pop(), ()):
            if row not in ending:
                ending.add(row)
                todo.append(row)
    assert [row for row in graph if row not in ending] == []


@every_world
def test_a_running_deadline_changes_something(world: World) -> None:
    """A Due that left its deadline running would come back for ever."""
    orders, tried = saga("orchestrated", Timeouts(compensation_tries=world.tries))[0], 0
    for row, steps in graph_of(world).items():
        deadline = orders.due(row)
        passed = [step.after for step in steps if isinstance(step.heard.payload, Due)]
        assert len(passed) == (deadline is not None), row
        assert all(after != row for after in passed), row
        tried += len(passed)
    assert tried


@every_world
def test_stuck_is_never_where_a_deadline_would_do(world: World) -> None:
    """What is unanswered is either tried again or STUCK; an end without questions has no deadline."""
    for row in graph_of(world):
        unanswered = _unanswered(row)
        assert (ORDERS.due(row) is not None) or row.stuck or not unanswered, row
        if row.status in {Status.COMPLETED, Status.CANCELLED} and not unanswered:
            assert ORDERS.due(row) is None


@every_world
def test_each_refund_is_commanded_once_but_for_retries(world: World) -> None:
    """No message but a passed deadline makes a RefundPayment part come a second time."""
    for row, step in walked(graph_of(world)):
        if isinstance(step.heard.payload, Due) and step.heard.payload.deadline == "compensation":
            continue
        known = {(payment.id, part) for payment in row.payments for part in range(len(payment.refunds))}
        assert not known & {(said.payment_id, said.part) for said in step.said if isinstance(said, RefundPayment)}, (row, step)


@every_world
def test_an_end_is_announced_once_and_never_left(world: World) -> None:
    """COMPLETED and CANCELLED stay; an OrderCancelled is said exactly on reaching CANCELLED, unless one is out."""
    for row, step in walked(graph_of(world)):
        if row.status in {Status.COMPLETED, Status.CANCELLED}:
            assert step.after.status is row.status, (row, step)
        says = any(isinstance(said, OrderCancelled) for said in step.said)
        outside = isinstance(step.heard.payload, OrderCancelled)
        reached = step.after.status is Status.CANCELLED and row.status is not Status.CANCELLED
        assert says == (reached and not row.cancelled and not outside), (row, step)


def test_no_line_is_dead() -> None:
    """Every line that acts does so in some world, in each of its states."""
    used: set[str] = set()
    for world in WORLDS:
        table = life(Timeouts(compensation_tries=world.tries))
        for row, step in walked(graph_of(world)):
            kind = type(step.heard.payload)
            used.add(_named(row.status, kind, table.lines[row.status, kind].index(table.line(row, step.heard))))
    acting = {
        _named(status, kind, position)
        for (status, kind), lines in life(Timeouts()).lines.items()
        for position, line in enumerate(lines)
        if line.instead is None
    }
    assert acting - used == set()


def test_the_graph_is_bounded() -> None:
    """Every world closes; together they are the rows that the documentation counts."""
    assert sum(len(graph_of(world)) for world in WORLDS) >= EXPLORED_AT_LEAST
    with pytest.raises(ValueError, match="more than 100 rows"):
        explore(PLAIN, most=100)


def test_every_status_is_reached_and_drawn() -> None:
    """The diagram shows the main road and the way back."""
    drawn = state_diagram()
    assert "PENDING --> RESERVED: InventoryReserved" in drawn
    assert "    RESERVED --> COMPENSATING: FraudAlertRaised (cancel), OrderCancelled, PaymentFailed, hold, payment" in drawn
    assert all(status.value in drawn for status in Status)
    assert not any(f"{end.value} -->" in drawn for end in (Status.COMPLETED, Status.CANCELLED))


def test_the_diagram_in_the_pages_is_up_to_date() -> None:
    """`python -m tests.docs.generated` draws it anew."""
    assert written(DIAGRAM) == [PARTS[DIAGRAM]()]


@pytest.mark.parametrize("world", [PIECES, PEOPLE], ids=lambda world: world.name)
def test_rows_survive_being_written(world: World) -> None:
    """A row is a value: msgpack and back, deterministic bytes."""
    decode = msgpack.Decoder(Order).decode
    for row in list(graph_of(world))[::7]:
        written = msgpack.encode(row)
        assert decode(written) == row
        assert msgpack.encode(decode(written)) == written


def _unanswered(row: Order) -> bool:
    return any(compensation.leg in UNANSWERED for compensation in row.compensations())


def _named(status: StrEnum, kind: type[Message], position: int) -> str:
    return f"{status.value} {kind.__name__} {position}"
