"""Several workers on one machine, as processes of one command."""

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from pipeline.settings import Settings, environment_with

LOOK_SECONDS = 0.2


def run_processes(number: int, settings: Settings, folder: Path) -> int:
    """Run so many workers until one ends, or we are to stop; then stop the others. Returns the exit code: the worst of theirs."""
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "pipeline", "worker", "--leash"],
                    env=environment_with(**_own(settings, folder, i)),
                    stdin=subprocess.PIPE,  # it ends when we do, however that is: and then they end, too
                )
            )
            for i in range(number)
        ]
        while not stopping and all(child.poll() is None for child in children):
            time.sleep(LOOK_SECONDS)
        for child in children:
            if child.poll() is None:
                child.terminate()
        codes = [child.wait() for child in children]
    return max(0 if code == -signal.SIGTERM else 1 if code < 0 else code for code in codes)  # SIGTERM: it had no time yet to learn of it


def _own(settings: Settings, folder: Path, i: int) -> dict[str, object]:
    """What is each process's own: its state, its port, and its name if it has one."""
    own: dict[str, object] = {"data_dir": folder / str(i), "http_port": settings.http_port and settings.http_port + i}
    return own | ({"instance": f"{settings.instance}-{i}"} if settings.instance else {})
