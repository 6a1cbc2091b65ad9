"""Who reads what, in place or re-keyed, and in which order: it follows from the agents alone."""

from dataclasses import replace

import pytest

from agents.agent import check
from agents.orders import saga
from agents.standins import standins
from pipeline.engine.plan import Group, Plan, make_plan
from schemas.inventory import InventoryReserved
from schemas.message import Due
from schemas.notifications import NotificationRequested
from schemas.orders import OrderConfirmed, ReserveInventory
from schemas.topics import TOPICS
from tests.engine.agents import ALONE, DIARIES, DIARIST

RECORDED = make_plan(saga("orchestrated"), app="shop")
STANDIN = make_plan(saga("choreographed") + standins({}), app="shop")


def group(plan: Plan, name: str) -> Group:
    return next(one for one in plan.groups if one.name == name)


def test_topics_of_the_same_key_and_partitions_are_read_in_place() -> None:
    """Orders have 6 partitions by order id, and so have the topics of orders, stock and shipping."""
    assert group(RECORDED, "orders").reads == ("order.events", "inventory.events", "shipping.events")


def test_other_topics_are_re_keyed_by_an_intake_of_their_own_partitions() -> None:
    """Payments have 3 partitions and keys that cannot be trusted, fraud alerts are keyed by user: both go through an intake."""
    assert group(RECORDED, "intake-3").reads == ("payment.events", "fraud.alerts")
    assert group(RECORDED, "intake-3").agents == ()
    assert group(RECORDED, "intake-1").reads == ("shop-unread",)


def test_agents_of_the_same_key_and_partitions_share_a_task() -> None:
    """Saga, gateway and carrier live by order id in 6 partitions; stock lives by SKU in one."""
    names = [agent.name for agent in group(STANDIN, "orders").agents]
    assert names == ["orders", "inventory.reacts", "payment.reacts", "shipping.reacts", "gateway", "carrier"]
    assert [agent.name for agent in group(STANDIN, "stock").agents] == ["stock"]
    assert (group(STANDIN, "stock").partitions, group(STANDIN, "stock").reads) == (1, ())


def test_a_topic_has_one_reader() -> None:
    """No record is counted twice: whoever else hears it gets it from that reader."""
    for plan in (RECORDED, STANDIN):
        inputs = [topic for one in plan.groups for topic in one.inputs]
        assert len(inputs) == len(set(inputs)) == len(plan.home)


def test_the_first_group_that_hears_a_type_counts_it() -> None:
    """Commands are heard by gateway and carrier among the orders, and by the stock; the orders come first."""
    assert [one.name for one in STANDIN.routes[ReserveInventory]] == ["stock"]
    assert STANDIN.groups[0].name == "orders"
    assert Due in STANDIN.routes


def test_every_task_has_a_number_of_its_own() -> None:
    """It is the tie-breaker of time: two tasks with one number would have no order."""
    for plan in (RECORDED, STANDIN):
        numbers = [one.first_task + p for one in plan.groups for p in range(one.partitions)]
        assert numbers == list(range(len(numbers)))


def test_intakes_come_before_whom_they_feed() -> None:
    """What is re-keyed is heard at the same instant: first the intakes, then the orders, then the stock that hears their commands."""
    stages = [{one.name for one in stage} for stage in STANDIN.stages]
    place = {name: number for number, stage in enumerate(stages) for name in stage}
    assert place["intake-1"] < place["orders"] < place["stock"]
    assert place["intake-3"] < place["orders"]


def test_the_same_agents_give_the_same_plan() -> None:
    """On every worker, or they would split tasks."""
    again = make_plan(saga("choreographed") + standins({}), app="shop")
    assert [(one.name, one.inputs, one.changelog, one.first_task) for one in again.groups] == [
        (one.name, one.inputs, one.changelog, one.first_task) for one in STANDIN.groups
    ]


def test_all_topics_are_there_and_our_own_ones_bear_the_app_s_name() -> None:
    """Two apps on one broker do not meet in an inbox or a changelog."""
    assert {topic.name for topic in TOPICS} < set(RECORDED.topics)
    assert all(name.startswith("shop-") for name in set(RECORDED.topics) - {topic.name for topic in TOPICS})


# --- What cannot be planned. -----------------------------------------------------------------------------------------

THERE = replace(DIARIST, name="there", hears=(InventoryReserved,), says=(NotificationRequested,), table=replace(DIARIES, name="there"))
BACK = replace(
    DIARIST,
    name="back",
    hears=(NotificationRequested,),
    says=(InventoryReserved,),
    table=replace(DIARIES, name="back", key="customer_id", partitions=3),
)


def test_groups_that_answer_one_another_at_once_are_refused() -> None:
    """No order would be right; with an answering time there is one."""
    with pytest.raises(ValueError, match="at once: there, back"):
        _ = make_plan([THERE, BACK], app="shop").stages
    assert make_plan([THERE, replace(BACK, answers_after_ms=1)], app="shop").stages


def test_an_agent_may_answer_itself_at_once() -> None:
    """Within one group the order of the log is the order of hearing."""
    echo = replace(THERE, says=(OrderConfirmed,), hears=(InventoryReserved, OrderConfirmed))
    assert [one.name for stage in make_plan([echo], app="shop").stages for one in stage][-1] == "there"


def test_deciding_over_several_keys_takes_one_partition() -> None:
    """Rows of several partitions have several writers: no one decision can see them all."""
    several = replace(DIARIST, keys=lambda heard: (heard.order_id,))
    with pytest.raises(ValueError, match="diarist decides over several keys"):
        make_plan([several], app="shop")
    make_plan([replace(ALONE, keys=lambda heard: (heard.order_id,))], app="shop")


def test_two_writers_of_a_table_are_refused() -> None:
    """One name, one writer per table, one speaker per event type."""
    for twice, what in (
        (replace(DIARIST, table=replace(DIARIES, name="other")), "agent diarist"),
        (replace(DIARIST, name="other"), "table diaries"),
    ):
        with pytest.raises(ValueError, match=what):
            check([DIARIST, twice])
    with pytest.raises(ValueError, match="speaker of NotificationRequested"):
        check([THERE, replace(BACK, says=(NotificationRequested,))])
    with pytest.raises(ValueError, match="Due"):
        check([replace(DIARIST, says=(Due,))])
