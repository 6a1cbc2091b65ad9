"""`orderflow replay`: files through the pipeline, and a report."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.cli.say import USAGE, WRONG, AsJson, aside, document, log_at, told
from pipeline.problem import Problem

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
    to: Annotated[
        Literal["memory", "kafka"], typer.Option(help="Through the pipeline in this process; or to the topics that workers read.")
    ] = "memory",
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

    With --to kafka, records are only written: exit 1 when some are too large, exit 2 also when the broker or its topics are not there.
    """
    pace = speed_of(speed)
    if to == "kafka":
        _send(files, pace, {"data-dir": data_dir, "out": out, "services": services, "saga": saga, "chunk": chunk}, as_json=as_json)
        return
    from pipeline.cli.running import run_replay

    report, problem = run_replay(
        files, speed=pace, out=out, quiet=as_json, data_dir=data_dir, services=services, saga=saga, chunk_records=chunk
    )
    if as_json:
        document(report)
    else:
        from pipeline.cli.tables import print_report

        print_report(report)
    _end(problem, report.problems)


def _end(problem: Problem | None, found: Sequence[str]) -> None:
    """What went wrong, and the exit code of that."""
    if problem is not None:
        aside(f"orderflow: {problem.what}")
        aside(problem.remedy)
        raise typer.Exit(USAGE)
    if found:
        for text in found:
            aside(f"orderflow: {text}")
        raise typer.Exit(WRONG)


def _send(files: Sequence[str], speed: float | None, elsewhere: Mapping[str, object], *, as_json: bool) -> None:
    """`--to kafka`."""
    if given := [f"--{name}" for name, value in elsewhere.items() if value is not None]:
        raise Problem(
            f"{', '.join(given)}: means nothing with --to kafka, where nothing is decided, kept or emitted by this command.",
            "Leave it out; the workers on Kafka have their own settings.",
        )
    import sys

    from pipeline.cli.interrupts import run
    from pipeline.cli.running import progress
    from pipeline.replay.feed import time_of
    from pipeline.replay.kafka import Sending, Sent, send_lines, target
    from pipeline.replay.lines import Merged, opened
    from pipeline.settings import load

    settings = load()
    log_at(settings.log_level)

    async def sent() -> tuple[Sent, Problem | None]:
        kafka, places = await target(settings)
        with opened(files) as sources, progress(sources, shown=not as_json and sys.stderr.isatty()) as watches:
            lines = Merged(sources, time_of, settings.options().jump_ms)
            how = Sending(speed, settings.largest_record_bytes, watches=watches, place=lambda _number: lines.place)
            return await send_lines(lines, kafka, places, how)

    report, problem = run(sent())
    if as_json:
        document(report)
    else:
        for topic, count in sorted(report.topics.items()):
            print(f"{topic:24} {count:10,}")
        for reason, count in sorted(report.unreadable.items()):
            print(f"unreadable: {reason:12} {count:10,}")
        if report.unknown:
            print(f"of unknown types         {report.unknown:9,}")
        print(f"{report.records:,} records in {report.seconds:.2f} s: {report.events_per_second:,} per second")
    _end(problem, report.problems)
