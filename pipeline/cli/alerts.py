"""`orderflow alerts` and `orderflow why`: the fraud alerts there are, and what each of them saw."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.say import WRONG, AsJson, aside, document, log_at, told
from pipeline.problem import Problem

WIDTH = 180
"""Ids are there to be copied: no column is cut."""
DataDir = Annotated[Path | None, typer.Option(help="Folder with the state of a replay; without one, the broker is asked.")]


@told
def alerts(
    rule: Annotated[str | None, typer.Option(help="Of this rule only.")] = None,
    user: Annotated[str | None, typer.Option(help="Of this user only.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the fraud alerts, oldest first: from the state of a replay (the newest 100 of each user), or from the broker's topic."""
    found = [
        alert
        for alert in sorted(_read(data_dir), key=lambda alert: (alert["at"], alert["event_id"]))
        if rule in {None, alert["rule"]} and user in {None, alert["user_id"]}
    ]
    if as_json:
        document(found)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table("time", "rule", "user", "order", "value", "limit", "action", "alert", box=None, pad_edge=False)
    for alert in found:
        who = (alert["at"], alert["rule"], alert["user_id"], alert["order_id"])
        shown.add_row(
            *(Text(text) for text in (*who, _worth(alert, "value"), _worth(alert, "threshold"), alert["action"], alert["event_id"]))
        )
    Console(highlight=False, width=WIDTH, soft_wrap=True).print(shown if found else "no alerts")


@told
def why(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="The id of an alert; `orderflow alerts` has it.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what an alert saw: the rule and its version, the window, the value, the threshold, the events. Exit 1 if it is unknown."""
    alert = next((alert for alert in _read(data_dir) if alert["event_id"] == event_id), None)
    if alert is None:
        aside(f"orderflow: {event_id}: no such alert.")
        raise typer.Exit(WRONG)
    if as_json:
        document(alert)
        return
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    value, limit = _worth(alert, "value"), _worth(alert, "threshold")
    tree = Tree(Text(f"FraudAlertRaised {alert['event_id']} at {alert['at']}"))
    tree.add(Text(f"rule {alert['rule']}, version {alert['rule_version']}: {alert['action']}"))
    tree.add(Text(f"user {alert['user_id']}, order {alert['order_id'] or 'none'}"))
    tree.add(Text(f"from {alert['window_start']}: {value}" + (f", and the limit is {limit}" if limit else "")))
    events = tree.add("because of")
    for each in alert["event_ids"]:
        events.add(Text(each))
    Console(highlight=False, width=WIDTH, soft_wrap=True).print(tree)


def _worth(alert: dict[str, Any], name: str) -> str:
    return f"{alert[name]} {alert['currency']}".strip() if alert[name] else ""


def _read(data_dir: Path | None) -> list[dict[str, Any]]:
    import asyncio

    from pipeline.alerts import kept_alerts, told_alerts
    from pipeline.settings import load

    settings = load(data_dir=data_dir)
    log_at(settings.log_level)
    if settings.data_dir is not None:
        return asyncio.run(kept_alerts(settings.data_dir, settings))
    if settings.broker.startswith("memory"):
        raise Problem("Neither a folder with state nor a broker is named.", "Name one: --data-dir or ORDERFLOW_BROKER.")
    found = asyncio.run(told_alerts(settings))
    if found.unreadable == 1:
        aside("orderflow: 1 record of fraud.alerts cannot be read: it is left out.")
    elif found.unreadable:
        aside(f"orderflow: {found.unreadable} records of fraud.alerts cannot be read: they are left out.")
    return found.alerts
