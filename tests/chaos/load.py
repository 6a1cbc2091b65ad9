"""The services, as a process of their own: they write each line when it is due, in order, and nothing ahead of what is not acknowledged.

`python -m tests.chaos.load SERVERS SEED SECONDS RATE` reads commands, one a line: the number of a day, or `close` and the number.
After each it prints one line of JSON: the partition and offset of each line, as the broker has acknowledged it.
"""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from time import monotonic
from typing import Any, Self

from aiokafka import AIOKafkaProducer

from tests.chaos.history import PACE, SECOND_MS, Day, Line, Place

SLICE_SECONDS = 0.05
PATIENT_MS = 120_000
"""A producer does not give up a record before."""
LINE_BYTES = 1 << 26


async def paced(lines: Sequence[Line]) -> AsyncIterator[list[Line]]:
    """Slices, each when it is due. Time that was lost is made up for, twice as fast as it went."""
    step = int(SLICE_SECONDS * PACE * SECOND_MS)
    slices: dict[int, list[Line]] = {}
    for line in lines:
        slices.setdefault((line.due_ms - lines[0].due_ms) // step, []).append(line)
    due, last = monotonic(), 0
    for number, slice_ in sorted(slices.items()):
        due = max(due + (number - last) * SLICE_SECONDS, monotonic() - SLICE_SECONDS)
        last = number
        await asyncio.sleep(max(0.0, due - monotonic()))
        yield slice_


async def serve(servers: str, seed: int, seconds: float, rate: float) -> None:
    """Until the input ends."""
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, enable_idempotence=True, acks="all", request_timeout_ms=PATIENT_MS, metadata_max_age_ms=5_000
    )
    await producer.start()
    while command := await asyncio.to_thread(sys.stdin.readline):
        *close, number = command.split()
        day = Day(seed, int(number), seconds=seconds, rate=rate)
        places: list[tuple[int, int]] = []
        async for slice_ in paced(day.closing if close else day.lines):
            sent = [await producer.send(one.topic, one.value, one.key, partition=one.partition, timestamp_ms=one.stamp) for one in slice_]
            places += [(taken.partition, taken.offset) for taken in await asyncio.gather(*sent)]
        sys.stdout.write(json.dumps(places) + "\n")
        sys.stdout.flush()
    await producer.stop()


class Load:
    """The process, as the run sees it."""

    def __init__(self, servers: str, seed: int, *, seconds: float, rate: float, log: Any) -> None:
        self._arguments = [servers, str(seed), str(seconds), str(rate)]
        self._log = log
        self._of_all = {"seconds": seconds, "rate": rate}
        self._seed = seed
        self.written: list[Line] = []
        self.places: list[Place] = []
        """Where each line is."""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.load",
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            limit=LINE_BYTES,
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await self._process.communicate()

    async def day(self, number: int) -> None:
        """All that happens in a day. Raises RuntimeError where the producer gives up."""
        await self._write(str(number), self._day(number).lines)

    async def close(self, number: int) -> None:
        """What lets the day's deadlines pass."""
        await self._write(f"close {number}", self._day(number).closing)

    def _day(self, number: int) -> Day:
        return Day(self._seed, number, **self._of_all)

    async def _write(self, command: str, lines: Sequence[Line]) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{command}\n".encode())
        answer = await self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the producer has ended; why is in load.log")
        self.written += lines
        self.places += [(line.topic, partition, offset) for line, (partition, offset) in zip(lines, json.loads(answer), strict=True)]


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
