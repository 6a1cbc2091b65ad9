"""The command line. A command imports what it runs when it runs, so that `--help` is quick."""

from pipeline.cli.app import app
from pipeline.cli.say import heard

__all__ = ["app", "main"]


def main() -> None:
    """The console script `orderflow`."""
    with heard():
        app()
