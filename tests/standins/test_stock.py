"""The stand-in stock: all or nothing, and no piece is lost or made."""

import msgspec
import pytest

from agents.agent import Ignored
from agents.standins import standins
from schemas.inventory import InventoryReleased, InventoryReserved, InventoryShortage
from schemas.orders import Line, ReleaseInventory, ReserveInventory
from schemas.shipping import ShipmentScheduled
from tables.stock import Stock, broken_laws

from .driver import Service, lines


def stock(**levels: int) -> Service:
    return Service("stock", levels)


def counts(service: Service, sku: str) -> tuple[int, int, int]:
    """On hand, reserved, shipped."""
    row = service.row(sku)
    assert broken_laws(row) == []
    return row.on_hand, row.reserved, row.shipped


def reserve(order: str, items: tuple[Line, ...], part: int = 0) -> ReserveInventory:
    return ReserveInventory(order, items, part)


def release(order: str, items: tuple[Line, ...], part: int = 0) -> ReleaseInventory:
    return ReleaseInventory(order, items, "payment_failed", part)


def test_an_order_that_can_be_had_is_held() -> None:
    """A reservation moves pieces from on hand to reserved, for every SKU of the order."""
    service = stock(A=5, B=5)
    assert service.hears(reserve("o-1", lines(A=2, B=5))) == [InventoryReserved("o-1", lines(A=2, B=5))]
    assert (counts(service, "A"), counts(service, "B")) == ((3, 2, 0), (0, 5, 0))


def test_an_order_is_reserved_as_a_whole_or_not_at_all() -> None:
    """One SKU that is short leaves every row of the order as it was, and the first short one in order of SKU is named."""
    service = stock(A=5, B=1, C=0)
    rows = {sku: service.row(sku) for sku in "ABC"}
    assert service.hears(reserve("o-1", lines(C=1, A=2, B=2), part=1)) == [InventoryShortage("o-1", "B")]
    assert {sku: service.row(sku) for sku in "ABC"} == rows


def test_of_an_unknown_sku_there_is_none() -> None:
    """A SKU without a level is short, not an error."""
    assert stock(A=5).hears(reserve("o-1", lines(A=1, X=1))) == [InventoryShortage("o-1", "X")]


def test_contended_stock_goes_to_who_asked_first() -> None:
    """The last piece is held once; the second order gets it only after the first has given it back."""
    service = stock(A=1)
    assert service.hears(reserve("o-1", lines(A=1))) == [InventoryReserved("o-1", lines(A=1))]
    assert service.hears(reserve("o-2", lines(A=1))) == [InventoryShortage("o-2", "A")]
    assert service.hears(release("o-1", lines(A=1))) == [InventoryReleased("o-1", lines(A=1))]
    assert service.hears(reserve("o-2", lines(A=1))) == [InventoryReserved("o-2", lines(A=1))]
    assert counts(service, "A") == (0, 1, 0)


def test_two_lines_of_one_sku_add_up() -> None:
    """Three and three of five is short, three and two is not."""
    service = stock(A=5)
    assert service.hears(reserve("o-1", (Line("A", 3), Line("A", 3)))) == [InventoryShortage("o-1", "A")]
    service.hears(reserve("o-1", (Line("A", 3), Line("A", 2))))
    assert counts(service, "A") == (0, 5, 0)
    service.hears(release("o-1", (Line("A", 3), Line("A", 2))))
    assert counts(service, "A") == (5, 0, 0)


def test_an_order_without_lines_needs_no_stock() -> None:
    """Nothing wanted is nothing short."""
    assert stock().hears(reserve("o-1", ())) == [InventoryReserved("o-1", ())]


def test_a_reservation_asked_twice_is_held_once() -> None:
    """A repeat under another id gets the same answer, also when nothing more is on hand."""
    service = stock(A=3)
    first = service.hears(reserve("o-1", lines(A=2)))
    assert service.hears(reserve("o-1", lines(A=2))) == first
    assert counts(service, "A") == (1, 2, 0)


def test_an_addition_is_held_beside_the_order() -> None:
    """Another part of the same order is more stock, not a repeat; each part is released by itself."""
    service = stock(A=5)
    service.hears(reserve("o-1", lines(A=2)))
    service.hears(reserve("o-1", lines(A=1), part=1))
    assert counts(service, "A") == (2, 3, 0)
    service.hears(release("o-1", lines(A=1), part=1))
    assert counts(service, "A") == (3, 2, 0)


def test_an_addition_that_is_short_leaves_the_order_held() -> None:
    """A shortage of part 1 takes nothing away from part 0, and a repeat of part 0 is still a repeat."""
    service = stock(A=2)
    service.hears(reserve("o-1", lines(A=2)))
    assert service.hears(reserve("o-1", lines(A=1), part=1)) == [InventoryShortage("o-1", "A")]
    assert service.hears(reserve("o-1", lines(A=2))) == [InventoryReserved("o-1", lines(A=2))]
    assert counts(service, "A") == (0, 2, 0)


