"""Files to lines: forms of files, bad files, the order of many."""

import gzip
import io
import sys
from pathlib import Path

import pytest
import zstandard

from pipeline.problem import Problem
from pipeline.replay import lines as lines_module
from pipeline.replay.feed import time_of
from pipeline.replay.lines import LONGEST_LINE, Merged, opened
from tests.replay.making import DAY_MS, event, happy, read, write


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_file_gives_its_lines_however_it_is_packed(tmp_path: Path, name: str) -> None:
    """Plain, gzip and zstd files give the same lines."""
    assert read(write(tmp_path / name, happy("o-1"))) == happy("o-1")


@pytest.mark.parametrize("packed", [gzip.compress, zstandard.compress])
def test_the_bytes_say_how_a_file_is_packed_not_its_name(tmp_path: Path, packed: object) -> None:
    """A wrong or missing ending of the name does no harm."""
    assert callable(packed)
    path = tmp_path / "events"
    path.write_bytes(packed(b"\n".join(happy("o-1"))))
    assert read(path) == happy("o-1")


@pytest.mark.parametrize("packed", [gzip.compress, zstandard.compress])
def test_files_that_were_packed_one_by_one_and_put_together_are_read_to_the_end(tmp_path: Path, packed: object) -> None:
    """Several members or frames in one file are one stream."""
    assert callable(packed)
    path = tmp_path / "events"
    path.write_bytes(b"".join(packed(line + b"\n") for line in happy("o-1")))
    assert read(path) == happy("o-1")


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        (b"", []),
        (b"\n \n\t\r\n", []),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", [b"a", b"\xef\xbb\xbfb"]),
        (b"a\n\n\n b \n", [b"a", b" b "]),
        (b"\x00\x01\xff\n\x00\n", [b"\x00\x01\xff", b"\x00"]),
    ],
    ids=["empty", "blank", "no last end", "windows", "byte order mark", "gaps", "binary"],
)
def test_a_line_is_what_stands_between_line_ends(tmp_path: Path, raw: bytes, lines: list[bytes]) -> None:
    """Line ends, a leading byte order mark and blank lines are not part of any line; everything else is kept."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(raw)
    assert read(path) == lines


def test_blocks_may_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines do not depend on how the file comes in."""
    monkeypatch.setattr(lines_module, "BLOCK", 7)
    for name in ("a", "a.gz", "a.zst"):
        assert read(write(tmp_path / name, happy("o-1"))) == happy("o-1")


