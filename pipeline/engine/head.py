"""What a task knows of itself."""

import msgspec

from schemas.message import Instant


class Head(msgspec.Struct, array_like=True):
    """The last record of each chunk in the changelog, and part of each batch in the store: state is whole up to here."""

    incarnation: str
    """Of the changelog: state from another one is worthless."""
    chunk: int = 0
    time: Instant = -1
    """Stream time: the greatest event time seen."""
    said: int = 0
    """How many records the task has said."""
    changelog_end: int = -1
    """Offset of this head in the changelog."""
    offsets: dict[str, int] = {}
    """Next offset per input, by topic; of the inbox, the lowest that is left."""
    counts: dict[str, int] = {}
    """What became of the records: `input.` of those that were fed, `internal.` of those that were said, `emitted.` per type."""

    upstream: dict[str, Instant] = {}
    """Stream time of the tasks that this one hears, as they have told it; IDLE of those that had nothing to read."""
    told: Instant = -1
    """The stream time that it last told those that hear it."""
    sums: dict[str, int] = {}
    """Over all rows: `rows.` per table, and what its table counts, under its name. Those that are 0 are left out."""
    closed: Instant = -1
    """The watermark has been here: windows that end by then are closed, and stay so, whatever is heard of those upstream later."""
    ahead: list[tuple[int, int]] = []
    """What was heard of the inbox beyond that: offsets, each range with its first one and that behind its last one. Its writers go each at
    its own pace, and it is heard in the order of time."""


IDLE = 1 << 62

encode_head = msgspec.msgpack.Encoder().encode
decode_head = msgspec.msgpack.Decoder(Head).decode
