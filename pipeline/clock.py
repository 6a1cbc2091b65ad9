"""The one home of the machine's clock. What is decided never depends on it: it paces and it measures."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Time that only goes forward, in seconds from anywhere."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class MonotonicClock:
    """The machine's."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SteppingClock:
    """Its twin for tests and simulations: sleeping is all that makes time pass."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def wall_ms() -> int:
    """Milliseconds since 1970, for the age of what is on a disk."""
    return time.time_ns() // 1_000_000


def stopwatch() -> float:
    """Seconds for measuring short spans, with the best resolution that there is."""
    return time.perf_counter()
