"""All commands, and what they have in common: exit codes, errors in one or two lines, logs on standard error."""

from typing import Annotated

import typer

from pipeline.cli import alerts, bench, demo, doctor, generate, order, replay, sales, schema, settings, topics, whatif, worker
from pipeline.cli.say import version

app = typer.Typer(
    name="orderflow",
    help="Order and payment events through one pipeline: decided, accounted for, exactly once.",
    epilog="Exit codes: 0 done, 1 the work found something wrong, 2 bad usage or configuration, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"orderflow {version()}")
        raise typer.Exit


@app.callback()
def orderflow(
    _version: Annotated[bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """All is said by the commands."""


app.command(epilog="Example: orderflow demo --chaos 7")(demo.demo)
app.command(epilog="Example: orderflow replay monday.jsonl.gz tuesday.jsonl.gz --out emitted --json")(replay.replay)
app.command(epilog="Example: ORDERFLOW_BROKER=kafka://localhost:9092 orderflow worker")(worker.worker)
app.command(epilog="Example: orderflow order order-789 --data-dir state")(order.order)
app.command(epilog="Example: orderflow alerts --data-dir state --rule velocity")(alerts.alerts)
app.command(epilog="Example: orderflow why 0190f5f0-0000-7000-8000-000000000127 --data-dir state")(alerts.why)
app.command(epilog="Example: orderflow sales --data-dir state --last 12")(sales.sales)
app.command(epilog="Example: orderflow whatif --rules new.toml monday.jsonl.gz --budget 100 --plot alerts.html")(whatif.whatif)
app.command(epilog="Example: orderflow generate --orders 1000 --seed 7 -o orders.jsonl.gz")(generate.generate)
app.command(epilog="Example: ORDERFLOW_BROKER=kafka://localhost:9092 orderflow doctor")(doctor.doctor)
app.command(epilog="Example: orderflow bench --orders 20000 --json")(bench.bench)
app.command(epilog="Example: ORDERFLOW_SAGA=choreographed orderflow settings")(settings.settings)
app.add_typer(schema.app, name="schema")
app.add_typer(topics.app, name="topics")
