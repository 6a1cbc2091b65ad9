"""Money is exact, or it is refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.message import Invalid
from schemas.money import LARGEST_MINOR, check, digits, major, minor, text
from schemas.orders import ItemAdded, OrderCreated
from schemas.payments import PaymentFailed, PaymentProcessed

CURRENCIES = ["USD", "EUR", "JPY", "KRW", "CLP", "UGX", "BHD", "KWD", "TND", "CLF", "UYW", "CHF", "XOF"]


@pytest.mark.parametrize(
    ("currency", "places"),
    [
        ("USD", 2), ("EUR", 2), ("JPY", 0), ("KRW", 0), ("ISK", 0), ("XAF", 0), ("UYI", 0), ("BHD", 3), ("IQD", 3), ("LYD", 3),
        ("CLF", 4), ("UYW", 4), ("MRU", 2), ("MGA", 2), ("ZWG", 2), ("XCG", 2), ("VED", 2),
    ],
)  # fmt: skip
def test_the_digits_of_a_currency(currency: str, places: int) -> None:
    """ISO 4217 list one."""
    assert digits(currency) == places


@pytest.mark.parametrize("currency", ["", "usd", "US", "USDX", "XXX", "XAU", "XTS", "DEM", "ZZZ"])
def test_an_unknown_currency_is_invalid(currency: str) -> None:
    """Also test codes, metals, and what is no money any more."""
    with pytest.raises(Invalid) as caught:
        minor(Decimal("1.00"), currency)
    assert caught.value.field == "currency"


@pytest.mark.parametrize(
    ("amount", "currency", "minor_units"),
    [
        ("12.30", "USD", 1230), ("12.3", "USD", 1230), ("12", "USD", 1200), ("0", "USD", 0), ("0.00", "USD", 0), ("0.01", "USD", 1),
        ("1E+2", "USD", 10_000),
        ("-0", "USD", 0), ("-0.00", "USD", 0), ("-0", "JPY", 0),
        ("12E-1", "USD", 120), ("0E-2", "USD", 0), ("12", "JPY", 12), ("1e3", "JPY", 1000), ("1.234", "BHD", 1234),
        ("1.2", "BHD", 1200), ("0.0001", "CLF", 1),
        ("10000000000000.00", "USD", 10**15), ("1e15", "JPY", 10**15), ("1000000000000.000", "BHD", 10**15),
        ("9007199254740.93", "USD", 900_719_925_474_093),
        ("1.15", "USD", 115), ("19.99", "USD", 1999), ("1.001", "BHD", 1001),  # which a binary fraction makes one less
    ],
)  # fmt: skip
def test_amounts_that_fit(amount: str, currency: str, minor_units: int) -> None:
    """An amount is an exact number of minor units of its currency."""
    assert minor(Decimal(amount), currency) == minor_units


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("12.345", "USD"), ("12.340", "USD"), ("0.000", "USD"), ("12.0", "JPY"), ("1.2345", "BHD"), ("0.00001", "CLF"), ("-1", "USD"),
        ("-0.000", "USD"), ("-0.01", "USD"),
        ("NaN", "USD"), ("sNaN", "USD"), ("-NaN", "USD"), ("Infinity", "USD"), ("-Infinity", "USD"), ("1e400", "USD"),
        ("1e999999", "USD"), ("1e-400", "USD"),
        ("0e400", "USD"), ("10000000000000.01", "USD"), ("1000000000000001", "JPY"), ("1e16", "JPY"), ("1000000000000.001", "BHD"),
    ],
)  # fmt: skip
def test_amounts_that_do_not_fit(amount: str, currency: str) -> None:
    """Too fine, negative, not finite, out of range: refused before anything is worked out, and `check` agrees."""
    for way in (minor, check):
        with pytest.raises(Invalid) as caught:
            way(Decimal(amount), currency, "total")
        assert caught.value.field == "total"


@given(st.integers(0, LARGEST_MINOR), st.sampled_from(CURRENCIES))
def test_minor_and_major_are_inverse(minor_units: int, currency: str) -> None:
    """Nothing is rounded anywhere in the range."""
    assert minor(major(minor_units, currency), currency) == minor_units
    assert minor(Decimal(text(minor_units, currency)), currency) == minor_units


@given(st.decimals(allow_nan=False, allow_infinity=False, places=5) | st.decimals(), st.sampled_from(CURRENCIES))
def test_an_amount_is_exact_or_refused(amount: Decimal, currency: str) -> None:
    """There is no third way."""
    try:
        minor_units = minor(amount, currency)
    except Invalid:
        return
    assert Decimal(minor_units) == amount * 10 ** digits(currency)


def test_text_has_all_the_digits_of_the_currency() -> None:
    """As people read money, also a difference."""
    assert [text(1230, "USD"), text(5, "USD"), text(0, "USD"), text(-5, "USD"), text(12, "JPY"), text(10**15, "BHD")] == [
        "12.30", "0.05", "0.00", "-0.05", "12", "1000000000000.000",
    ]  # fmt: skip


def test_an_item_s_amount_is_its_total_else_price_times_quantity() -> None:
    """In the order's currency, which the event does not know."""
    assert ItemAdded("o", "A", 3, Decimal(30)).amount_minor("USD") == 3000
    assert ItemAdded("o", "A", 3, None, Decimal("1.25")).amount_minor("USD") == 375
    assert ItemAdded("o", "A", 3, Decimal(30), Decimal(99)).amount_minor("JPY") == 30


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (ItemAdded("o", "A", 3, Decimal("0.5")), "total"),
        (ItemAdded("o", "A", 3, None, Decimal("0.5")), "price"),
        (ItemAdded("o", "A", 3, None, Decimal(10**15)), "price"),
    ],
)
def test_an_item_that_does_not_fit_the_order_s_currency(item: ItemAdded, field: str) -> None:
    """Found when it meets its order, and the field is named then too."""
    with pytest.raises(Invalid) as caught:
        item.amount_minor("JPY")
    assert caught.value.field == field


def test_a_payment_without_a_currency_takes_its_order_s() -> None:
    """Its own counts first."""
    assert PaymentProcessed("o", Decimal("1.5")).amount_minor("BHD") == 1500
    assert PaymentProcessed("o", Decimal("1.5"), currency="USD").amount_minor("BHD") == 150
    assert PaymentFailed("o").amount_minor("USD") == 0
    assert PaymentFailed("o", amount=Decimal(2)).amount_minor("USD") == 200


def test_a_message_made_here_is_checked_like_one_that_came() -> None:
    """No agent can say an amount that nobody could read."""
    with pytest.raises(Invalid) as caught:
        OrderCreated("o", "c", Decimal("1.005"), "USD")
    assert caught.value.field == "total"
