"""The demo: orders on the screen while they live, then the sums."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.cli.interrupts import run
from pipeline.cli.say import log_at
from pipeline.cli.tables import rendered
from pipeline.composition import bundled
from pipeline.embedded import Embedded
from pipeline.replay.chaos import Chaos, chaos
from pipeline.replay.feed import time_of
from pipeline.replay.lines import Merged, opened
from pipeline.replay.report import Report
from pipeline.replay.run import How, replay
from pipeline.settings import Settings, load
from schemas.money import text as money_text
from tables.orders import Order

SHOWN_SECONDS = 8
"""How long the samples take when somebody watches."""
MOST_ROWS = 16
COMPENSATIONS = ("CancelShipment", "RefundPayment", "ReleaseInventory")
_COLOURS = {"COMPLETED": "green", "CANCELLED": "red", "COMPENSATING": "yellow"}


def run_demo(*, saga: str | None, seed: int | None, quiet: bool) -> tuple[Report, Chaos | None]:
    settings = load(saga=saga, services="standin")
    log_at(settings.log_level)
    console = Console(highlight=False, quiet=quiet)
    lines = _samples(settings)
    with _live(console, lines) as how:
        if seed is None:
            report, compared = run(replay(lines, settings, how)), None
        else:
            logging.getLogger("orderflow.worker").setLevel(logging.CRITICAL)  # it will tell of each crash, and we ask for them
            report, compared = run(chaos(lines, settings, how, seed=seed))
    console.print(rendered(report))
    if compared is not None:
        console.print(_told(compared))
    return report, compared


def _samples(settings: Settings) -> list[bytes]:
    with opened([str(bundled("demo.jsonl"))]) as sources:
        return list(Merged(sources, time_of, settings.options().jump_ms))


@contextmanager
def _live(console: Console, lines: list[bytes]) -> Iterator[How]:
    """How to run it: slowly enough to be watched, or at once where nobody does."""
    if not console.is_terminal or console.quiet:
        yield How()
        return
    times = [at for line in lines if (at := time_of(line)) is not None]
    middle = sorted(times)[len(times) // 2]
    span_ms = sum(abs(at - middle) for at in times) / len(times) * 4  # of most of them: a wrong clock is among the samples
    with Live(console=console, refresh_per_second=10, transient=True) as live:

        def show(pipeline: Embedded, fed: int) -> None:
            live.update(picture(pipeline, fed, len(lines)))

        yield replace(How(), speed=max(span_ms / 1_000 / SHOWN_SECONDS, 1.0), batch=1, watches=show)


def picture(pipeline: Embedded, fed: int, total: int) -> Table:
    """The orders that changed last, and the counts."""
    counts = pipeline.counts()
    dead = sum(count for name, count in counts.items() if name.startswith("input.dead."))
    undone = sum(counts["emitted." + name] for name in COMPENSATIONS)
    title = f"{fed} of {total} records, {dead} dead letters, {undone} compensations"
    table = Table("order", "status", title=title, box=None, pad_edge=False, min_width=72)
    for name in ("authorised", "captured", "refunded"):
        table.add_column(name, justify="right")
    table.add_column("undone for")
    orders = sorted((order for _, order in pipeline.rows("orders") if order.created), key=_changed, reverse=True)
    for order in orders[:MOST_ROWS]:
        table.add_row(
            Text(order.id),
            Text(order.status.value, style=_COLOURS.get(order.status.value, "cyan")),
            f"{money_text(order.total_minor, order.currency)} {order.currency}",
            *(_amounts(sums) for sums in (order.captured, order.refunded)),
            Text(order.undone_for),
        )
    return table


def _changed(order: Order) -> tuple[int, str]:
    return max(order.since, order.undone_at or 0, order.ended_at or 0), order.id


def _amounts(sums: dict[str, int]) -> str:
    return " + ".join(money_text(amount, currency) for currency, amount in sums.items() if amount)


def _told(compared: Chaos) -> Text:
    done = f"Once more with seed {compared.seed}: {compared.crashes} crashes, {compared.repeated_lines} repeated lines."
    if compared.differences:
        return Text(f"{done}\n" + "\n".join(compared.differences), style="bold red")
    same = f"All {compared.orders_compared} orders and all {compared.events_compared} emitted events are the same, byte for byte."
    return Text(f"{done}\n{same}", style="green")
