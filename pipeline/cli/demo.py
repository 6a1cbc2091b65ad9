"""`orderflow demo`: the bundled samples through the whole pipeline, to watch."""

from typing import Annotated, Literal

import typer

from pipeline.cli.say import WRONG, AsJson, aside, document, told


@told
def demo(
    chaos: Annotated[
        int | None, typer.Option(metavar="SEED", help="Then again, with crashes and repeated lines: nothing may differ.")
    ] = None,
    saga: Annotated[Literal["orchestrated", "choreographed"] | None, typer.Option(help="Style of the saga.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay the bundled samples with the built-in services, in a temporary folder, and check the money. Exit 1 where anything is wrong."""
    from pipeline.cli.showing import run_demo

    report, compared = run_demo(saga=saga, seed=chaos, quiet=as_json)
    wrong = [*report.problems, *(compared.differences if compared else ())]
    if as_json:
        document({"report": report, "chaos": compared})
    for text in wrong:
        aside(f"orderflow: {text}")
    if wrong:
        raise typer.Exit(WRONG)
