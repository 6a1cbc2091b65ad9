"""Any commands in any order: an auditor with books of its own predicts every answer and every count of the stand-in stock."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.agent import Ignored
from schemas.inventory import InventoryReleased, InventoryReserved, InventoryShortage
from schemas.message import Message
from schemas.orders import Line, ReleaseInventory, ReserveInventory
from schemas.shipping import ShipmentScheduled
from tables.stock import broken_laws

from .driver import Service

SKUS = ("A", "B")
Told = ReserveInventory | ReleaseInventory | ShipmentScheduled

levels = st.fixed_dictionaries({sku: st.integers(0, 12) for sku in SKUS})
orders = st.sampled_from(("o-1", "o-2"))
parts = st.integers(0, 1)
items = st.lists(st.builds(Line, st.sampled_from(SKUS), st.integers(1, 4)), min_size=1, max_size=3).map(tuple)
told = st.one_of(
    st.builds(ReserveInventory, orders, items, parts),
    st.builds(ReleaseInventory, orders, items, st.just("payment_failed"), parts),
    st.builds(ShipmentScheduled, orders, st.just(""), items),
)
histories = st.lists(told, max_size=40)


class Auditor:
    """Books as a flat list of what is held: piece counts by (order, part, SKU)."""

    def __init__(self, level: dict[str, int]) -> None:
        self.on_hand = Counter(level)
        self.held: Counter[tuple[str, int, str]] = Counter()
        self.shipped: Counter[str] = Counter()

    def reserved(self, sku: str) -> int:
        return sum(n for (_, _, of), n in self.held.items() if of == sku)

    def predicts(self, message: Told) -> list[Message] | Ignored:
        wanted: Counter[str] = Counter()
        for line in message.items:
            wanted[line.sku] += line.quantity
        match message:
            case ReserveInventory(order_id=order, part=part):
                new = {sku: n for sku, n in wanted.items() if not self.held[order, part, sku]}
                if short := sorted(sku for sku, n in new.items() if n > self.on_hand[sku]):
                    return [InventoryShortage(order, short[0])]
                for sku, n in new.items():
                    self.on_hand[sku] -= n
                    self.held[order, part, sku] = n
                return [InventoryReserved(order, message.items)]
            case ReleaseInventory(order_id=order, part=part):
                for sku, n in wanted.items():
                    freed = min(n, self.held[order, part, sku])
                    self.held[order, part, sku] -= freed
                    self.on_hand[sku] += freed
                return [InventoryReleased(order, message.items)]
            case ShipmentScheduled(order_id=order):
                gone = [key for sku, n in wanted.items() for key in self.pieces_of(order, sku)[:n]]
                self.held.subtract(gone)
                self.shipped.update(sku for _, _, sku in gone)
                return [] if gone else Ignored("none of it is held")

    def pieces_of(self, order: str, sku: str) -> list[tuple[str, int, str]]:
        """One entry for each piece that the order holds, first part first."""
        return sorted(key for key in self.held.elements() if (key[0], key[2]) == (order, sku))


@settings(max_examples=150, deadline=None)
@given(levels, histories)
def test_every_answer_and_every_count_is_as_predicted(level: dict[str, int], history: list[Told]) -> None:
    """Whatever is told, the rows are the auditor's books: nothing is oversold, freed twice, or shipped unheld."""
    service, auditor = Service("stock", level), Auditor(level)
    for message in history:
        assert service.hears(message) == auditor.predicts(message)
        for sku in SKUS:
            row = service.row(sku)
            assert (row.on_hand, row.reserved, row.shipped) == (auditor.on_hand[sku], auditor.reserved(sku), auditor.shipped[sku])


@settings(max_examples=150, deadline=None)
@given(levels, histories)
def test_no_piece_is_lost_or_made(level: dict[str, int], history: list[Told]) -> None:
    """On hand + reserved + shipped of each SKU is its level after every message, and none of them is below zero."""
    service = Service("stock", level)
    for message in history:
        service.hears(message)
        for sku in SKUS:
            row = service.row(sku)
            assert broken_laws(row) == []
            assert row.on_hand + row.reserved + row.shipped == level[sku]


@settings(max_examples=150, deadline=None)
@given(levels, histories, st.builds(ReserveInventory, orders, items, parts))
def test_all_or_nothing(level: dict[str, int], history: list[Told], last: ReserveInventory) -> None:
    """After a shortage the rows are as before; after a reservation the part holds some of every SKU; asked again, nothing moves."""
    service = Service("stock", level)
    for message in history:
        service.hears(message)
    before = {sku: service.row(sku) for sku in SKUS}
    answer = service.hears(last)
    after = {sku: service.row(sku) for sku in SKUS}
    if answer == [InventoryReserved(last.order_id, last.items)]:
        assert all(after[line.sku].holds(last.order_id, last.part) for line in last.items)
    else:
        assert after == before
    assert service.hears(last) == answer
    assert {sku: service.row(sku) for sku in SKUS} == after
