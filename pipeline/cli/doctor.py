"""`orderflow doctor`: looks for problems, and says what to do about each."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.say import WRONG, AsJson, aside, document, log_at, told


@told
def doctor(
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the state.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at the settings, this installation, the data folder, and where one is set, the broker, its topics and the group of workers.

    Changes nothing. Exit 1 when something is wrong.
    """
    import asyncio

    from pipeline.doctor import examine
    from pipeline.settings import load

    settings = load(data_dir=data_dir)
    log_at("error" if settings.log_level != "debug" else "debug")  # what the clients complain of comes as a finding
    found = asyncio.run(examine(settings, settings.data_dir or Path("orderflow-state")))
    if as_json:
        document(found)
    else:
        from rich.console import Console
        from rich.table import Table

        console = Console(highlight=False, soft_wrap=True)
        for name, fact in found.facts.items():
            console.print(f"{name.replace('_', ' ')}: {fact}", markup=False)
        table = Table("about", "problem", "remedy", box=None, pad_edge=False)
        for finding in found.findings:
            table.add_row(finding.about, finding.what, finding.remedy)
        if found.findings:
            console.print(table)
        else:
            console.print("Nothing is wrong.")
    if found.findings:
        if as_json:
            aside(f"orderflow: {len(found.findings)} problems.")
        raise typer.Exit(WRONG)
