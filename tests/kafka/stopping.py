"""`orderflow worker`, which stops still (SIGSTOP) at a step of a chunk: STOP_AT names the step, STOP_AFTER how often it passes before.

It goes on when somebody sends SIGCONT, and does not stop again.
"""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

from pipeline.cli.say import log_at
from pipeline.engine.task import Task
from pipeline.settings import load
from pipeline.worker.serve import serve


def main() -> None:
    settings = load()
    log_at(settings.log_level)
    passed: Counter[str] = Counter()

    def steps(step: str, _task: Task) -> None:
        passed[step] += 1
        if step == os.environ["STOP_AT"] and passed[step] == int(os.environ["STOP_AFTER"]):
            os.kill(os.getpid(), signal.SIGSTOP)

    asyncio.run(serve(settings, folder=settings.data_dir or Path(), steps=steps))


if __name__ == "__main__":
    main()
