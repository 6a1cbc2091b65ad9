"""Histories with everything in them: every sample story, a generated shop, what cannot be read, and time that passes."""

from functools import cache
from pathlib import Path

from hypothesis import settings

from pipeline.engine.options import HOUR_MS, Options
from pipeline.replay.feed import time_of
from pipeline.replay.generate import generate

THOROUGH = settings().max_examples > 100
"""In continuous integration."""
FOREVER_MS = 1 << 53
OPTIONS = Options(dedup_ms=FOREVER_MS, jump_ms=365 * 24 * HOUR_MS)
"""As for files, but that the gap between the shop and the stories is believed."""
LEVELS = {f"SKU{number:03}": 40 for number in range(1, 60)} | {"NOSHIP": 9, "RARE": 1}

STORIES = Path(__file__).parents[2] / "samples" / "stories"


@cache
def stories() -> tuple[bytes, ...]:
    """Every sample story, one into another, by time."""
    lines = [line for path in sorted(STORIES.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    return tuple(sorted(lines, key=_place))


@cache
def shop(orders: int, seed: int) -> tuple[bytes, ...]:
    """Generated orders with all that goes wrong on the way in."""
    return tuple(generate(orders, seed))


@cache
def mixed(orders: int = 200, seed: int = 3) -> tuple[bytes, ...]:
    """A shop, and then every story: time jumps in between, so that all deadlines of the shop pass."""
    return (*shop(orders, seed), b'{"no": "form"}', *stories(), b"rubbish at the very end")


def _place(line: bytes) -> int:
    """By time: what has none comes first, and an unbelievable clock last."""
    return time_of(line) or 0
