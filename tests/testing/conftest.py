"""The fixture under test, as a user enables it."""

from pipeline.testing.plugin import orderflow_app, pytest_configure

__all__ = ["orderflow_app", "pytest_configure"]
