"""Bytes to messages and back: the one place that knows old versions and foreign forms.

Each record becomes a draft, and the draft's payload a message. `foreign.py` tells the forms apart, `synonyms.py` the names, `plans.py`
lifts old versions, `limits.py` says what is too much. Where nothing is odd, `quick.py` makes the draft in one typed pass.
"""

from schemas.codec.bad import Bad, Reason
from schemas.codec.canonical import encode
from schemas.codec.decode import Decoded, Unknown, decode, event_time
from schemas.codec.draft import Headers
from schemas.codec.instants import format_instant, parse_instant
from schemas.codec.limits import LARGEST_RECORD_BYTES

__all__ = [
    "LARGEST_RECORD_BYTES",
    "Bad",
    "Decoded",
    "Headers",
    "Reason",
    "Unknown",
    "decode",
    "encode",
    "event_time",
    "format_instant",
    "parse_instant",
]
