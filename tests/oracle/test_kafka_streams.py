"""Windows hold what those of Kafka Streams hold.

Words differ, and are translated here:

* A sliding window of ours ends with an event, at t, and reaches back to t - size, which is not part of it. Theirs has a greatest difference
  of time, and both of its ends belong to it: the same, where the difference is size - 1 ms. They also have windows that begin just after an
  event, for what follows it; of theirs only those that end with an event are compared. Theirs fail with a difference of 0.
* A session of theirs ends with its last event; ours when nothing can join it any more, gap + 1 ms later. Events that are just the gap apart
  are in one session in both.
* None of theirs begins before the epoch. Events happen later here.
* Time is that of a task, for all its keys. Here there is one task.

What is late differs. We turn an event away once for all where it is older than the newest of all events, less the grace. They ask each
window, and what is older still counts where its window ends, or its session goes on, within the grace. What we let in they let into each of
its windows, since none of them ends before it. So what is late is turned away by our rule before either side sees it, and
`test_what_is_late_is_judged_by_the_event_and_not_by_its_window` shows the difference.
"""

import random
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias

import pytest

from schemas.message import Instant
from tables.windows import Hopping, Pane, Panes, Session, Sliding, Tumbling, WindowKind, joined, single
from tests.kafka.brokers import LOGGING, jars, tool

FIRST = 10_000
CASES = 300
EVENTS = 40
FAR = 1_000_000


class Happened(NamedTuple):
    """An event, as it came."""

    key: str
    at: Instant
    value: int


class Held(NamedTuple):
    """What a window holds."""

    number: int
    total: int
    least: int
    most: int


Span: TypeAlias = tuple[str, Instant, Instant]
"""A key's window: its start, and its end, which is not part of it."""
Windows: TypeAlias = dict[Span, Held]


class Oracle:
    """A Kafka Streams in a process of its own, for one topology after the other; with its start and end in ours."""

    def __enter__(self) -> Self:
        quick = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"{LOGGING}.defaultLogLevel=error")
        command = (tool("java"), *quick, "-cp", f"{jars()}/*", str(Path(__file__).with_name("Oracle.java")))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # it ends when it is asked nothing more

    def windows(self, window: WindowKind, grace: int, events: Iterable[Happened]) -> Windows:
        """What each window held when it last changed."""
        match window:
            case Tumbling(size):
                asked, ends = f"tumbling {size} {size}", 0
            case Hopping(size, every):
                asked, ends = f"hopping {size} {every}", 0
            case Sliding(size):
                asked, ends = f"sliding {size - 1} {size}", 1
            case _:
                gap = window.gap_ms
                asked, ends = f"session {gap} {gap}", gap + 1
        found: Windows = {}
        for line in self._answer((f"{asked} {grace}", *(f"{each.key} {each.at} {each.value}" for each in events))):
            key, start, end, *values = line.split()
            found[key, int(start), int(end) + ends] = held([int(value) for value in values])
        if isinstance(window, Sliding):
            last = {(each.key, each.at) for each in events}
            found = {(key, start, end): holds for (key, start, end), holds in found.items() if (key, end - 1) in last}
        return found

    def _answer(self, lines: Iterable[str]) -> Iterator[str]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("".join(f"{line}\n" for line in (*lines, "")))
        self._process.stdin.flush()
        while (line := self._process.stdout.readline()) != "\n":
            assert line, "Kafka Streams has ended; it says why on stderr"
            yield line


def held(values: list[int]) -> Held:
    return Held(len(values), sum(values), min(values), max(values))


def holding(pane: Pane) -> Held:
    return Held(pane.count, pane.total, pane.least, pane.most)