@pytest.mark.parametrize("more", [b"", b"\n", b"\n{}"], ids=["at the end", "ended", "followed"])
def test_an_endless_line_is_cut(tmp_path: Path, more: bytes) -> None:
    """Of a line its first 8 MiB are kept, and the lines after it are read."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * (2 * LONGEST_LINE + 3) + more)
    first, *rest = read(path)
    assert len(first) == LONGEST_LINE
    assert rest == [line for line in more.split(b"\n") if line]


def broken_gzip() -> bytes:
    return gzip.compress(b"\n".join(happy("o-1")) * 50)[:-20]


def broken_zstd() -> bytes:
    return zstandard.compress(b"\n".join(happy("o-1")) * 50)[:-20]


@pytest.mark.parametrize(
    ("name", "raw", "why"),
    [
        ("missing", None, "No such file"),
        ("folder", None, "directory"),
        ("cut.gz", broken_gzip(), "breaks off"),
        ("cut.zst", broken_zstd(), "breaks off"),
        ("damaged.gz", broken_gzip()[:60] + b"rubbish" * 9, "damaged"),
        ("damaged.zst", broken_zstd()[:30] + b"rubbish" * 9, "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else None,
)
def test_a_file_that_cannot_be_read_is_found_before_anything_starts(tmp_path: Path, name: str, raw: bytes | None, why: str) -> None:
    """Missing, a folder, cut, damaged: a Problem that names the file and says that nothing was started."""
    good, bad = write(tmp_path / "good", happy("o-1")), tmp_path / name
    if name == "folder":
        bad.mkdir()
    if raw is not None:
        bad.write_bytes(raw)
    with pytest.raises(Problem, match=why) as caught, opened([str(good), str(bad)]):
        pytest.fail("something was started")
    assert str(bad) in caught.value.what
    assert "nothing was started" in caught.value.what


def test_standard_input_can_be_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash is standard input; two of them make no sense."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"a\nb\n"))))
    with opened(["-"]) as (source,):
        assert list(source) == [b"a", b"b"]
    with pytest.raises(Problem, match="once"), opened(["-", "-"]):
        pytest.fail("something was started")


def test_what_breaks_off_on_standard_input_says_after_which_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be read twice, so it is found on the way: whole lines come first, then the Problem."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(broken_gzip())))
    found: list[bytes] = []
    with opened(["-"]) as (source,), pytest.raises(Problem, match="standard input: the gzip data breaks off") as caught:
        found.extend(line for line in source)
    assert f"after line {len(found)};" in caught.value.what


def test_files_are_merged_by_event_time(tmp_path: Path) -> None:
    """Event time comes first, then the order of the files, then the line."""
    a = write(tmp_path / "a", [event("a1", "X", "10:00:01"), event("a2", "X", "10:00:03")])
    b = write(tmp_path / "b", [event("b1", "X", "10:00:01"), event("b2", "X", "10:00:02")])
    assert names(read(a, b)) == ["a1", "b1", "b2", "a2"]
    assert names(read(b, a)) == ["b1", "a1", "b2", "a2"]


def test_the_lines_of_one_file_keep_their_order(tmp_path: Path) -> None:
    """The order in a file is the order of arrival, whatever the event times say."""
    a = write(tmp_path / "a", [event("a1", "X", "10:00:09"), event("a2", "X", "10:00:01")])
    b = write(tmp_path / "b", [event("b1", "X", "10:00:05")])
    assert names(read(a, b)) == ["b1", "a1", "a2"]


def test_an_unreadable_time_takes_the_place_of_the_line_before(tmp_path: Path) -> None:
    """A line without a time, or with one that nobody believes, stays behind its neighbour and holds up nobody."""
    wrong = event("a3", "X", "10:00:00").replace(b"2025", b"2099")
    a = write(tmp_path / "a", [b"?", event("a1", "X", "10:00:02"), b"{", wrong, event("a4", "X", "10:00:03")])
    b = write(tmp_path / "b", [event("b1", "X", "10:00:01"), event("b2", "X", "10:00:02"), event("b3", "X", "10:00:04")])
    assert names(read(a, b)) == ["?", "b1", "a1", "{", "a3", "b2", "a4", "b3"]


@pytest.mark.parametrize("files", ["ab", "a"])
def test_the_place_of_a_line_is_that_in_its_file(tmp_path: Path, files: str) -> None:
    """Blank lines are counted there: it is where an editor shows it."""
    a = write(tmp_path / "a", [b"", event("a1", "X", "10:00:01"), event("a2", "X", "10:00:03")])
    b = write(tmp_path / "b", [event("b1", "X", "10:00:02"), b"", event("b2", "X", "10:00:04")])
    with opened([str(tmp_path / name) for name in files]) as sources:
        lines = Merged(sources, time_of, DAY_MS)
        found = [lines.place for _ in lines]
    assert found == [f"line 2 of {a}", f"line 1 of {b}", f"line 3 of {a}", f"line 3 of {b}"][:: 1 if "b" in files else 2]


def test_merging_holds_one_line_of_each_file() -> None:
    """Memory does not grow with the files: a line is read when its file's turn comes."""
    taken = []

    class Endless:
        def __iter__(self) -> "Endless":
            return self

        def __next__(self) -> bytes:
            taken.append(1)
            return event(f"a{len(taken)}", "X", f"10:00:{len(taken):02}")

    lines = iter(Merged([Endless(), Endless()], time_of, DAY_MS))  # type: ignore[list-item]  # as a Source is read
    next(lines)
    assert len(taken) == 2


def names(lines: list[bytes]) -> list[str]:
    return [line[14 : line.index(b'"', 14)].decode() if len(line) > 9 else line.decode() for line in lines]
