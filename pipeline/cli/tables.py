"""A report for people."""

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.replay.report import Report

MOST_ALERTS = 20


def print_report(report: Report) -> None:
    console = Console(highlight=False)
    console.print(rendered(report))


def rendered(report: Report) -> RenderableType:
    """Records, orders, money, and what was said; then the verdict."""
    parts: list[RenderableType] = [
        _counts("records", {"read": report.records, **_records(report)}),
        _counts("orders", {**report.orders, **({"stuck": report.stuck} if report.stuck else {})}),
        _money(report),
        _counts("dead letters", report.dead_letters),
        _counts("emitted", report.emitted),
    ]
    if report.stock:
        stock = _table("stock", "on hand", "reserved", "shipped")
        for sku, level in report.stock.items():
            stock.add_row(sku, f"{level.on_hand:,}", f"{level.reserved:,}", f"{level.shipped:,}")
        parts.append(stock)
    if report.alerts:
        alerts = Table("fraud alert", "user", "window", "value", box=None, pad_edge=False)
        for alert in report.alerts[:MOST_ALERTS]:
            alerts.add_row(Text(alert.rule), Text(alert.user_id), alert.window_start, alert.value)
        parts.append(alerts)
    if report.unrated:
        parts.append(_counts("payments without a rate", report.unrated))
    parts.append(Text(f"{report.records:,} records in {report.seconds:.2f} s: {report.events_per_second:,} per second", style="bold"))
    parts.append(verdict(report))
    return Group(*(line for part in parts for line in (part, "")))


def _records(report: Report) -> dict[str, int]:
    came = {"applied": report.applied, "duplicates": report.duplicates, "ignored": report.ignored, "parked": report.parked}
    return {**came, "dead letters": sum(report.dead_letters.values())}


def verdict(report: Report) -> Text:
    """What is wrong, or that nothing is."""
    if report.problems:
        return Text("\n".join(report.problems), style="bold red")
    return Text("Every record is accounted for, every sum is right, every law holds.", style="green")


def _table(first: str, *others: str) -> Table:
    table = Table(first, box=None, pad_edge=False)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _counts(name: str, counts: dict[str, int]) -> Table:
    table = _table(name, "")
    for what, count in counts.items():
        table.add_row(what, f"{count:,}")
    if not counts:
        table.add_row("none", "")
    return table


def _money(report: Report) -> Table:
    table = _table("money", "authorised", "captured", "refunded", "unbalanced")
    for currency, sums in report.money.items():
        table.add_row(currency, sums.authorised, sums.captured, sums.refunded, sums.unbalanced)
    return table
