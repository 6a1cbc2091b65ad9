"""How commands speak: results on standard output, everything else on standard error, and an exit code."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from pipeline.problem import Problem

DONE, WRONG, USAGE, INTERRUPTED = 0, 1, 2, 130

P = ParamSpec("P")
R = TypeVar("R")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]


def told(command: Callable[P, R]) -> Callable[P, R]:
    """What a person can put right ends in two lines and exit 2; an interrupt in exit 130."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except Problem as problem:
            aside(f"orderflow: {problem.what}")
            aside(problem.remedy)
            raise typer.Exit(USAGE) from None
        except KeyboardInterrupt:
            aside(
                "orderflow: interrupted. What was committed is whole; a --data-dir can be used again, with the same input from its start."
            )
            raise typer.Exit(INTERRUPTED) from None

    return run


def aside(text: str) -> None:
    """One line on standard error. Control characters, which a file name may have, are shown and not obeyed."""
    print("".join(c if c.isprintable() else repr(c)[1:-1] for c in text), file=sys.stderr, flush=True)


def document(value: Any) -> None:  # noqa: ANN401  # anything that msgspec knows
    """One JSON document on standard output."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())


def log_at(level: str) -> None:
    """Logs on standard error. Faust, and what we hang into it, is as talkative as only debugging wants it."""
    import logging

    logging.basicConfig(stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True)
    if level != "debug":
        for name in ("faust", "mode", "asyncio", "pipeline"):
            logging.getLogger(name).setLevel(logging.WARNING)
