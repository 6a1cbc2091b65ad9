"""Several workers as processes of one command: each has its own folder and port, and they end together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.settings import Settings, load, variable_of
from pipeline.worker.processes import run_processes
from tests.replay.making import ROOT

SECONDS = 30
STANDING_IN = """
import os, signal, sys, time
from pathlib import Path

folder = Path(os.environ["ORDERFLOW_DATA_DIR"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(os.environ.get("ENDS", "0"))))
folder.mkdir(parents=True)
names = ("ORDERFLOW_HTTP_PORT", "ORDERFLOW_INSTANCE", "ORDERFLOW_GROUP")
(folder / "said").write_text(" ".join([*sys.argv[1:], *(os.environ.get(name, "-") for name in names)]))
if os.environ.get("DIES") == folder.name:
    sys.exit(3)
time.sleep(60)
"""
"""In place of the package: says what it was given, and waits to be ended, or dies."""

STARTER = """
import sys
from pathlib import Path
from pipeline.settings import load
from pipeline.worker.processes import run_processes

sys.exit(run_processes(3, load(), Path(sys.argv[1])))
"""


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of ours; and what the processes run is found here first."""
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").touch()
    (tmp_path / "pipeline" / "__main__.py").write_text(STANDING_IN)
    monkeypatch.delenv("PYTHONPATH", raising=False)


@pytest.fixture
def signals() -> Iterator[None]:
    """What they did is what they do afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def said(folder: Path) -> list[str]:
    return [(folder / str(i) / "said").read_text() for i in range(3)]


def until_said(folder: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not all((folder / str(i) / "said").exists() and (folder / str(i) / "said").read_text() for i in range(3)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("signals")
def test_one_that_dies_ends_all_and_its_code_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever started the command starts all of them again."""
    monkeypatch.setenv("DIES", "1")
    assert run_processes(3, load(instance="shop-a", http_port=9_100), tmp_path / "state") == 3
    assert (tmp_path / "state" / "1" / "said").read_text() == "worker --leash 9101 shop-a-1 -"


@pytest.mark.usefixtures("signals")
def test_one_that_is_told_to_end_before_it_has_begun_is_no_failure(tmp_path: Path) -> None:
    """It knows no signals yet, and dies of this one."""
    (tmp_path / "pipeline" / "__main__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)")
    assert run_processes(2, load(), tmp_path / "state") == 0


@pytest.mark.parametrize(("ends", "number"), [(0, signal.SIGTERM), (1, signal.SIGINT)])
def test_they_end_when_the_command_is_told_to(tmp_path: Path, ends: int, number: signal.Signals) -> None:
    """All of them are told; the worst of their codes is the command's."""
    given = {"ENDS": str(ends), "ORDERFLOW_HTTP_PORT": "0", "ORDERFLOW_GROUP": "shop", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", f"import sys; sys.path.pop(0)\n{STARTER}", str(tmp_path / "state")]
    starter = subprocess.Popen(command, env=os.environ | given, cwd=tmp_path)
    until_said(tmp_path / "state")
    starter.send_signal(number)
    assert starter.wait(SECONDS) == ends
    assert said(tmp_path / "state") == ["worker --leash 0 - shop"] * 3


def test_they_do_not_outlive_the_command(tmp_path: Path) -> None:
    """Killed, it can tell them nothing; their standard input ends, and so do they."""
    (tmp_path / "pipeline" / "__main__.py").write_text(
        STANDING_IN.replace("time.sleep(60)", "sys.stdin.read()\n(folder / 'ended').touch()")
    )
    command = [sys.executable, "-c", f"import sys; sys.path.pop(0)\n{STARTER}", str(tmp_path / "state")]
    starter = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    until_said(tmp_path / "state")
    starter.kill()
    assert starter.wait(SECONDS) == -signal.SIGKILL
    deadline = time.monotonic() + SECONDS
    while not all((tmp_path / "state" / str(i) / "ended").exists() for i in range(3)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
