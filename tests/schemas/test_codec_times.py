"""Event time: ISO 8601 as senders write it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import format_instant, parse_instant
from schemas.message import Invalid

TEN = 1_761_732_000_000  # 2025-10-29T10:00:00Z


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2025-10-29T10:00:00.000Z", TEN),
        ("2025-10-29T10:00:00.123Z", TEN + 123),
        ("2025-10-29T10:00:00Z", TEN),
        ("2025-10-29T10:00:00", TEN),
        ("2025-10-29T10:00:00.5", TEN + 500),
        ("2025-10-29t10:00:00z", TEN),
        ("2025-10-29 10:00:00Z", TEN),
        ("2025-10-29T10:00:00,250Z", TEN + 250),
        ("2025-10-29T10:00Z", TEN),
        ("2025-10-29T12:00:00+02:00", TEN),
        ("2025-10-29T12:00:00+0200", TEN),
        ("2025-10-29T12:00:00+02", TEN),
        ("2025-10-29T04:30:00.001-05:30", TEN + 1),
        ("2025-10-30T00:00:00+14:00", TEN),
        ("2025-10-29T10:00:00-00:00", TEN),
        ("2025-10-29T10:00:00.0009999Z", TEN),
        ("2025-10-29T10:00:00.123999999Z", TEN + 123),
        ("2025-10-29T10:00:00." + "1" * 200 + "Z", TEN + 111),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2016-12-31T18:59:60.500-05:00", 1_483_228_800_500),
        ("1970-01-01T00:00:00Z", 0),
        ("2200-12-31T23:59:59.999Z", 7_289_654_399_999),
    ],
)
def test_times_that_are_read(text: str, at: int) -> None:
    """No offset means UTC, offsets count, finer digits are cut and never rounded up, a leap second is the next one."""
    assert parse_instant(text) == at


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2025-10-29", "10:00:00Z", "20251029T100000Z", "2025-W44-3T10:00:00Z", "1761732000", "2025-10-29T10:00:00.Z",
        "2025-10-29T10:00:00ZZ",
        " 2025-10-29T10:00:00Z", "2025-10-29T10:00:00Z\n", "2025-10-29T10:00:00 Z", "2025-10-29T10:00:00 +02:00",
        "2025-13-01T10:00:00Z", "2025-02-29T10:00:00Z",
        "2025-00-10T10:00:00.000Z", "2025-10-32T10:00:00.000Z", "2025-10-29T24:00:00Z", "2025-10-29T10:60:00.000Z",
        "2025-10-29T10:00:60.000Z",
        "2025-10-29T10:00:61Z", "2025-10-29T10:00:00+24:00", "2025-10-29T10:00:00+02:60", "2025-10-29T10:00:0\u0660.000Z",
        "\uff12025-10-29T10:00:00.000Z",
        "2025-10-29T10:00:+1.000Z", "2025-10-29T10:00:00.+10Z", "2025-10-29T10:00:00. 10Z", "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:00:00+00:01", "2201-01-01T00:00:00.000Z", "2200-12-31T23:59:59-00:01", "9999-12-31T23:59:59Z",
        "2025-10-29T10:00:00[UTC]",
    ],
)  # fmt: skip
def test_times_that_are_refused(text: str) -> None:
    """Not a date and time, no such day or time of day, or outside the years 1970 to 2200."""
    with pytest.raises(Invalid) as caught:
        parse_instant(text)
    assert caught.value.field == "timestamp"


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001  # the zone is drawn beside it
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_the_calendar_is_the_standard_library_s(moment: datetime, ahead_minutes: int) -> None:
    """Checked against datetime, which the quick way does not use."""
    said = moment.replace(tzinfo=timezone(timedelta(minutes=ahead_minutes)))
    expected = (said - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_instant(said.isoformat()) == expected
    assert parse_instant(said.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")) == expected


def test_times_are_written_with_milliseconds_in_utc() -> None:
    """RFC 3339, always of one length, so that text sorts as time does."""
    assert format_instant(TEN + 7) == "2025-10-29T10:00:00.007Z"
    assert format_instant(0) == "1970-01-01T00:00:00.000Z"
