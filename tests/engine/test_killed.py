"""`kill -9` in the middle of a replay, and the same command again: the orders and all that was said are those of a quiet run."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from tests.engine.histories import THOROUGH, shop

SECONDS = 60
LOOK_EVERY_SECONDS = 0.005
ORDERS = 120 if THOROUGH else 60
COMMANDS = "order.commands.jsonl"


def arguments(folder: Path, world: Sequence[str], run: str) -> list[str]:
    options = ["--data-dir", str(folder / "data"), "--out", str(folder / run), "--chunk", "30", "--json", *world]
    return ["replay", str(folder.parent / "shop.jsonl"), *options]


def command(folder: Path, world: Sequence[str], run: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", *arguments(folder, world, run)]


def finished(folder: Path, world: Sequence[str], run: str) -> dict[str, Any]:
    done = subprocess.run(command(folder, world, run), check=True, capture_output=True, timeout=SECONDS)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def quiet(folder: Path, world: Sequence[str], run: str) -> dict[str, Any]:
    """In this process, for nobody will kill it."""
    done = CliRunner().invoke(app, arguments(folder, world, run))
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def killed(folder: Path, world: Sequence[str], run: str, after: int) -> None:
    """Dies as soon as it has written so many bytes of commands."""
    process = subprocess.Popen(command(folder, world, run), stdout=subprocess.DEVNULL)
    written = folder / run / COMMANDS
    while not (written.exists() and written.stat().st_size > after):
        assert process.poll() is None, "it ended before it could be killed"
        sleep(LOOK_EVERY_SECONDS)
    process.kill()
    assert process.wait(SECONDS) == -signal.SIGKILL


def said(folder: Path, *runs: str) -> dict[str, str]:
    """Event id to bytes, over the output folders of some runs."""
    events: dict[str, str] = {}
    for path in sorted(path for run in runs for path in (folder / run).glob("*.jsonl")):
        for line in path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                continue  # torn off by the death of the process
            event = json.loads(line)
            name = event.get("event_id") or f"letter {event.get('value') or event.get('value_base64')}"
            assert name.startswith("letter") or events.setdefault(name, line) == line, "one id, two events"
            events.setdefault(name, "")
    return events


@pytest.mark.parametrize("world", [(), ("--services", "standin", "--saga", "choreographed")], ids=["recorded", "standin"])
def test_a_killed_replay_can_be_run_again(world: Sequence[str], tmp_path: Path) -> None:
    """Killed twice, then left alone: no event is missing, none is another one, and every order and sum is the same."""
    (tmp_path / "shop.jsonl").write_bytes(b"\n".join(shop(ORDERS, 11)))
    for name in ("calm", "war"):
        (tmp_path / name).mkdir()
    calm, war = tmp_path / "calm", tmp_path / "war"
    expected = quiet(calm, world, "only")
    size = (calm / "only" / COMMANDS).stat().st_size
    killed(war, world, "first", size // 4)
    killed(war, world, "second", size // 4)
    report = finished(war, world, "third")
    assert said(war, "first", "second", "third") == said(calm, "only")
    for part in ("orders", "money", "stock", "stuck", "broken", "problems"):
        assert report[part] == expected[part], part
    assert expected["problems"] == []
