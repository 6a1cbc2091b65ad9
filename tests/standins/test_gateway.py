"""The stand-in gateway: what it answers follows from the order's first payment."""

from decimal import Decimal

import pytest

from schemas.codec import decode, encode
from schemas.fields import LONGEST_ID
from schemas.message import Envelope, Message
from schemas.orders import ProcessPayment, RefundPayment
from schemas.payments import PaymentFailed, PaymentProcessed, PaymentRefunded

from .driver import Service


def pay(amount: str, currency: str = "USD", order: str = "o-1") -> ProcessPayment:
    return ProcessPayment(order, "c-1", Decimal(amount), currency)


def taken(amount: str, currency: str = "USD") -> Message:
    return PaymentProcessed("o-1", Decimal(amount), "pay-o-1", "c-1", currency)


def declined(amount: str, currency: str = "USD") -> Message:
    return PaymentFailed("o-1", "pay-o-1", "c-1", "declined", Decimal(amount), currency)


@pytest.mark.parametrize("amount", ["12.30", "0.00", "13.00", "0.31", "13.31"])
def test_a_payment_is_taken(amount: str) -> None:
    """What is asked is captured, for the customer, under an id of the order's."""
    assert Service("gateway").hears(pay(amount)) == [taken(amount)]


@pytest.mark.parametrize("amount", ["0.13", "10.13", "99999.13"])
def test_a_total_ending_in_13_is_declined(amount: str) -> None:
    """The demo's unlucky number, a business no and not an error."""
    assert Service("gateway").hears(pay(amount)) == [declined(amount)]


@pytest.mark.parametrize(("amount", "currency", "answer"), [("113", "JPY", taken), ("1.130", "BHD", taken), ("10.013", "BHD", taken)])
def test_the_ending_is_read_with_the_digits_of_the_currency(amount: str, currency: str, answer: type[Message]) -> None:
    """What ends in .13 is the decimal text of the amount; yen have no cents, and dinars have three digits."""
    assert Service("gateway").hears(pay(amount, currency)) == [answer(amount, currency)]


def test_asking_again_repeats_the_answer() -> None:
    """The first payment of an order decides, whatever is asked later, under whatever id."""
    service = Service("gateway")
    assert service.hears(pay("10.13")) == [declined("10.13")]
    assert service.hears(pay("20.00", "EUR")) == [declined("10.13")]


def test_orders_are_charged_each_for_itself() -> None:
    """One order's decline does not decide another's payment."""
    service = Service("gateway")
    service.hears(pay("10.13", order="o-2"))
    assert service.hears(pay("20.00")) == [taken("20.00")]


def test_a_refund_is_given() -> None:
    """The answer names the payment, the amount and the currency that the command names, and repeats when asked again."""
    service = Service("gateway")
    service.hears(pay("20.00"))
    refund = RefundPayment("o-1", "pay-o-1", Decimal("5.00"), "USD", "extra_payment")
    given_back = [PaymentRefunded("o-1", Decimal("5.00"), "pay-o-1", "USD")]
    assert service.hears(refund) == given_back
    assert service.hears(refund) == given_back


def test_the_longest_order_id_has_a_payment_id_that_can_be_read() -> None:
    """An id has a greatest length, also one that is made from another."""
    (said,) = Service("gateway").answers(pay("1.00", order="o" * LONGEST_ID))
    read = decode(encode(said))
    assert isinstance(read, Envelope)
    assert read.payload == said.payload