def test_what_is_released_twice_is_freed_once() -> None:
    """A repeated release is answered again, and frees neither the same pieces twice nor those of another part or order."""
    service = stock(A=9)
    service.hears(reserve("o-1", lines(A=2)))
    service.hears(reserve("o-1", lines(A=3), part=1))
    service.hears(reserve("o-2", lines(A=4)))
    first = service.hears(release("o-1", lines(A=2)))
    assert service.hears(release("o-1", lines(A=2))) == first
    assert counts(service, "A") == (2, 7, 0)


def test_what_is_not_held_is_not_freed() -> None:
    """A release of an order that holds nothing is answered and moves nothing."""
    service = stock(A=2)
    assert service.hears(release("o-1", lines(A=2))) == [InventoryReleased("o-1", lines(A=2))]
    assert counts(service, "A") == (2, 0, 0)


def test_a_release_frees_what_it_names() -> None:
    """Of what a part holds, SKUs and pieces that are not named stay held; more than is held is not freed."""
    service = stock(A=5, B=5)
    service.hears(reserve("o-1", lines(A=3, B=2)))
    service.hears(release("o-1", lines(A=2)))
    assert (counts(service, "A"), counts(service, "B")) == ((4, 1, 0), (3, 2, 0))
    service.hears(release("o-1", lines(A=9)))
    assert counts(service, "A") == (5, 0, 0)


def test_what_is_scheduled_leaves_the_house() -> None:
    """ShipmentScheduled moves the pieces of all parts from reserved to shipped, and says nothing."""
    service = stock(A=5)
    service.hears(reserve("o-1", lines(A=2)))
    service.hears(reserve("o-1", lines(A=1), part=1))
    assert service.hears(ShipmentScheduled("o-1", items=lines(A=3))) == []
    assert counts(service, "A") == (2, 0, 3)


def test_a_shipment_of_some_pieces_leaves_the_others_held() -> None:
    """Only what the shipment names is gone."""
    service = stock(A=5)
    service.hears(reserve("o-1", lines(A=3)))
    service.hears(ShipmentScheduled("o-1", items=lines(A=2)))
    assert counts(service, "A") == (2, 1, 2)


def test_what_is_not_held_is_not_shipped() -> None:
    """A shipment of an order that holds none of it is ignored by name: nothing leaves, whoever else holds some."""
    service = stock(A=5)
    service.hears(reserve("o-2", lines(A=1)))
    assert service.hears(ShipmentScheduled("o-1", items=lines(A=2))) == Ignored("none of it is held")
    assert counts(service, "A") == (4, 1, 0)


def test_a_shipment_takes_no_more_than_is_held() -> None:
    """Of two SKUs one of which is held, that one is shipped, as far as it is held."""
    service = stock(A=5, B=5)
    service.hears(reserve("o-1", lines(A=1)))
    service.hears(ShipmentScheduled("o-1", items=lines(A=2, B=2)))
    assert (counts(service, "A"), counts(service, "B")) == ((4, 0, 1), (5, 0, 0))


def test_what_is_shipped_does_not_come_back() -> None:
    """A shipment told again and a release after it find nothing held."""
    service = stock(A=2)
    service.hears(reserve("o-1", lines(A=2)))
    shipment = ShipmentScheduled("o-1", items=lines(A=2))
    service.hears(shipment)
    assert service.hears(shipment) == Ignored("none of it is held")
    assert service.hears(release("o-1", lines(A=2))) == [InventoryReleased("o-1", lines(A=2))]
    assert counts(service, "A") == (0, 0, 2)


def test_a_shipment_without_goods_is_ignored() -> None:
    """A carrier that does not say what it took: no row can know."""
    assert stock(A=2).hears(ShipmentScheduled("o-1")) == Ignored("names no goods")


def test_finished_orders_are_forgotten() -> None:
    """A row does not grow with the orders that were released or shipped."""
    service = stock(A=9)
    for n in range(3):
        service.hears(reserve(f"o-{n}", lines(A=1)))
        service.hears(release(f"o-{n}", lines(A=1)) if n else ShipmentScheduled(f"o-{n}", items=lines(A=1)))
    assert service.row("A") == Stock("A", received=9, on_hand=8, shipped=1)


def test_a_row_survives_storage() -> None:
    """Orders and parts are keys of the row, and come back as they were."""
    service = stock(A=9)
    service.hears(reserve("o-1", lines(A=2), part=3))
    row = service.row("A")
    assert row.held == {"o-1": {3: 2}}
    assert msgspec.json.decode(msgspec.json.encode(row), type=Stock) == row
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=Stock) == row


@pytest.mark.parametrize(
    "row",
    [
        Stock("A", received=2, on_hand=1),
        Stock("A", received=2, on_hand=1, held={"o-1": {0: 2}}),
        Stock("A", received=1, on_hand=-1, shipped=2),
        Stock("A", received=1, on_hand=2, shipped=-1),
        Stock("A", held={"o-1": {}}),
        Stock("A", held={"o-1": {0: 0}}),
    ],
)
def test_a_row_that_cannot_be_is_named(row: Stock) -> None:
    """Pieces lost, made, below zero or remembered for nothing break a law."""
    assert len(broken_laws(row)) == 1


def test_a_level_below_zero_is_refused() -> None:
    """Stock begins with something or nothing; the settings that say otherwise are named."""
    with pytest.raises(ValueError, match="stock below zero: B"):
        standins({"A": 1, "B": -1})
