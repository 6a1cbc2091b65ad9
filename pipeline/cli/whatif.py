"""`orderflow whatif`: what other fraud rules would have done to a recorded history."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.say import WRONG, AsJson, aside, document, log_at, told
from pipeline.problem import Problem

EXAMPLES = 5
"""Of each kind that are shown to people; --json has all."""


@told
def whatif(
    rules: Annotated[Path, typer.Option(help="The new rules (TOML).")],
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="The history: JSON Lines, plain, gzip or zstd.")] = None,
    base: Annotated[Path | None, typer.Option(help="The rules to compare with; default: those of ORDERFLOW_RULES, or as shipped.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Alerts from here on (ISO 8601). Without files: the history is read from the broker.")
    ] = None,
    budget: Annotated[int | None, typer.Option(min=0, help="Alerts that may come to those there are; more is exit 1.")] = None,
    budget_orders: Annotated[int | None, typer.Option(min=0, help="Orders that may end otherwise; more is exit 1.")] = None,
    most_percent: Annotated[int, typer.Option(min=1, max=100, help="Alerts of one rule per hundred payments; more is exit 1.")] = 20,
    plot: Annotated[Path | None, typer.Option(help="Write a page (HTML) with alerts over time.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay history with other fraud rules, and show what would differ: alerts, orders held or cancelled, money.

    Both runs are done here, side by side; nothing live is touched. Exit 1 when a budget is exceeded, or a rule matches too much.
    """
    from pipeline.settings import load
    from pipeline.whatif import compared, history
    from pipeline.whatif import plot as drawn
    from schemas.codec import parse_instant
    from schemas.message import Invalid

    settings = load()
    log_at(settings.log_level)
    try:
        start = None if since is None else parse_instant(since)
    except Invalid as error:
        raise Problem(f"--since {since}: {error}.", "Write it as 2025-10-29T10:00:00Z.") from None
    base = base or settings.rules
    if files:
        found = compared(files, settings, base, rules, start)
    elif start is not None:
        with history(settings, base, rules, start) as recorded:
            found = compared([str(recorded)], settings, base, rules, start)
    else:
        raise Problem("There is no history to replay.", "Name files, or --since TIME to read it from ORDERFLOW_BROKER.")
    if plot is not None:
        try:
            plot.write_text(drawn(found), encoding="utf-8")
        except OSError as error:
            raise Problem(f"{plot}: {error.strerror}.", "Name a file that can be written with --plot.") from None
    document(found) if as_json else _print(found)
    if why := found.too_much(budget=budget, budget_orders=budget_orders, most_percent=most_percent):
        for text in why:
            aside(f"orderflow: {text}")
        raise typer.Exit(WRONG)


def _print(found: Any) -> None:  # noqa: ANN401  # a Difference; its module is not loaded for --help
    from rich.console import Console

    counts = ("base", "new", "gained", "lost")
    orders = {"held": found.held, "cancelled": found.cancelled}
    tables = [
        _table(first, counts, [(name, *(f"{getattr(change, count):,}" for count in counts)) for name, change in changes.items()])
        for first, changes in (("rule", found.rules), ("customers", found.segments), ("orders", orders))
    ]
    money = [(c, s.captured, s.refunds_base, s.refunds_new) for c, s in found.money.items()]
    tables.append(_table("money", ("captured", "refunds, base", "new"), money))
    for name, alerts in (("gained", found.gained), ("lost", found.lost)):
        rows = [(a.rule, a.user_id, a.window_start, f"{a.value} {a.currency}".strip(), a.order_id) for a in alerts[:EXAMPLES]]
        tables.append(_table(f"{name}, for example", ("user", "window", "value", "order"), rows))
    ends = [(m.order_id, *(f"{each.status} {each.undone_for}".strip() for each in (m.base, m.new))) for m in found.moved[:EXAMPLES]]
    tables.append(_table("ends otherwise, for example", ("base", "new"), ends))
    console = Console(highlight=False)
    for table in tables:
        if table.row_count:
            console.print(table, "", sep="\n")
    gained, lost, moved = len(found.gained), len(found.lost), len(found.moved)
    console.print(f"{gained:,} alerts gained, {lost:,} lost, {moved:,} orders end otherwise; {found.payments:,} payments")


def _table(first: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> Any:  # noqa: ANN401  # as above
    from rich.table import Table
    from rich.text import Text

    made = Table(first, box=None, pad_edge=False)
    for name in names:
        made.add_column(name, justify="right")
    for row in rows:
        made.add_row(*map(Text, row))
    return made
