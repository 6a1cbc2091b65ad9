"""The command line. A command imports what it runs when it runs, so that `--help` is quick."""

import signal
import sys

try:
    from pipeline.cli.app import app
    from pipeline.cli.interrupts import hear_once
    from pipeline.cli.say import INTERRUPTED, heard
except KeyboardInterrupt:  # loading takes a moment, and nothing is begun yet
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("orderflow: interrupted.", file=sys.stderr)
    sys.exit(130)

__all__ = ["app", "main"]


def main() -> None:
    """The console script `orderflow`."""
    try:
        hear_once()
        with heard():
            app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
