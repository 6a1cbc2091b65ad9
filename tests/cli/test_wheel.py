"""What is installed from a wheel works without the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.replay.making import ROOT

BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what it is made of, and unpacked."""
    source, wheels, folder = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "installed"))
    for name in ("schemas", "tables", "agents", "pipeline", "samples"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-c", BUILD, wheels], cwd=source, capture_output=True, check=True, timeout=60)
    with zipfile.ZipFile(next(wheels.iterdir())) as wheel:
        wheel.extractall(folder)
    return folder


@pytest.fixture
def said(installed: Path, tmp_path: Path) -> Callable[..., Any]:
    """What a command of the installed package says."""

    def run(*command: str) -> Any:
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        where = [sys.executable, "-c", "import pipeline; print(pipeline.__path__[0])"]
        found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=30)
        assert found.stdout.strip() == str(installed / "pipeline")
        command = (sys.executable, "-m", "pipeline", *command, "--json")
        return json.loads(subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True, timeout=60).stdout)

    return run


def test_the_demo_runs_from_a_wheel(said: Callable[..., Any]) -> None:
    """Its samples and the stock come along."""
    expected = json.loads((ROOT / "samples" / "demo.expected.json").read_bytes())
    assert said("demo")["report"]["orders"] == expected["orders"]


def test_published_schemas_come_along(said: Callable[..., Any]) -> None:
    """And so do the samples of all types."""
    assert said("schema", "check")["problems"] == []


def test_the_licence_comes_along(installed: Path) -> None:
    """The Apache License, named in the metadata and as it stands at the root."""
    (info,) = installed.glob("*.dist-info")
    assert "License-Expression: Apache-2.0" in (info / "METADATA").read_text()
    assert (info / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
