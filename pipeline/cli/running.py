"""Runs a replay for a command: settings, files, output folder, progress bar."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.cli.interrupts import run
from pipeline.cli.say import log_at
from pipeline.collector import rarely_collect
from pipeline.log.record import Record
from pipeline.problem import Problem
from pipeline.replay.feed import time_of
from pipeline.replay.lines import Merged, Source, opened
from pipeline.replay.out import Out
from pipeline.replay.report import Report
from pipeline.replay.run import BrokeOff, How, replay
from pipeline.settings import load


def run_replay(
    files: Sequence[str], *, speed: float | None = None, out: Path | None = None, quiet: bool = False, **options: object
) -> tuple[Report, Problem | None]:
    """The report, and what broke off on the way. Raises Problem where nothing could be started."""
    settings = load(**options)
    log_at(settings.log_level)
    if out is not None and settings.data_dir is not None and out.resolve().is_relative_to(settings.data_dir.resolve()):
        raise Problem(f"{out}: in {settings.data_dir}, which keeps the state; nothing was started.", "Name a folder elsewhere with --out.")
    with opened(files) as sources, writing(out) as hears:
        how = How(folder=settings.data_dir, speed=speed, hears=hears)
        if options.get("chunk_records") is not None:
            how = replace(how, batch=settings.chunk_records)
        with progress(sources, shown=not quiet and sys.stderr.isatty()) as watches:
            rarely_collect()
            lines = Merged(sources, time_of, settings.options().jump_ms)
            try:
                return run(replay(lines, settings, replace(how, watches=watches))), None
            except BrokeOff as broken:
                return broken.report, broken


@contextmanager
def writing(folder: Path | None) -> Iterator[tuple[Callable[[Record], None], ...]]:
    """What has to hear of every record that is emitted."""
    if folder is None:
        yield ()
        return
    out = Out(folder)
    try:
        yield (out.write,)
    finally:
        out.close()


@contextmanager
def progress(sources: Sequence[Source], *, shown: bool) -> Iterator[Callable[[object, int], None]]:
    """A bar on standard error: how much of the files is read, lines per second, time left."""
    if not shown:
        yield lambda _pipeline, _lines: None
        return
    sizes = [source.size for source in sources]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    columns = (TextColumn("{task.fields[lines]:,} lines"), BarColumn(), TextColumn("{task.fields[rate]:,.0f}/s"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, lines=0, rate=0.0)

        def watches(_pipeline: object, lines: int) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            bar.update(task, completed=sum(source.read for source in sources), lines=lines, rate=lines / elapsed if elapsed else 0.0)

        yield watches
