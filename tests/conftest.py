"""How the tests run: how deeply properties are searched, and which tests share a process."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("dev", max_examples=50, deadline=None)  # quickly while one works
settings.register_profile("ci", max_examples=500, deadline=None, derandomize=True, print_blob=True)  # thoroughly and repeatably
settings.load_profile("dev")


@pytest.fixture(autouse=True)
def _as_talkative_as_before() -> Iterator[None]:
    """Commands set what is logged for their process, and here that is everybody's."""
    level = logging.root.level
    yield
    logging.root.setLevel(level)


TOGETHER = ("tests/kafka/",)
"""Folders whose tests share one process: there they share a broker."""


class Together(LoadScopeScheduling):
    """The tests of a file share a process, so that what they have in common is made once; those of some folders do, too."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """With `--dist loadgroup`, whose own marks do nothing under pytest 9.2 (pytest-xdist issue 1386)."""
    return Together(config, log) if config.getvalue("dist") == "loadgroup" else None
