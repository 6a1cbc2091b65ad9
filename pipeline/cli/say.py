"""How commands speak: results on standard output, everything else on standard error, and an exit code."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from pipeline.cli.interrupts import ending
from pipeline.problem import Problem

DONE, WRONG, USAGE, INTERRUPTED = 0, 1, 2, 130

P = ParamSpec("P")
R = TypeVar("R")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]


def told(command: Callable[P, R]) -> Callable[P, R]:
    """What a person can put right ends in two lines and exit 2; an interrupt in exit 130. A variable that sets nothing is told first."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            from pipeline.settings import strangers

            for text in strangers():
                aside(f"orderflow: {text}")
            return command(*args, **kwargs)
        except Problem as problem:
            aside(f"orderflow: {problem.what}")
            aside(problem.remedy)
            raise typer.Exit(USAGE) from None
        except KeyboardInterrupt:
            ending()
            aside(
                "orderflow: interrupted. What was committed is whole; a --data-dir can be used again, with the same input from its start."
            )
            raise typer.Exit(INTERRUPTED) from None

    return run


@contextmanager
def heard() -> Iterator[None]:
    """What the machine refuses, such as more on standard output, ends in one line and exit 1; a pipe that nobody reads on, in none."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            aside(f"orderflow: {error.filename or 'standard output, or a folder of this run'}: {error.strerror or error}.")
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        sys.exit(WRONG)


def version() -> str:
    """Of the installed package; "0" where it is not installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of("orderflow")
    except PackageNotFoundError:
        return "0"


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
        for name in ("faust", "mode", "pipeline"):
            logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what a fenced writer leaves behind in aiokafka: `failed` has told it
