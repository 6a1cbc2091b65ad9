"""Event time as text: ISO 8601 in, RFC 3339 with milliseconds out, integers of a millisecond between."""

import re
from datetime import UTC, datetime
from functools import lru_cache

from schemas.message import Instant, Invalid

MINUTE_MS = 60_000
DAY_MS = 86_400_000
_EPOCH_DAY = datetime(1970, 1, 1, tzinfo=UTC).toordinal()
END: Instant = (datetime(2201, 1, 1, tzinfo=UTC).toordinal() - _EPOCH_DAY) * DAY_MS
"""The first instant after the year 2200; the first before 1970 is -1, which a Kafka timestamp cannot hold."""

_ISO = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<ahead_hours>[0-9]{2})(?::?(?P<ahead_minutes>[0-9]{2}))?)?"
)
_USUAL_LENGTH = len("2025-10-29T10:00:00.000Z")
_TWO_DIGITS = tuple(f"{second:02}" for second in range(60))
_THREE_DIGITS = tuple(f"{ms:03}" for ms in range(1000))
_SECONDS = {text: second * 1000 for second, text in enumerate(_TWO_DIGITS)}
_THOUSANDTHS = {text: ms for ms, text in enumerate(_THREE_DIGITS)}


def parse_instant(text: str) -> Instant:
    """ISO 8601 date and time, extended format; no offset means UTC; digits finer than a millisecond are cut.

    Raises Invalid("timestamp"), also outside the years 1970 to 2200.
    """
    # Nearly all are written like this one: "2025-10-29T10:00:00.000Z".
    if len(text) == _USUAL_LENGTH and text[19] == "." and text[23] == "Z":
        try:
            return _usual_minute(text[:17]) + _SECONDS[text[17:19]] + _THOUSANDTHS[text[20:23]]
        except KeyError:
            pass
    return _any_form(text)


def format_instant(at: Instant) -> str:
    """RFC 3339 in UTC with three digits: "2025-10-29T10:00:00.000Z". Years 1 to 9999."""
    minutes, rest = divmod(at, MINUTE_MS)
    second, ms = divmod(rest, 1000)
    return f"{_minute_text(minutes)}{_TWO_DIGITS[second]}.{_THREE_DIGITS[ms]}Z"


@lru_cache(maxsize=4_096)
def _usual_minute(text: str) -> Instant:
    """The minute that "2025-10-29T10:00:" begins; neighbouring events share it."""
    return _any_form(f"{text}00Z")


@lru_cache(maxsize=4_096)
def _minute_text(minutes: int) -> str:
    days, minute = divmod(minutes, DAY_MS // MINUTE_MS)
    return f"{datetime.fromordinal(_EPOCH_DAY + days):%Y-%m-%d}T{minute // 60:02}:{minute % 60:02}:"


def _any_form(text: str) -> Instant:
    said = _ISO.fullmatch(text)
    if said is None:
        raise Invalid("timestamp", "not an ISO 8601 date and time")
    hour, minute, second = int(said["hour"]), int(said["minute"]), int(said["second"] or 0)
    ahead_hours, ahead_minutes = int(said["ahead_hours"] or 0), int(said["ahead_minutes"] or 0)
    try:
        day = datetime.fromisoformat(said["date"]).toordinal() - _EPOCH_DAY
    except ValueError:
        raise Invalid("timestamp", "no such day") from None
    ahead = (ahead_hours * 60 + ahead_minutes) * (-1 if said["sign"] == "-" else 1)
    utc_minute = hour * 60 + minute - ahead
    # RFC 3339 section 5.7: a leap second ends a day of UTC. Like POSIX, we count it as the next second.
    leap = second == 60 and utc_minute % 1440 == 1439
    if hour > 23 or minute > 59 or (second > 59 and not leap) or ahead_hours > 23 or ahead_minutes > 59:
        raise Invalid("timestamp", "no such time of day")
    at = day * DAY_MS + utc_minute * MINUTE_MS + second * 1000 + int((said["fraction"] or "")[:3].ljust(3, "0"))
    if not 0 <= at < END:
        raise Invalid("timestamp", "outside the years 1970 to 2200")
    return at
