"""`orderflow bench`: how fast, how much memory, and where the time goes."""

from typing import Annotated

import typer

from pipeline.cli.say import AsJson, document, log_at, told


@told
def bench(
    orders: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many generated orders; each is about 5.5 records.")] = 5_000,
    seed: Annotated[int, typer.Option(help="Of the generated orders.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Replay generated orders in process: events per second, peak memory, and the cost of each stage per record."""
    from pipeline.replay.bench import run_bench
    from pipeline.settings import load

    settings = load(services="recorded")
    log_at(settings.log_level)
    found = run_bench(orders, seed, settings)
    if as_json:
        document(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", box=None, pad_edge=False)
    table.add_column("us per record", justify="right")
    for stage, cost in found.stages_us.items():
        table.add_row(stage, f"{cost:.1f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{found.records:,} records in {found.seconds:.2f} s: {found.events_per_second:,} per second, {found.peak_memory_mib} MiB at most"
    )
