"""What is said about money: facts of the payment service on `payment.events`."""

from decimal import Decimal

from schemas.fields import Amount, Currency, Id, MaybeId, Text
from schemas.message import Event, Invalid, Wire
from schemas.money import check, minor, plausible

CAPTURED = frozenset({"completed", "succeeded", "captured"})


def _checked(amount: Decimal, currency: str | None) -> None:
    """The currency's own rules, or what holds for all currencies while the order's is not known."""
    if currency is None:
        plausible(amount)
    else:
        check(amount, currency)


class PaymentProcessed(Event, frozen=True):
    """Money was captured. Without a currency it is in its order's."""

    wire = Wire("PaymentProcessed", also=("PaymentCompleted", "OrderPaid"))

    order_id: Id
    amount: Amount
    payment_id: MaybeId = ""
    user_id: MaybeId = ""
    currency: Currency | None = None
    status: Text = "completed"

    def __post_init__(self) -> None:
        if self.status not in CAPTURED:
            raise Invalid("status", "not completed, succeeded or captured")
        _checked(self.amount, self.currency)

    def amount_minor(self, currency_of_order: str) -> int:
        """Minor units of its own currency, else of the order's. Raises Invalid."""
        return minor(self.amount, self.currency or currency_of_order)


class PaymentFailed(Event, frozen=True):
    """No money was captured."""

    wire = Wire("PaymentFailed")

    order_id: Id
    payment_id: MaybeId = ""
    user_id: MaybeId = ""
    reason: Text = "declined"
    amount: Amount | None = None
    currency: Currency | None = None

    def __post_init__(self) -> None:
        if self.amount is not None:
            _checked(self.amount, self.currency)

    def amount_minor(self, currency_of_order: str) -> int:
        """Minor units of what was not captured, in its own currency, else the order's; 0 where it is not said. Raises Invalid."""
        return 0 if self.amount is None else minor(self.amount, self.currency or currency_of_order)


class PaymentRefunded(Event, frozen=True, omit_defaults=True):
    """Money was given back."""

    wire = Wire("PaymentRefunded")

    order_id: Id
    amount: Amount
    payment_id: MaybeId = ""
    currency: Currency | None = None

    def __post_init__(self) -> None:
        _checked(self.amount, self.currency)

    def amount_minor(self, currency_of_order: str) -> int:
        """Minor units of its own currency, else of the order's. Raises Invalid."""
        return minor(self.amount, self.currency or currency_of_order)


class PaymentDisputed(Event, frozen=True, omit_defaults=True):
    """The customer's bank asks for the money back."""

    wire = Wire("PaymentDisputed")

    order_id: Id
    payment_id: MaybeId = ""
    reason: Text = ""
