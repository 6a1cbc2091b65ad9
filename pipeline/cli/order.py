"""`orderflow order ID`: where an order stands, its money, its steps."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.say import WRONG, AsJson, aside, document, log_at, told
from pipeline.problem import Problem


@told
def order(
    order_id: Annotated[str, typer.Argument(metavar="ID", help="The order's id.")],
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the state; `replay --data-dir` keeps it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show an order as the state of a replay has it. Exit 1 when it is not known there."""
    from pipeline.settings import load

    settings = load(data_dir=data_dir)
    log_at(settings.log_level)
    if settings.data_dir is None:
        raise Problem("No folder with state is named.", "Name it with --data-dir or ORDERFLOW_DATA_DIR; `replay --data-dir` keeps it.")
    found = _read(order_id, settings.data_dir)
    if not found.created:
        aside(f"orderflow: {order_id}: no such order in {settings.data_dir}.")
        raise typer.Exit(WRONG)
    said = _said(found)
    document(said) if as_json else _print(said)


def _read(order_id: str, folder: Path) -> Any:  # noqa: ANN401  # an Order; its module is not loaded for --help
    import asyncio

    from pipeline.composition import embedded, kept
    from pipeline.settings import load

    async def read() -> Any:  # noqa: ANN401  # as above
        async with embedded(kept(folder, load()), folder=folder) as pipeline:
            return pipeline.row("orders", order_id)

    return asyncio.run(read())


def _said(order: Any) -> dict[str, Any]:  # noqa: ANN401  # as above
    from pipeline.replay.report import steps
    from schemas.money import text
    from tables.orders import broken_laws

    currencies = sorted({order.currency, *order.captured, *order.refunded})
    authorised = {order.currency: order.total_minor}
    sums = {"authorised": authorised, "captured": order.captured, "refunded": order.refunded, "kept": order.kept}
    return {
        "order_id": order.id,
        "status": order.status.value,
        "customer_id": order.customer_id,
        "items": [{"sku": line.sku, "quantity": line.quantity} for line in order.items],
        "money": {c: {name: text(amounts.get(c, 0), c) for name, amounts in sums.items()} for c in currencies},
        "payments": [
            {
                "payment_id": payment.id,
                "currency": payment.currency,
                "captured": text(payment.captured_minor, payment.currency),
                "refunded": text(payment.refunded_minor, payment.currency),
            }
            for payment in order.payments
        ],
        "steps": steps(order),
        "undone_for": order.undone_for,
        "held": order.held,
        "stuck": order.stuck,
        "flagged": order.flagged,
        "broken_laws": broken_laws(order),
    }


def _print(said: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    flags = [name for name in ("held", "stuck", "flagged") if said[name]]
    console.print(f"{said['order_id']}  {said['status']}  customer {said['customer_id']}  {' '.join(flags)}".rstrip(), markup=False)
    if said["undone_for"]:
        console.print(f"undone for {said['undone_for']}", markup=False)
    console.print("items: " + ", ".join(f"{line['quantity']} x {line['sku']}" for line in said["items"]), markup=False)
    money = Table("currency", *("authorised", "captured", "refunded", "kept"), box=None, pad_edge=False)
    for currency, sums in said["money"].items():
        money.add_row(currency, *sums.values())
    times = Table("step", "time", box=None, pad_edge=False)
    for step, at in sorted(said["steps"].items(), key=lambda pair: pair[1]):
        times.add_row(step, at)
    console.print(money, times, sep="\n")
    for law in said["broken_laws"]:
        console.print(f"broken law: {law}", markup=False)
