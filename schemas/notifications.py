"""What customers are told, on `notification.events`."""

from schemas.fields import Id
from schemas.message import Event, Wire


class NotificationRequested(Event, frozen=True):
    """Write to the customer, once per order and template."""

    wire = Wire("NotificationRequested", once_per=("order_id", "template"))

    customer_id: Id
    order_id: Id
    template: Id
