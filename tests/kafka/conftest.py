"""One broker for all tests of this folder, and names that no other test has."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.settings import Settings
from tests.kafka.brokers import Brokers, lacking
from tests.kafka.driver import JUMP_DAYS
from tests.kafka.histories import Expected, expected, phases

USERS = {"alice": "alice-secret"}
NUMBERS = itertools.count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here needs a broker; with xdist all of them go to one worker, so that there is one broker and not one per worker."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.broker)
            item.add_marker(pytest.mark.xdist_group("kafka"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """One line in the summary says that the tests of this folder did not run, and why; in continuous integration they fail.

    A hook and no fixture: skipped by a fixture, each test would have a line of its own.
    """
    if why := lacking():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"NO TEST AGAINST KAFKA WAS RUN: {why}")


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """One broker with every listener, shared: whoever stops or pauses it starts one of his own instead."""
    with Brokers(folder=tmp_path_factory.mktemp("kafka"), users=USERS, tls=True) as started:
        yield started


@pytest.fixture
def fresh_names() -> Callable[[str], str]:
    """Turns `orders` into a name for a topic, group, app or transactional id that no other test has: `t7-orders`."""
    number = next(NUMBERS)
    return lambda name: f"t{number}-{name}"


@pytest.fixture(scope="session")
def shop() -> Expected:
    """What all phases of the shop come to when nothing disturbs them."""
    return expected([each for phase in phases() for each in phase], Settings(clock_jump_days=JUMP_DAYS))
