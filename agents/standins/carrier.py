"""The stand-in carrier: it refuses one SKU, and delivers the rest at once."""

from agents.agent import Agent, Decision, Unexpected
from schemas.message import Envelope, Message
from schemas.orders import CancelShipment, ScheduleShipment
from schemas.shipping import ShipmentCancelled, ShipmentDelivered, ShipmentFailed, ShipmentScheduled
from tables.services import PARCELS, Parcel

REFUSED = "NOSHIP"


def decide(_parcel: Parcel, heard: Envelope[Message]) -> Decision:
    match heard.payload:
        case ScheduleShipment(order_id=order, items=items):
            if any(line.sku == REFUSED for line in items):
                return [ShipmentFailed(order, f"cannot ship {REFUSED}")]
            return [ShipmentScheduled(order, items=items), ShipmentDelivered(order)]
        case CancelShipment(order_id=order):
            return [ShipmentCancelled(order)]
    raise Unexpected(heard.payload.wire.name)


CARRIER = Agent(
    name="carrier",
    hears=(ScheduleShipment, CancelShipment),
    table=PARCELS,
    decide=decide,
    says=(ShipmentScheduled, ShipmentFailed, ShipmentCancelled, ShipmentDelivered),
    answers_after_ms=1_000,
)
