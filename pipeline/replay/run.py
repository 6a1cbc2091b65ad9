"""One replay from the first line to the report."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.clock import Clock, MonotonicClock
from pipeline.composition import embedded, levels
from pipeline.embedded import Embedded
from pipeline.log.record import Record
from pipeline.problem import Problem
from pipeline.replay.feed import Pace, feed
from pipeline.replay.report import Alerts, Books, Report, make_report, stock_levels
from pipeline.settings import Settings
from pipeline.worker.app import Steps, no_steps

BATCH = 8_000
"""Lines that are fed together."""


@dataclass(frozen=True)
class How:
    """How a replay is run; none of it changes what comes out."""

    folder: Path | None = None
    """Keeps the state; without one it is gone after the run."""
    batch: int = BATCH
    speed: float | None = None
    """Seconds of event time per second; None for as fast as it goes."""
    clock: Clock = field(default_factory=MonotonicClock)
    steps: Steps = no_steps
    hears: tuple[Callable[[Record], None], ...] = ()
    """Each is told what is emitted."""
    watches: Callable[[Embedded, int], None] = lambda _pipeline, _lines: None
    """Is told after each batch how many lines were fed."""
    ends: Callable[[Embedded], None] = lambda _pipeline: None
    """Is called when nobody has anything left to say."""


async def replay(lines: Iterable[bytes], settings: Settings, how: How) -> Report:
    """Raises Problem where the input breaks off; what came before is then in the state, and its report with the Problem (`BrokeOff`)."""
    pipeline = embedded(settings, folder=how.folder, steps=how.steps)
    alerts = Alerts()
    pipeline.emitted += [alerts.hear, *how.hears]
    problem: Problem | None = None
    async with pipeline:
        await pipeline.finish()
        before = pipeline.counts()
        began = how.clock.now()
        fed = 0

        def progress(total: int) -> None:
            nonlocal fed
            fed = total
            how.watches(pipeline, total)

        pace = None if how.speed is None else Pace(how.speed, how.clock)
        try:
            await feed(pipeline, lines, batch=how.batch, pace=pace, progress=progress)
        except Problem as broken:
            problem = broken
        await pipeline.settle()
        seconds = how.clock.now() - began
        how.ends(pipeline)
        books = Books()
        for key, order in pipeline.rows("orders"):
            books.add(key, order)
        stock = stock_levels(levels(), pipeline.rows("stock"), books) if settings.services == "standin" else {}
        report = make_report(
            records=fed,
            counts=pipeline.counts(),
            before=before,
            books=books,
            alerts=alerts.raised,
            stock=stock,
            sums=pipeline.sums(),
            seconds=seconds,
        )
    if problem is not None:
        raise BrokeOff(problem, report)
    return report


class BrokeOff(Problem):
    """The input ended before its end."""

    def __init__(self, problem: Problem, report: Report) -> None:
        super().__init__(problem.what, problem.remedy)
        self.report = report
