"""Facts that do not race may come in any order: the end is the same."""

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from schemas.message import Message
from tests.agents.words import (
    CREATED,
    DECLINED,
    DELIVERED,
    NOT_SHIPPED,
    PAID,
    REFUNDED,
    RELEASED,
    RESERVED,
    SCHEDULED,
    SHORTAGE,
    paid,
)
from tests.engine.driver import SECOND_MS, Ending, line, play
from tests.laws.histories import some

PATHS: dict[str, tuple[tuple[Message, ...], str]] = {
    "happy": ((CREATED, RESERVED, PAID, SCHEDULED, DELIVERED), "COMPLETED"),
    "in two payments": ((CREATED, RESERVED, paid("60.00"), paid("40.00", "p-2"), SCHEDULED, DELIVERED), "COMPLETED"),
    "declined": ((CREATED, RESERVED, DECLINED, RELEASED), "CANCELLED"),
    "short": ((CREATED, SHORTAGE), "CANCELLED"),
    "unshippable": ((CREATED, RESERVED, PAID, NOT_SHIPPED, REFUNDED, RELEASED), "CANCELLED"),
}
RACING = {"unshippable"}
"""A refund before its payment is an alarm once the stock is reserved: these keep their own order."""


class Story(NamedTuple):
    order: str
    path: str

    @property
    def lines(self) -> list[bytes]:
        said = PATHS[self.path][0]
        return [line(structs.replace(each, order_id=self.order), i * SECOND_MS, f"{self.order}/{i}") for i, each in enumerate(said)]


def stories(*paths: str) -> st.SearchStrategy[list[Story]]:
    def told(chosen: list[str]) -> list[Story]:
        return [Story(f"o-{i}", path) for i, path in enumerate(chosen)]

    return st.lists(st.sampled_from(paths), min_size=1, max_size=4).map(told)


def ends(ending: Ending) -> dict[str, tuple[str, dict[str, int], dict[str, int]]]:
    return {key: (order.status.value, order.captured, order.refunded) for key, order in ending.rows["orders"].items()}


def in_order(told: Sequence[Story]) -> Ending:
    return play([each for story in told for each in story.lines])


@some(0.3)
@given(stories(*sorted(PATHS.keys() - RACING)), st.data())
def test_facts_of_an_order_may_come_in_any_order(told: list[Story], data: st.DataObject) -> None:
    """What is early waits: every permutation within the lateness comes to the same statuses and the same money."""
    expected = in_order(told)
    shuffled = data.draw(st.permutations([each for story in told for each in story.lines]))
    ending = play(shuffled)
    assert ends(ending) == ends(expected)
    assert {key: status for key, (status, _, _) in ends(ending).items()} == {story.order: PATHS[story.path][1] for story in told}
    assert ending.letters == []


@some(0.3)
@given(stories(*PATHS), st.data())
def test_orders_do_not_disturb_one_another(told: list[Story], data: st.DataObject) -> None:
    """However their lines are interleaved, each order's row is the same to the last byte, and so is what is said of it."""
    left = {story.order: story.lines for story in told}
    lines: list[bytes] = []
    while left:
        order = data.draw(st.sampled_from(sorted(left)))
        lines.append(left[order].pop(0))
        if not left[order]:
            del left[order]
    ending, expected = play(lines), in_order(told)
    assert ending.bytes.rows == expected.bytes.rows
    by_key = [sorted((each.topic, each.key or b"", each.value or b"") for each in one.said) for one in (ending, expected)]
    assert by_key[0] == by_key[1]
