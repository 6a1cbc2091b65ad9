"""In which order an inbox happened: each of its writers is in order, and goes at its own pace."""

from collections import deque
from typing import Any

from aiokafka import ConsumerRecord

from pipeline.engine.head import IDLE
from schemas.message import Instant


class Pace:
    """How far each writer of an inbox had come in time with each record of its buffer. What is late does not set it back."""

    def __init__(self, jump_ms: int) -> None:
        self._jump_ms = jump_ms
        self._latest: dict[bytes, Instant] = {}
        """By writer."""
        self._times: deque[Instant] = deque()
        self._least: deque[tuple[int, Instant]] = deque()
        """Of events, the earliest time from each on, with their numbers: those that an earlier one follows are left out."""
        self._added = self._popped = 0

    def add(self, record: ConsumerRecord[Any, Any]) -> None:
        """The buffer has one more."""
        writer, at = (record.headers[-1][1] if record.headers else b""), record.timestamp
        latest = self._latest.get(writer, -1)
        if record.value is None:  # a tick is no event
            self._times.append(max(latest, at))
        else:
            if latest < at <= latest + self._jump_ms or latest < 0 or at < latest - self._jump_ms:
                self._latest[writer] = latest = at  # a clock that nobody believes sets nothing
            self._times.append(latest)
            while self._least and self._least[-1][1] > latest:
                self._least.pop()
            self._least.append((self._added, latest))
        self._added += 1

    def earliest(self, first: ConsumerRecord[Any, Any]) -> Instant:
        """Of all events in the buffer, whose first record this is; a tick has its turn when it is first."""
        return min(self._least[0][1] if self._least else IDLE, first.timestamp if first.value is None else IDLE)

    def pop(self) -> Instant:
        """The time of the first record, which has left the buffer."""
        if self._least and self._least[0][0] == self._popped:
            self._least.popleft()
        self._popped += 1
        return self._times.popleft()
