"""Exact money: a decimal where it is said, an integer of the currency's minor unit where it is counted."""

from decimal import Decimal

from schemas.message import Invalid

LARGEST_MINOR = 10**15
"""No single amount is larger, in minor units of its currency."""

_BY_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC "
    "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD "
    "KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN "
    "QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED "
    "VES WST XCD XCG YER ZAR ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DIGITS = {currency: places for places, currencies in _BY_DIGITS.items() for currency in currencies.split()}
"""ISO 4217 list one: every active code that has a minor unit (precious metals and test codes have none)."""
MOST_DIGITS = max(_BY_DIGITS)
_LARGEST_EXPONENT = Decimal(LARGEST_MINOR).adjusted()
_SCALE = {
    currency: (Decimal(1).scaleb(-places), Decimal(LARGEST_MINOR).scaleb(-places), Decimal(10) ** places)
    for currency, places in _DIGITS.items()
}
"""Of each currency: the minor unit, the largest amount, and how many minor units make one."""


def digits(currency: str) -> int:
    """Fraction digits of the currency's minor unit: JPY 0, USD 2, BHD 3. Raises Invalid("currency")."""
    try:
        return _DIGITS[currency]
    except KeyError:
        raise Invalid("currency", "not an active ISO 4217 code") from None


def plausible(amount: Decimal, field: str = "amount") -> None:
    """Holds for an amount of any currency; what can be checked while the currency is not known. Raises Invalid(field)."""
    if not amount.is_finite():
        raise Invalid(field, "not a finite number")
    if amount < 0:  # -0 is 0
        raise Invalid(field, "negative")
    # adjusted() before any arithmetic: 1e400000 must never be expanded.
    if amount.adjusted() > _LARGEST_EXPONENT or amount > LARGEST_MINOR:
        raise Invalid(field, "more than 10^15 minor units")
    if amount.as_tuple().exponent < -MOST_DIGITS:  # type: ignore[operator]  # a finite decimal's exponent is an int
        raise Invalid(field, "more fraction digits than any currency has")


def minor(amount: Decimal, currency: str, field: str = "amount") -> int:
    """12.30 USD is 1230. Raises Invalid for what the currency cannot hold exactly as written: field or "currency"."""
    return int(amount * check(amount, currency, field))


def check(amount: Decimal, currency: str, field: str = "amount") -> Decimal:
    """What `minor` would refuse. Returns how many minor units make one. Raises Invalid: field or "currency"."""
    places = digits(currency)
    unit, largest, units = _SCALE[currency]
    # The ordinary amount is written with all the digits of its currency: three comparisons prove it good.
    if amount.same_quantum(unit) and not amount.is_signed() and amount <= largest:
        return units
    plausible(amount, field)
    if -amount.as_tuple().exponent > places:  # type: ignore[operator]  # finite, see plausible
        raise Invalid(field, f"more fraction digits than the {places} of {currency}")
    if amount > largest:
        raise Invalid(field, "more than 10^15 minor units")
    return units


def major(minor_units: int, currency: str) -> Decimal:
    """1230 USD is 12.30, written with all the digits of its currency."""
    return Decimal(minor_units).scaleb(-digits(currency))


def text(minor_units: int, currency: str) -> str:
    """1230 USD is "12.30"; differences may be negative."""
    return format(major(minor_units, currency), "f")
