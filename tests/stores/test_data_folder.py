"""A data folder can be taken, or taken again, whatever went wrong the first time."""

import resource
from pathlib import Path

import pytest

from pipeline.composition import claimed
from pipeline.problem import Problem
from pipeline.settings import Settings


def test_what_a_full_disk_refused_can_be_taken_later(tmp_path: Path) -> None:
    """Where there was no room to say whose folder it is, nothing is left that would refuse us when there is."""
    folder = tmp_path / "state"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        with pytest.raises(Problem, match="cannot be used"):
            claimed(folder, Settings(), by="worker")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    claimed(folder, Settings(), by="worker")
    claimed(folder, Settings(), by="worker")
