"""Ctrl-C, once or again and again: one line, exit 130, and nobody is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli.interrupts import PATIENCE_SECONDS
from pipeline.replay.generate import generate
from tests.replay.making import ROOT, happy, write

SECONDS = 30
LOOK_SECONDS = 0.01


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """Some seconds of work."""
    return write(tmp_path / "orders.jsonl", generate(8_000, 3))


def started(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """In a group of its own, as a shell starts it; its temporary folders are in `folder`."""
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def until(process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(LOOK_SECONDS)


def children(process: subprocess.Popen[str]) -> list[str]:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def alive(child: str) -> bool:
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def interrupted(process: subprocess.Popen[str]) -> None:
    """It ends soon, and says so in one line."""
    said = process.communicate(timeout=SECONDS)
    assert (process.returncode, said[1].count("\n")) == (130, 1), said
    assert said[1].startswith("orderflow: interrupted.")


@pytest.mark.parametrize("whole", [True, False], ids=["group", "parent"])
@pytest.mark.parametrize("times", [1, 3])
def test_both_runs_of_a_whatif_end_with_it(lines: Path, tmp_path: Path, times: int, *, whole: bool) -> None:
    """While they start, which is when they would complain; nothing of theirs is left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    process = started(folder, "whatif", "--rules", ROOT / "agents" / "fraud" / "default.toml", lines)
    until(process, lambda: len(children(process)) == 3)  # with the one that multiprocessing has for itself
    all_of_them = children(process)
    for _ in range(times):
        (os.killpg if whole else os.kill)(process.pid, signal.SIGINT)
        time.sleep(LOOK_SECONDS)
    interrupted(process)
    deadline = time.monotonic() + SECONDS
    while any(alive(child) for child in all_of_them):
        assert time.monotonic() < deadline
        time.sleep(LOOK_SECONDS)
    assert list(folder.iterdir()) == []


def test_a_replay_that_is_ending_hears_no_second_interrupt(lines: Path, tmp_path: Path) -> None:
    """What is being decided is committed, and nobody's agent complains; the folder can be used again."""
    process = started(tmp_path, "replay", lines, "--data-dir", tmp_path / "state", "--out", tmp_path / "out")
    until(process, (tmp_path / "out" / "order.commands.jsonl").exists)
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        time.sleep(LOOK_SECONDS)
    interrupted(process)
    story = write(tmp_path / "story.jsonl", happy("o-1"))
    again = started(tmp_path, "replay", story, "--data-dir", tmp_path / "state")
    assert again.communicate(timeout=SECONDS)[1] == ""


def test_a_replay_that_waits_for_its_input_can_be_interrupted(tmp_path: Path) -> None:
    """It does not come to its end by itself: the second interrupt, a while after the first, is an order."""
    process = started(tmp_path, "replay", "-", "--data-dir", tmp_path / "state")
    until(process, (tmp_path / "state" / "state" / "CURRENT").exists)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(PATIENCE_SECONDS + 0.2)
    process.send_signal(signal.SIGINT)
    process.wait(SECONDS)
    interrupted(process)


LOADING = """
import signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever is started in the background has inherited that it is ignored

class Loading:
    def find_spec(self, name, *_):
        if name == "pipeline.cli.app":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Loading())
import pipeline.cli
"""


def test_a_command_that_is_still_loading_can_be_interrupted() -> None:
    """Nothing is begun, and there is no traceback."""
    done = subprocess.run([sys.executable, "-c", LOADING], cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (130, "orderflow: interrupted.\n")
