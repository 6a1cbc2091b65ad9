"""Files to lines: plain, gzip or zstd, one or many, merged by event time; whatever is in them, memory stays bounded."""

import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import merge
from pathlib import Path
from typing import BinaryIO

import zstandard

from pipeline.problem import Problem
from schemas.message import Instant

STDIN = "-"
BLOCK = 1 << 18
ZSTD_BLOCK = 1 << 12
"""Of what is compressed. A zstd decoder gives all that one block holds, 32 KiB for each byte at worst."""
LONGEST_LINE = 8 << 20
"""Bytes of a line that are kept. What is longer than 1 MiB is a dead letter anyway."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BOM = b"\xef\xbb\xbf"
_WHITE = b" \t\r\n\v\f"


class Broken(Exception):
    """The file ends before its end, or is damaged there."""


class Source:
    """One open file. `read` counts the bytes that were taken from it, compressed as they are."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.name = name
        self.read = 0
        self.lines = 0
        """How many lines it has given so far, blank ones too."""
        self._file = file
        status = os.fstat(file.fileno()) if _has_number(file) else None
        self.regular = status is not None and stat.S_ISREG(status.st_mode)
        self.size = status.st_size if status is not None and self.regular else None
        """In bytes, as it lies there; None where it cannot be known."""

    def verify(self) -> None:
        """Read a compressed file to its end, and go back to its start. Raises Broken."""
        if not self.regular:
            return
        start = self._file.tell()
        if self._file.read(4)[:2] in {_GZIP, _ZSTD[:2]}:
            self._file.seek(start)
            for _ in self._blocks():
                pass
        self._file.seek(start)
        self.read = 0

    def __iter__(self) -> Iterator[bytes]:
        """Its lines without their ends, blank ones left out. Raises Problem where it breaks off."""
        try:
            for line in _split(self._blocks()):
                self.lines += 1
                if line.strip(_WHITE):
                    yield line
        except (Broken, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            name = "standard input" if self.name == STDIN else self.name
            raise Problem(
                f"{name}: {why} after line {self.lines}; the lines up to there were replayed.",
                "Replay the whole file into the same --data-dir: what was done is found to be a duplicate.",
            ) from None

    def _blocks(self) -> Iterator[bytes]:
        raw = self._raw()
        head = b""
        for block in raw:
            head += block
            if len(head) >= len(_ZSTD):
                break
        again = _chain(head, raw)
        if head.startswith(_GZIP):
            return _gunzip(again)
        return _unzstd(again) if head.startswith(_ZSTD) else again

    def _raw(self) -> Iterator[bytes]:
        # read1: what a pipe has, without waiting for a full block
        take: Callable[[int], bytes] = getattr(self._file, "read1", self._file.read)
        while block := take(BLOCK):
            self.read += len(block)
            yield block

    def close(self) -> None:
        if self.name != STDIN:
            self._file.close()


def _has_number(file: BinaryIO) -> bool:
    try:
        file.fileno()
    except (OSError, io.UnsupportedOperation):
        return False
    return True


@contextmanager
def opened(names: Sequence[str]) -> Iterator[list[Source]]:
    """All files; compressed ones are read once to their end. Raises Problem for the first that cannot be read, before any is given out."""
    if names.count(STDIN) > 1:
        raise Problem("-: standard input can be read once only.", "Name it once.")
    sources: list[Source] = []
    try:
        for name in names:
            try:
                if not name:
                    raise Problem(
                        "A file without a name cannot be read; nothing was started.", "Name files that can be read; - is standard input."
                    )
                if name == STDIN and sys.stdin is None:
                    raise Problem("-: there is no standard input.", "Pipe a file into it, or name one.")
                file = sys.stdin.buffer if name == STDIN else Path(name).open("rb")  # noqa: SIM115  # closed with its source
                sources.append(Source(name, file))
                sources[-1].verify()
            except (OSError, ValueError, Broken) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                raise Problem(f"{name}: {why}; nothing was started.", "Name files that can be read; - is standard input.") from None
        yield sources
    finally:
        for source in sources:
            source.close()


class Merged:
    """The lines of all files by event time, then in the order of the files; the lines of one file keep their order.

    A line whose time cannot be read, or not be believed (`jump_ms` ahead of the line before it), takes the place of the line before it.
    """

    def __init__(self, sources: Sequence[Source], time_of: Callable[[bytes], Instant | None], jump_ms: int) -> None:
        self._sources, self._time_of, self._jump_ms = sources, time_of, jump_ms
        self._from = 0

    def __iter__(self) -> Iterator[bytes]:
        if len(self._sources) == 1:
            yield from self._sources[0]
            return
        placed = [_placed(number, source, self._time_of, self._jump_ms) for number, source in enumerate(self._sources)]
        for _, self._from, line in merge(*placed, key=lambda entry: entry[:2]):
            yield line

    @property
    def place(self) -> str:
        """Of the line that was given last: a file is read on only when the next line is asked for."""
        source = self._sources[self._from]
        return f"line {source.lines} of {'standard input' if source.name == STDIN else source.name}"


def _placed(
    number: int, lines: Iterable[bytes], time_of: Callable[[bytes], Instant | None], jump_ms: int
) -> Iterator[tuple[Instant, int, bytes]]:
    place, newest = -1, -1
    for line in lines:
        at = time_of(line)
        if at is not None and (newest < 0 or at <= newest + jump_ms):
            place, newest = at, max(newest, at)
        yield place, number, line


def _chain(head: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _split(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends; of one that is too long, its first LONGEST_LINE bytes."""
    rest, first = b"", True
    cut: bytes | None = None
    for block in blocks:
        *lines, tail = block.split(b"\n")
        for line in lines:
            whole = cut if cut is not None else rest + line if rest else line
            rest, cut = b"", None
            if first:
                first, whole = False, whole.removeprefix(_BOM)
            yield whole[:LONGEST_LINE].removesuffix(b"\r")
        if cut is None:
            rest = rest + tail if rest else tail
            if len(rest) > LONGEST_LINE:
                cut, rest = rest[:LONGEST_LINE], b""
    last = cut if cut is not None else rest
    if last:
        yield (last.removeprefix(_BOM) if first else last).removesuffix(b"\r")


def _gunzip(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """One member after the other, as `cat a.gz b.gz` makes them; padding with zeros is passed over. Raises Broken."""
    member = None
    for block in blocks:
        left = block
        while left:
            if member is None:
                left = left.lstrip(b"\0")
                if not left:
                    break
                member = zlib.decompressobj(wbits=31)
            try:
                yield member.decompress(left, BLOCK)
            except zlib.error:
                raise Broken("the gzip data is damaged") from None
            if member.eof:
                left, member = member.unused_data, None
            else:
                left = member.unconsumed_tail
    if member is not None:
        while more := member.decompress(b"", BLOCK):
            yield more
        raise Broken("the gzip data breaks off")


def _unzstd(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """One frame after the other. Raises Broken."""
    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    frame = None
    for block in blocks:
        left = block
        while left:
            if frame is None:
                frame = decoder.decompressobj()
            some, left = left[:ZSTD_BLOCK], left[ZSTD_BLOCK:]
            try:
                yield frame.decompress(some)
            except zstandard.ZstdError:
                raise Broken("the zstd data is damaged") from None
            if frame.eof:
                left, frame = frame.unused_data + left, None
    if frame is not None:
        raise Broken("the zstd data breaks off")
