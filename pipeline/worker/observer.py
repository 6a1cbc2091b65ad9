"""Whoever counts what a worker does. The worker does not know what for."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.engine.task import Task, Work
from pipeline.log.record import Record


class Observer(Protocol):
    """Told once per chunk."""

    def committed(self, task: Task, records: Sequence[Record], work: Work, seconds: float) -> None:
        """A chunk is committed and not yet stored: `task.head` is from before it. `seconds` were needed to decide it."""

    def failed(self, task: Task) -> None:
        """A chunk could not be finished."""


class Unobserved:
    """Nobody counts."""

    def committed(self, task: Task, records: Sequence[Record], work: Work, seconds: float) -> None: ...

    def failed(self, task: Task) -> None: ...
