"""Orchestrated and choreographed are one saga, said by different agents."""

from collections.abc import Iterable, Sequence

from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as st

from agents.agent import Agent, AnyAgent, Unexpected, check
from agents.orders import saga
from pipeline.testing.specs import NOON, given
from schemas.message import Command, Envelope, Message
from tables.orders import Order, broken_laws
from tests.agents.words import (
    ADDED,
    CANCELLED,
    CONFIRMED,
    CREATED,
    DECLINED,
    DELIVERED,
    DISPUTED,
    FRAUD,
    HOLD,
    LET_GO,
    NOT_SHIPPED,
    PAID,
    REFUNDED,
    RELEASED,
    RESERVED,
    RESOLVED,
    SCHEDULE,
    SCHEDULED,
    SHORTAGE,
    STOPPED,
    TO_CANCELLED,
    TO_COMPENSATING,
    TO_PAID,
    TO_RESERVED,
    TO_SHIPPED,
    mail,
    paid,
    refund,
    refunded,
    release,
    stop,
)

ORCHESTRATED, CHOREOGRAPHED = saga("orchestrated"), saga("choreographed")
ORDERS, INVENTORY, PAYMENT, SHIPPING = CHOREOGRAPHED

MESSAGES: tuple[Message, ...] = (
    CREATED, ADDED, RESERVED, SHORTAGE, RELEASED, PAID, paid("60.00", "p-2"), paid("5000", "p-3", "JPY"), DECLINED, REFUNDED,
    refunded("60.00", "p-2"), refunded("5000", "p-3", "JPY"), refunded("40.00"), DISPUTED, SCHEDULED, NOT_SHIPPED, STOPPED, DELIVERED,
    CANCELLED, HOLD, FRAUD, LET_GO, CONFIRMED, RESOLVED,
)  # fmt: skip
LATER = "time passes"


def lived(agent: AnyAgent, history: Sequence[tuple[Message | str, int]]) -> given[Order]:
    """The history, one message after another; deadlines that pass in between come first, as the engine has it."""
    orders: Agent[Order] = agent
    order = given(orders)
    for i, (message, after_ms) in enumerate(history):
        at = order.now + after_ms
        while (deadline := orders.due(order.row)) is not None and deadline.at <= at:
            order.when_time_comes()
        if isinstance(message, str):
            if orders.due(order.row) is not None:
                order.when_time_comes()
            continue
        try:
            order.when(Envelope(f"e-{i}", at, message, "flow"))
        except Unexpected:
            continue
    return order


def test_the_participants_say_the_forward_steps() -> None:
    """Each owner says its own next step on seeing the facts; the saga leaves exactly those unspoken, and keeps its own facts."""
    assert given(ORDERS, *TO_RESERVED).when(PAID) == [CONFIRMED, mail("payment_confirmation")]
    assert given(SHIPPING, *TO_RESERVED).when(PAID) == [SCHEDULE]
    assert given(INVENTORY, *TO_RESERVED).when(PAID) == []


def test_the_participants_undo_what_a_refusal_asks_for() -> None:
    """After PaymentFailed and ShipmentFailed the owners undo on the facts."""
    assert given(ORDERS, *TO_PAID).when(NOT_SHIPPED) == []
    assert given(INVENTORY, *TO_PAID).when(NOT_SHIPPED) == [release("shipping_failed")]
    assert given(PAYMENT, *TO_PAID).when(NOT_SHIPPED) == [refund("shipping_failed")]
    assert given(INVENTORY, *TO_RESERVED).when(DECLINED) == [release("payment_failed")]


def test_late_money_deadlines_fraud_and_outside_cancellation_go_by_command() -> None:
    """The saga says these in both styles, and no participant does."""
    for history, message, said in (
        (TO_CANCELLED, PAID, [refund("payment_failed")]),
        (TO_RESERVED, FRAUD, [release("fraud")]),
        (TO_RESERVED, CANCELLED, [release("changed my mind")]),
        (TO_SHIPPED, CANCELLED, [stop("changed my mind")]),
    ):
        assert given(ORDERS, *history).when(message) == said
        for owner in (INVENTORY, PAYMENT, SHIPPING):
            assert given(owner, *history).when(message) == []
    assert given(ORDERS, *TO_COMPENSATING).when_time_comes() == [release("payment_failed")]
    assert given(INVENTORY, *TO_COMPENSATING).when_time_comes() == []


def test_both_styles_can_be_wired() -> None:
    """One name, one writer per table, one speaker per event type."""
    check(ORCHESTRATED)
    check(CHOREOGRAPHED)


@settings(max_examples=300, deadline=None)
@generated(
    st.lists(
        st.tuples(st.one_of(st.sampled_from(MESSAGES), st.just(LATER)), st.sampled_from((0, 1_000, 400_000, 90_000_000))),
        max_size=25,
    )
)
def test_both_styles_say_the_same_commands_and_end_alike(tail: list[tuple[Message | str, int]]) -> None:
    """On any history: the same commands with the same ids, each said by one agent; the same facts; the same row; the laws hold."""
    history = [(CREATED, 0), *tail] if tail and tail[0][0] is not LATER else tail
    one = lived(ORCHESTRATED[0], history)
    each = [lived(agent, history) for agent in CHOREOGRAPHED]
    assert all(order.row == one.row for order in each)
    assert _counted(envelope for order in each for envelope in order.said) == _counted(one.said)
    assert _once_per_id(one.said)
    assert broken_laws(one.row) == []
    assert one.now >= NOON


def _counted(said: Iterable[Envelope[Message]]) -> list[tuple[str, int, str]]:
    return sorted((e.event_id, e.at, type(e.payload).__name__) for e in said)


def _once_per_id(said: Sequence[Envelope[Message]]) -> bool:
    """One id, one content: a retry repeats it word for word."""
    contents: dict[str, Message] = {}
    return all(contents.setdefault(e.event_id, e.payload) == e.payload for e in said if isinstance(e.payload, Command))
