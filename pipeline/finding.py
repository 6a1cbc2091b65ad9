"""What is wrong somewhere, said to people who may put it right."""

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One problem."""

    about: str
    what: str
    remedy: str
