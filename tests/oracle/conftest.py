"""Kafka Streams needs the jars of the tests against Kafka, and a Java compiler."""

import os
import shutil
from pathlib import Path

import pytest

from tests.kafka.brokers import lacking


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No broker runs, but these tests go with those that have one: they need what only `make test` fetches."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.broker)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """One line in the summary says that the tests of this folder did not run, and why; in continuous integration they fail."""
    why = lacking() or ("" if shutil.which("javac") else "there is no javac (on Debian: apt-get install default-jdk-headless)")
    if why:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"NO WINDOW WAS HELD AGAINST KAFKA STREAMS: {why}")
