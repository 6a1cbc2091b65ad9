"""The same input twice: once in peace, once with a process that dies again and again and a sender that repeats itself."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import msgspec

from pipeline.embedded import Crash, Embedded
from pipeline.engine.task import Task
from pipeline.log.record import Record
from pipeline.replay.out import is_public
from pipeline.replay.report import Report
from pipeline.replay.run import How, replay
from pipeline.settings import Settings
from schemas.topics import DEAD_LETTERS

CRASH_PERCENT = 3
MOST_CRASHES = 40
AGAIN_PERCENT = 20
REACH = 50
"""How many lines back a repeated line may be."""


@dataclass
class Ending:
    """What is compared."""

    rows: dict[str, Any] = field(default_factory=dict)
    said: list[tuple[str, bytes | None]] = field(default_factory=list)
    """Topic and bytes, in order."""
    letters: list[bytes | None] = field(default_factory=list)

    def hear(self, record: Record) -> None:
        if record.topic == DEAD_LETTERS.name:
            self.letters.append(record.value)
        elif is_public(record):
            self.said.append((record.topic, record.value))

    def end(self, pipeline: Embedded) -> None:
        self.rows = dict(pipeline.rows("orders"))


class Chaos(msgspec.Struct):
    """What was done, and what differs; nothing may."""

    seed: int
    crashes: int
    repeated_lines: int
    events_compared: int
    orders_compared: int
    differences: list[str]


class _Dying:
    """Dies after steps that its seed picks."""

    def __init__(self, seed: int) -> None:
        self.crashes = 0
        self._random = Random(seed)

    def step(self, _step: str, _task: Task) -> None:
        if self.crashes < MOST_CRASHES and self._random.randrange(100) < CRASH_PERCENT:
            self.crashes += 1
            raise Crash


class _Repeating:
    """Gives earlier lines again, those that `may` be."""

    def __init__(self, lines: Iterable[bytes], seed: int, never: set[bytes | None]) -> None:
        self.repeated = 0
        self._lines = lines
        self._random = Random(seed)
        self._never = never

    def __iter__(self) -> Iterator[bytes]:
        recent: list[bytes] = []
        for line in self._lines:
            yield line
            if line not in self._never:
                recent = [*recent[-REACH:], line]
            if recent and self._random.randrange(100) < AGAIN_PERCENT:
                self.repeated += 1
                yield self._random.choice(recent)


async def chaos(lines: Sequence[bytes], settings: Settings, how: How, *, seed: int) -> tuple[Report, Chaos]:
    """The report of the undisturbed run, which `how` is about, and how the disturbed one compares.

    A line that ended among the dead letters is not repeated: whoever sends rubbish twice gets two letters.
    """
    peace, war = Ending(), Ending()
    report = await replay(lines, settings, replace(how, hears=(*how.hears, peace.hear), ends=peace.end))
    dying = _Dying(seed)
    repeating = _Repeating(lines, seed, set(peace.letters))
    await replay(repeating, settings, How(batch=how.batch, steps=dying.step, hears=(war.hear,), ends=war.end))
    return report, Chaos(seed, dying.crashes, repeating.repeated, len(peace.said), len(peace.rows), differences(peace, war))


def differences(peace: Ending, war: Ending) -> list[str]:
    """In words; empty where the crashes and repetitions have left no trace."""
    found = [
        f"order {key} ended otherwise" for key in sorted(peace.rows.keys() | war.rows.keys()) if peace.rows.get(key) != war.rows.get(key)
    ]
    if peace.said != war.said:
        first = next(
            (i for i, (one, other) in enumerate(zip(peace.said, war.said, strict=False)) if one != other),
            min(len(peace.said), len(war.said)),
        )
        found.append(f"{len(peace.said)} events were emitted, then {len(war.said)}; they differ from number {first} on")
    if peace.letters != war.letters:
        found.append(f"{len(peace.letters)} dead letters, then {len(war.letters)}, or other ones")
    return found
