"""`orderflow sales`: orders, money and failures per five minutes, and the products that were wanted most per hour."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.say import AsJson, document, log_at, told
from pipeline.problem import Problem

WIDTH = 180


@told
def sales(
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the state of a replay; without one, the broker is asked.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Show so many windows, the newest.")] = 24,
    top: Annotated[int, typer.Option(min=1, max=200, help="Show so many products of each hour.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show what was sold, by event time: orders, money and failures per 5 minutes, and top products per hour. --json has all windows."""
    found = _read(data_dir, top)
    if as_json:
        document(found)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    windows = Table(
        "five minutes from", "orders", "paid", "declined", "completed", "cancelled", "failed", "revenue", box=None, pad_edge=False
    )
    for each in found["windows"][-last:]:
        rate = each["failure_rate"]
        counts = [str(each[name]) for name in ("orders", "paid", "declined", "completed", "cancelled")]
        revenue = ", ".join(f"{amount} {currency}" for currency, amount in each["revenue"].items())
        windows.add_row(each["start"], *counts, "" if rate is None else f"{rate:.1%}", revenue)
    products = Table("hour from", "most wanted", box=None, pad_edge=False)
    for each in found["products"][-last:]:
        products.add_row(each["start"], Text(", ".join(f"{product['sku']} {product['pieces']}" for product in each["top"])))
    console = Console(highlight=False, width=WIDTH, soft_wrap=True)
    if not found["windows"]:
        console.print("nothing was sold")
        return
    console.print(windows)
    console.print()
    console.print(products)


def _read(data_dir: Path | None, most: int) -> dict[str, Any]:
    import asyncio

    from pipeline.sales import kept_sales, shown, told_sales
    from pipeline.settings import load

    settings = load(data_dir=data_dir)
    log_at(settings.log_level)
    if settings.data_dir is not None:
        return shown(asyncio.run(kept_sales(settings.data_dir, settings)), most=most)
    if settings.broker.startswith("memory"):
        raise Problem("Neither a folder with state nor a broker is named.", "Name one: --data-dir or ORDERFLOW_BROKER.")
    return shown(asyncio.run(told_sales(settings)), most=most)
