"""`python -m bench`, or `make bench`: everything that is measured, a section as a command."""

import asyncio
import json
import logging
import os
import platform
import signal
from pathlib import Path
from time import monotonic
from typing import Annotated, TypeAlias, get_args

import typer
from rich.console import Console
from rich.table import Table

from bench import fraud, growth, peers, recovery, saga, steady
from bench.measure import Tables
from bench.saga import Guarantee
from pipeline.cli.say import DONE, INTERRUPTED, AsJson, aside, heard, told
from pipeline.replay.bench import run_bench
from pipeline.settings import Settings

BEGAN = monotonic()
KEYS = [100_000, 1_000_000, 3_000_000]
AGENTS = [1, 2, 4, 8]
WIDTH = 140

Orders: TypeAlias = Annotated[int, typer.Option(min=1, help="Generated orders; each is about 5.5 events.")]
Repeat: TypeAlias = Annotated[int, typer.Option(min=1, help="Each so many times.")]

app = typer.Typer(
    name="python -m bench",
    epilog="Examples: python -m bench saga --orders 5000; make bench ARGS='growth --keys 100000 --json'",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def say(text: str) -> None:
    aside(f"{monotonic() - BEGAN:7.1f} s  {text}")


def show(tables: Tables, *, as_json: bool) -> None:
    """Tables to read, or one line of JSON."""
    if as_json:
        typer.echo(json.dumps(tables))
        return
    console = Console(highlight=False, width=WIDTH)
    for name, rows in tables.items():
        if name == steady.SAMPLES:  # they are in the picture
            continue
        table = Table(title=name, title_justify="left", box=None, pad_edge=False)
        for column, value in rows[0].items():
            table.add_column(column, justify="left" if isinstance(value, str) else "right")
        for row in rows:
            table.add_row(*("-" if value is None else value if isinstance(value, str) else f"{value:,}" for value in row.values()))
        console.print(table)
        console.print()


@app.callback(invoke_without_command=True)
def bench(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Measure; without a command, everything, which takes more than an hour. Progress is told on standard error."""
    if context.invoked_subcommand is None:
        run_all(as_json=as_json)


@app.command("all", epilog="Example: python -m bench all --json > figures.jsonl")
@told
def run_all(*, as_json: AsJson = False) -> None:
    """Every section with its defaults, one after the other; with --json a line for each."""
    code = DONE
    for section in (run_stages, run_saga, run_recovery, run_growth, run_fraud, run_peers, run_steady):
        try:
            section(as_json=as_json)
        except typer.Exit as ended:  # why was told; the others are measured all the same
            if ended.exit_code == INTERRUPTED:
                raise
            code = max(code, ended.exit_code)
    raise typer.Exit(code)


@app.command("stages", epilog="Example: python -m bench stages --orders 5000")
@told
def run_stages(*, orders: Orders = 20_000, as_json: AsJson = False) -> None:
    """What each stage of an event's path costs, in this process; needs no broker."""
    say(f"stages: {orders:,} orders in this process")
    load, *_ = os.getloadavg()
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "load": round(load, 1), "Python": platform.python_version()}
    found = run_bench(orders, 0, Settings(services="recorded"))
    whole = {"events": found.records, "events/s": found.events_per_second, "peak RSS MiB": found.peak_memory_mib}
    costs = [{"stage": stage, "us per event": cost} for stage, cost in found.stages_us.items()]
    show({"stages": costs, "in this process": [whole], "machine": [machine]}, as_json=as_json)


@app.command("saga", epilog="Example: python -m bench saga --orders 2000 --json")
@told
def run_saga(
    *,
    orders: Orders = 20_000,
    guarantee: Annotated[Guarantee | None, typer.Option(help="Both, unless one is named.")] = None,
    repeat: Repeat = 1,
    as_json: AsJson = False,
) -> None:
    """The order saga on Kafka: one worker and two, exactly once and at least once, from the first commit until there is no lag."""
    say("saga")
    show(asyncio.run(saga.run(orders, (guarantee,) if guarantee else get_args(Guarantee), repeat, say)), as_json=as_json)


@app.command("recovery", epilog="Example: python -m bench recovery --rows 20000 --session 3")
@told
def run_recovery(
    *,
    rows: Annotated[int, typer.Option(min=1, help="Orders in the table that is recovered.")] = 1_000_000,
    session: Annotated[int, typer.Option(min=1, help="Session time-out of the workers that hand over, in seconds.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Seconds until work goes on: after a start with the folder and without it, after SIGTERM and SIGKILL of one of two workers."""
    say("recovery")
    show(asyncio.run(recovery.run(rows, session, say)), as_json=as_json)


@app.command("growth", epilog="Example: python -m bench growth --keys 10000 --keys 100000 --events 20000")
@told
def run_growth(
    *,
    keys: Annotated[list[int], typer.Option(min=1, help="Orders that are in the table before; several times for several sizes.")] = KEYS,
    agents: Annotated[list[int], typer.Option(min=1, help="Agents that hear the same topic; several times as well.")] = AGENTS,
    events: Annotated[int, typer.Option(min=1, help="Payments that are measured.")] = 200_000,
    as_json: AsJson = False,
) -> None:
    """What an event costs where there are more rows, more agents that hear it, or two processes."""
    say("growth")
    show(asyncio.run(growth.run(keys, agents, events, say)), as_json=as_json)


@app.command("fraud", epilog="Example: python -m bench fraud --events 20000")
@told
def run_fraud(
    *,
    events: Annotated[int, typer.Option(min=1, help="Payments that are measured.")] = 200_000,
    repeat: Repeat = 1,
    as_json: AsJson = False,
) -> None:
    """What a payment costs with all the fraud rules that are shipped, and with one rule."""
    say("fraud")
    show(asyncio.run(fraud.run(events, repeat, say)), as_json=as_json)


@app.command("peers", epilog="Example: PEERS_KIT=../peers python -m bench peers --events 200000 --seconds 20")
@told
def run_peers(
    *,
    events: Annotated[int, typer.Option(min=1, help="Payments, for all but Faust.")] = 1_000_000,
    faust_events: Annotated[int, typer.Option(min=1, help="Payments for Faust.")] = 100_000,
    seconds: Annotated[int, typer.Option(min=1, help="Of a measured latency.")] = 60,
    repeat: Repeat = 1,
    as_json: AsJson = False,
) -> None:
    """Other engines beside ours, where PEERS_KIT names the folder of the peer kit; else the saga alone."""
    kit = os.environ.get("PEERS_KIT")
    if kit is None:
        say("peers: PEERS_KIT names no kit, so no other engine is measured; the saga alone:")
        run_saga(as_json=as_json)
        return
    say("peers")
    show(asyncio.run(peers.run(Path(kit).absolute(), peers.Size(events, faust_events, seconds, repeat), say)), as_json=as_json)


@app.command("steady", epilog="Example: python -m bench steady --rate 2000 --minutes 0.5")
@told
def run_steady(
    *,
    rate: Annotated[int, typer.Option(min=1, help="Payments a second.")] = 5_000,
    minutes: Annotated[float, typer.Option(min=0.05)] = 30,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two samples.")] = 5,
    picture: Annotated[Path, typer.Option(help="SVG to write.")] = Path("build/steady.svg"),
    as_json: AsJson = False,
) -> None:
    """Memory, lag and rate while payments come steadily; with --json every sample."""
    say("steady")
    show(asyncio.run(steady.run(rate, minutes, every, picture, say)), as_json=as_json)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started ends with it, as at Ctrl-C
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that a new topic has no leader yet is no news here
    with heard():
        app()
