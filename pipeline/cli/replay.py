"""`orderflow replay`: files through the pipeline, and a report."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.say import USAGE, WRONG, AsJson, aside, document, told

MAX = "max"


def speed_of(text: str) -> float | None:
    """None for as fast as it goes."""
    if text == MAX:
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not (math.isfinite(speed) and speed > 0):
        raise typer.BadParameter("give max, or how many seconds of event time go by in a second: 1, 60, 0.5")
    return speed


@told
def replay(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="JSON Lines, plain, gzip or zstd; - is standard input.")],
    to: Annotated[Literal["memory"], typer.Option(help="Where the pipeline runs: in this process.")] = "memory",  # noqa: ARG001  # the one value so far
    speed: Annotated[str, typer.Option(help="max; 1 is as recorded, 60 sixty times as fast.")] = MAX,
    data_dir: Annotated[Path | None, typer.Option(help="Folder that keeps the state for the next run.")] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for what is emitted, one file per topic.")] = None,
    services: Annotated[
        Literal["recorded", "standin"] | None, typer.Option(help="Who answers: the file, or the built-in services.")
    ] = None,
    saga: Annotated[Literal["orchestrated", "choreographed"] | None, typer.Option(help="Style of the saga.")] = None,
    chunk: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Records that are decided together; changes nothing but the speed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay recorded events. Several files are merged by event time.

    A bad line is a dead letter, never the end of the run. Exit 1 only when a law or a sum is broken; exit 2 when a file cannot be read,
    and then nothing was started (what breaks off on standard input was replayed up to there).
    """
    pace = speed_of(speed)
    from pipeline.cli.running import run_replay

    report, problem = run_replay(
        files, speed=pace, out=out, quiet=as_json, data_dir=data_dir, services=services, saga=saga, chunk_records=chunk
    )
    if as_json:
        document(report)
    else:
        from pipeline.cli.tables import print_report

        print_report(report)
    if problem is not None:
        aside(f"orderflow: {problem.what}")
        aside(problem.remedy)
        raise typer.Exit(USAGE)
    if report.problems:
        for text in report.problems:
            aside(f"orderflow: {text}")
        raise typer.Exit(WRONG)
