"""`orderflow worker`: the long-running worker on Kafka."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.say import INTERRUPTED, WRONG, aside, log_at, told


@told
def worker(
    processes: Annotated[int, typer.Option(min=1, max=64, help="Worker processes, each with a folder and a port of its own.")] = 1,
    leash: Annotated[bool, typer.Option(hidden=True, help="End when standard input does.")] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the state; what is not in it comes from the changelog.")] = None,
) -> None:
    """Run the pipeline on Kafka until SIGTERM: then what is being decided is committed, and the group is left.

    Ready (/readyz) only when all tables are recovered. Exit 1 when it could not go on: start it again, it goes on where it was.
    """
    from pipeline.settings import load

    settings = load(data_dir=data_dir)
    log_at(settings.log_level)
    folder = settings.data_dir or Path("orderflow-state")
    if processes > 1:
        from pipeline.worker.processes import run_processes

        raise typer.Exit(run_processes(processes, settings, folder))
    import uvloop

    from pipeline.collector import rarely_collect
    from pipeline.problem import Problem
    from pipeline.worker.serve import serve

    rarely_collect()
    try:
        interrupted = uvloop.run(serve(settings, folder=folder, leash=leash))
    except Problem:
        raise
    except Exception as error:
        if settings.log_level == "debug":
            raise
        aside(f"orderflow: the worker could not go on: {type(error).__name__}: {error}")
        aside("Start it again: it goes on where it was. If it ends here again, orderflow doctor looks for the reason.")
        raise typer.Exit(WRONG) from None
    if interrupted:
        raise typer.Exit(INTERRUPTED)
