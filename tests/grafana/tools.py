"""Programs of others that these tests run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def needed(program: str, package: str) -> str:
    """Its path. Without it the test is skipped, and fails in continuous integration."""
    found = shutil.which(program)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"there is no {program} (on Debian: apt-get install {package})")
    return found


def ran(program: str, package: str, *arguments: str, at: Path = ROOT) -> str:
    """What it printed; it must end well."""
    done = subprocess.run([needed(program, package), *arguments], cwd=at, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
