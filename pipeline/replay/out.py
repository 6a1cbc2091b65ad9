"""What was emitted, as files: one JSON Lines file per topic, in order; the same bytes for the same input, however it was run."""

from base64 import b64encode
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from pipeline.log.record import Headers, Record
from pipeline.problem import Problem
from schemas.topics import DEAD_LETTERS, LATE, TOPICS

_FIRST_PRINTABLE = 0x20
_encode = msgspec.json.Encoder().encode
_AS_THEY_CAME = frozenset({DEAD_LETTERS.name, LATE.name})
_TOPICS = frozenset(topic.name for topic in TOPICS)


def is_public(record: Record) -> bool:
    """It is for others to read; the rest goes between tasks."""
    return record.topic in _TOPICS


class Out:
    """A folder of files that are opened when their topic has its first record. Raises Problem for a folder that is not empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, BinaryIO] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            empty = not any(folder.iterdir())
        except OSError as error:
            raise Problem(f"{folder}: {error.strerror}.", "Name a folder that can be written with --out.") from None
        if not empty:
            raise Problem(f"{folder}: not empty; nothing was started.", "Name a new folder with --out, or empty this one.")

    def write(self, record: Record) -> None:
        """A bare envelope, as it was sent; a dead letter, or what came too late, as a record line."""
        if not is_public(record):
            return
        file = self._files.get(record.topic)
        if file is None:
            file = self._files[record.topic] = (self.folder / f"{record.topic}.jsonl").open(
                "wb", buffering=0
            )  # a process that is killed has written what it told
        file.write((record_line(record) if record.topic in _AS_THEY_CAME else record.value or b"null") + b"\n")

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def record_line(record: Record) -> bytes:
    """`{"topic","key","value","headers","timestamp"}`; `key_base64`, `value_base64` for what is not UTF-8 text. Replay can read it."""
    line: dict[str, Any] = {"topic": record.topic}
    for name, raw in (("key", record.key), ("value", record.value)):
        text = _text(raw)
        line |= {name: text} if raw is None or text is not None else {f"{name}_base64": b64encode(raw).decode()}
    return _encode({**line, "headers": _headers(record.headers), "timestamp": record.timestamp})


def _headers(headers: Headers) -> object:
    """By name; as pairs where a name comes twice."""
    pairs = [(name, text if (text := _text(raw)) is not None else {"base64": b64encode(raw).decode()}) for name, raw in headers]
    return dict(pairs) if len(dict(pairs)) == len(pairs) else pairs


def _text(raw: bytes | None) -> str | None:
    """As text, if it is some: a number's bytes may be UTF-8 by chance, with control characters then."""
    try:
        text = None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return None
    return text if text is None or not any(ord(c) < _FIRST_PRINTABLE and c not in "\t\r\n" for c in text) else None
