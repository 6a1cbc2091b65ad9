"""The kinds of field that messages are made of, with their limits."""

from decimal import Decimal
from typing import Annotated, TypeAlias

from msgspec import Meta

LONGEST_ID = 256
LONGEST_TEXT = 4_096
MOST_LINES = 1_000
LARGEST_QUANTITY = 1_000_000
LARGEST_NUMBER = 2**31 - 1
LARGEST_SEQUENCE = 2**63 - 1

Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID, extra={"id": True})]
"""Names one thing; characters, no control characters."""

MaybeId: TypeAlias = Annotated[str, Meta(max_length=LONGEST_ID, extra={"id": True})]
"""As `Id`; empty where the sender does not say."""

Text: TypeAlias = Annotated[str, Meta(max_length=LONGEST_TEXT)]
"""Free words of the sender, in characters."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST_NUMBER)]
Version: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST_NUMBER)]
Quantity: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST_QUANTITY)]
"""Pieces of one SKU."""

Amount: TypeAlias = Annotated[Decimal, Meta(description="Exact, in units of the currency, with no more digits than it has.")]
Currency: TypeAlias = Annotated[str, Meta(description="ISO 4217 code.", examples=["USD", "EUR", "JPY"])]
