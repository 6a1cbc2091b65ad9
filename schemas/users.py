"""What is said about users, on `user.events`."""

from schemas.fields import Id
from schemas.message import Event, Wire


class UserRegistered(Event, frozen=True):
    """A user has an account."""

    wire = Wire("UserRegistered")

    user_id: Id
