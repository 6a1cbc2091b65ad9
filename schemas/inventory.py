"""What is said about stock: facts of the inventory service on `inventory.events`."""

from schemas.fields import Id, MaybeId, Text
from schemas.message import Event, Wire
from schemas.orders import Lines


class InventoryReserved(Event, frozen=True, omit_defaults=True):
    """The lines are set aside."""

    wire = Wire("InventoryReserved")

    order_id: Id
    items: Lines = ()


class InventoryShortage(Event, frozen=True, omit_defaults=True):
    """The lines are not there, and none of them is set aside."""

    wire = Wire("InventoryShortage", also=("InventoryReserveFailed",))

    order_id: Id
    sku: MaybeId = ""
    reason: Text = ""


class InventoryReleased(Event, frozen=True, omit_defaults=True):
    """The lines were put back."""

    wire = Wire("InventoryReleased")

    order_id: Id
    items: Lines = ()
