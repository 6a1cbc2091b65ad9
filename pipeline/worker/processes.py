"""Several workers on one machine, as processes of one command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LOOK_SECONDS = 0.2


def run_processes(number: int, folder: Path, port: int) -> int:
    """Run so many workers until one ends, or we are to stop; then stop the others. Returns the exit code: the worst of theirs."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "pipeline", "worker"],
            env=os.environ
            | {"ORDERFLOW_DATA_DIR": str(folder / str(i)), "ORDERFLOW_HTTP_PORT": str(port + i if port else 0)}
            | ({"ORDERFLOW_INSTANCE": f"{os.environ['ORDERFLOW_INSTANCE']}-{i}"} if os.environ.get("ORDERFLOW_INSTANCE") else {}),
        )
        for i in range(number)
    ]
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    while not stopping and all(child.poll() is None for child in children):
        time.sleep(LOOK_SECONDS)
    for child in children:
        if child.poll() is None:
            child.terminate()
    return max(abs(child.wait()) for child in children)
