"""A pytest plugin: the fixture `orderflow_app`. Enable it with `pytest_plugins = ["pipeline.testing.plugin"]` in your `conftest.py`."""

from collections.abc import Iterator

import pytest

from pipeline.testing.app import App

MARKER = "orderflow"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, also to those who are strict about markers."""
    config.addinivalue_line(
        "markers", f"{MARKER}(services=..., saga=..., stock=..., **settings): how the `orderflow_app` of this test is made"
    )


@pytest.fixture
def orderflow_app(request: pytest.FixtureRequest) -> Iterator[App]:
    """The whole pipeline in memory, new for each test. `@pytest.mark.orderflow(services="standin")` says how it is made."""
    marker = request.node.get_closest_marker(MARKER)
    with App(**(marker.kwargs if marker is not None else {})) as app:
        yield app
