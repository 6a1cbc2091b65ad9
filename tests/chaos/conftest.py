"""As in tests/kafka: without a broker, one line in the summary says that nothing was run, and why."""

from tests.kafka.conftest import pytest_runtest_setup

__all__ = ["pytest_runtest_setup"]
