"""Ctrl-C: the first one ends the work in good order, and those that follow do not disturb its end."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from pipeline.clock import stopwatch

T = TypeVar("T")
PATIENCE_SECONDS = 1.0
"""How long the event loop may take to come back from what it is doing; after that it is taken to be waiting for standard input."""


def hear_once() -> None:
    """In a process of ours: the first interrupt is a KeyboardInterrupt, and there is no second one."""
    signal.signal(signal.SIGINT, _first)


def _first(*_: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def ending() -> None:
    """Whoever calls it has caught a KeyboardInterrupt, and is about to say so."""
    if signal.getsignal(signal.SIGINT) is _first:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def run(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, which takes a second interrupt for an order to drop all that is just ending. Raises KeyboardInterrupt."""
    began: list[float] = []
    turned: list[bool] = []

    async def whole() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def hear(*_: object) -> None:
            if not began:
                began.append(stopwatch())
                loop.call_soon_threadsafe(turned.append, True)
                if task is not None:
                    task.cancel()
            elif not turned and stopwatch() - began[0] > PATIENCE_SECONDS:
                raise KeyboardInterrupt

        signal.signal(signal.SIGINT, hear)
        return await work

    before = signal.getsignal(signal.SIGINT)
    try:
        return asyncio.run(whole())
    except asyncio.CancelledError:
        if not began:
            raise
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)
