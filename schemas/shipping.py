"""What is said about parcels: facts of the shipping service on `shipping.events`."""

from schemas.fields import Id, MaybeId, Text
from schemas.message import Event, Wire
from schemas.orders import Lines


class ShipmentScheduled(Event, frozen=True, omit_defaults=True):
    """A carrier took the order."""

    wire = Wire("ShipmentScheduled")

    order_id: Id
    shipment_id: MaybeId = ""
    items: Lines = ()


class ShipmentFailed(Event, frozen=True, omit_defaults=True):
    """No carrier takes it."""

    wire = Wire("ShipmentFailed")

    order_id: Id
    reason: Text = ""


class ShipmentCancelled(Event, frozen=True):
    """The parcel was stopped and the goods are back."""

    wire = Wire("ShipmentCancelled")

    order_id: Id


class ShipmentDelivered(Event, frozen=True):
    """The customer has the goods."""

    wire = Wire("ShipmentDelivered")

    order_id: Id
