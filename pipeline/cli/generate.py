"""`orderflow generate`: a recorded day of a shop that never was."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from pipeline.cli.say import AsJson, aside, document, told
from pipeline.problem import Problem


@told
def generate(
    orders: Annotated[int, typer.Option(min=1, help="How many orders; each is about 5.5 lines.")] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; .gz and .zst are compressed. Default: standard output.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write generated orders with their services' answers, as JSON Lines: for `replay --services recorded`."""
    from pipeline.replay.generate import generate as lines_of

    lines = 0
    with _opened(output) as file:
        for line in lines_of(orders, seed):
            file.write(line + b"\n")
            lines += 1
    if as_json:
        written = {"file": None if output is None else str(output), "orders": orders, "seed": seed, "lines": lines}
        if output is None:
            aside(json.dumps(written))  # the lines themselves have standard output
        else:
            document(written)


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        if sys.stdout is None:
            raise Problem("There is no standard output.", "Name a file with -o.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with path.open("wb") as raw:
            if path.suffix == ".gz":
                import gzip

                # without name and time, so that the same seed gives the same bytes
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
                    yield packed  # type: ignore[misc]  # a BufferedIOBase
            elif path.suffix == ".zst":
                import zstandard

                with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as packed:
                    yield packed
            else:
                yield raw
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}.", "Name a file that can be written with -o.") from None
