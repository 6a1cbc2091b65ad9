"""What the stand-in gateway and carrier remember, by order."""

from schemas.message import Envelope, Message
from schemas.money import minor
from schemas.orders import ProcessPayment
from tables.table import Row, Table


class Charge(Row, frozen=True):
    """The first payment asked for an order. Without a currency none was."""

    user_id: str = ""
    amount_minor: int = 0
    currency: str = ""


class Parcel(Row, frozen=True):
    """Nothing: all that the carrier answers follows from the command."""


def evolve_charge(charge: Charge, heard: Envelope[Message]) -> Charge:
    match heard.payload:
        case ProcessPayment(customer_id=user, amount=amount, currency=currency) if not charge.currency:
            return Charge(user, minor(amount, currency), currency)
    return charge


CHARGES = Table("charges", row=Charge, key="order_id", partitions=6, evolve=evolve_charge, initial=lambda _order: Charge())
PARCELS = Table("parcels", row=Parcel, key="order_id", partitions=6, evolve=lambda parcel, _heard: parcel, initial=lambda _order: Parcel())