class Ours:
    """Our windows of all keys, as the fraud agent has them: what has closed is told first, then comes the next event."""

    def __init__(self, window: WindowKind, grace: int) -> None:
        self._window, self._grace = window, grace
        self._panes: dict[str, Panes] = {}
        self._watermark = -1
        self.changed: Windows = {}
        """As they were when they last changed, when an alert could have been raised."""
        self.closed: Windows = {}
        """As they were when they closed."""

    def hear(self, event: Happened) -> None:
        self.close(max(self._watermark, event.at - self._grace))
        new, before = single(event.at, "e", event.value), self._panes.get(event.key, ())
        panes = self._panes[event.key] = self._window.add(before, new, self._watermark)
        if isinstance(self._window, Sliding):
            self._slide(self._window, event.key, before, panes, new)
            return
        for start, end, holds in self._window.crossings(before, panes, new, lambda _: True, ()):
            if isinstance(self._window, Session):  # it is in the place of those that it was joined from
                self.changed = {span: held for span, held in self.changed.items() if span[0] != event.key or not start <= span[1] < end}
            self.changed[event.key, start, end] = holding(holds)

    def _slide(self, window: Sliding, key: str, before: Panes, panes: Panes, new: Pane) -> None:
        """One alert is raised for a run of windows: each window is seen by whoever judges it only."""

        def judged(holds: Panes) -> bool:
            end = holds[-1].last + 1
            if end - window.size_ms <= new.last < end:
                self.changed[key, end - window.size_ms, end] = holding(joined(holds))
            return False

        window.crossings(before, panes, new, judged, ())

    def close(self, watermark: Instant) -> None:
        for key, panes in self._panes.items():
            for start, end, holds in self._window.closed(panes, self._watermark, watermark):
                assert (key, start, end) not in self.closed, "a window closes once"
                self.closed[key, start, end] = holding(holds)
            self._panes[key] = tuple(pane for pane in panes if self._window.expires(pane) > watermark)
        self._watermark = watermark


def history(chance: random.Random, grace: int) -> list[Happened]:
    """Three keys; most events are on time, some late within the grace, some beyond it; many at the same time."""
    found, now = list[Happened](), FIRST
    for _ in range(EVENTS):
        now += chance.choice((0, 0, 1, 2, 5, 9, 30))
        late = chance.choice((0, 0, chance.randint(0, grace), grace, chance.randint(0, 2 * grace + 1)))
        found.append(Happened(chance.choice("aaabbc"), now - late, chance.randint(-9, 99)))
    return found


def on_time(events: Iterable[Happened], grace: int) -> list[Happened]:
    """Without those that are older than the watermark when they come."""
    found, newest = list[Happened](), 0
    for event in events:
        newest = max(newest, event.at)
        if event.at >= newest - grace:
            found.append(event)
    return found


def hopping(size: int) -> Hopping:
    """Up to four windows at a time; one does not always end where another one begins."""
    return Hopping(size, -(-size // (1 + size % 4)))


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle() as started:
        yield started


@pytest.mark.parametrize("kind", [Tumbling, hopping, Sliding, Session])
def test_every_window_holds_what_kafka_streams_says(oracle: Oracle, kind: Callable[[int], WindowKind]) -> None:
    """When it last changed, and when it closed; in whatever order events came."""
    compared = 0
    for case in range(CASES):
        chance = random.Random(f"{kind.__name__} {case}")
        window, grace = kind(chance.randint(2, 40)), chance.choice((0, 1, 10, 40))
        events = on_time(history(chance, grace), grace)
        ours = Ours(window, grace)
        for event in events:
            ours.hear(event)
        ours.close(FAR)
        theirs = oracle.windows(window, grace, events)
        assert ours.changed == theirs, f"case {case}: {window}, grace {grace}: {events}"
        assert ours.closed == ({} if kind is Sliding else theirs), f"case {case}: {window}, grace {grace}: {events}"
        compared += len(theirs)
    assert compared > CASES * EVENTS / 10


@pytest.mark.parametrize("window", [Tumbling(10), Hopping(10, 5), Sliding(10), Session(10)])
def test_what_is_late_is_judged_by_the_event_and_not_by_its_window(oracle: Oracle, window: WindowKind) -> None:
    """What we turn away as too late they still put into a window that goes on."""
    grace = 5
    events = [Happened("a", FIRST + 3, 1), Happened("a", FIRST + 9, 2), Happened("a", FIRST + 2, 4)]
    assert on_time(events, grace) == events[:2]
    assert held([1, 2]) in oracle.windows(window, grace, on_time(events, grace)).values()
    assert held([1, 2, 4]) in oracle.windows(window, grace, events).values()
