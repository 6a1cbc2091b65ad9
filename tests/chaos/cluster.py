"""What can be seen of a cluster from outside: its topics raw, the group's offsets, and when which task committed. No code of the engine."""

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, Self

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.chaos.history import PARTITIONS, Place

GROUP = "chaos"
HEAD = b"h"
ORIGIN = "orderflow-origin"
READ_MS = 200
PATIENCE_SECONDS = 10
LOOK_SECONDS = 0.3
SOON_SECONDS = 2.0
STUCK_SECONDS = 30.0
"""Without any commit: nothing will come any more."""
MOST_SECONDS = 90.0
"""For what was written in a day, with commits that hardly get anywhere."""
TROUBLES = (KafkaError, OSError, TimeoutError)


class Raw(NamedTuple):
    """A record as it is on the broker."""

    place: Place
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    stamp: int

    @property
    def origin(self) -> Place | None:
        """Where it was before it was re-keyed."""
        told = self.header(ORIGIN)
        if told is None:
            return None
        topic, partition, offset, *_ = msgspec.msgpack.decode(told)
        return topic, partition, offset

    def header(self, name: str) -> bytes | None:
        return next((value for key, value in reversed(self.headers) if key == name), None)


class Head(NamedTuple):
    """What a task says of itself at the end of each chunk, by the places of its members."""

    chunk: int
    offsets: dict[str, int]
    counts: dict[str, int]
    incarnation: str
    ahead: Sequence[tuple[int, int]]
    """Ranges of offsets of its inbox that it has heard beyond."""


def head_of(value: bytes) -> Head:
    told = msgspec.msgpack.decode(value)
    return Head(told[1], told[5], told[6], told[0], told[11])


class Sample(NamedTuple):
    """What the group had committed at one moment, and where it had not read all there was."""

    when: float
    committed: dict[TopicPartition, int]
    behind: frozenset[TopicPartition]


def is_input(topic: str) -> bool:
    return topic in PARTITIONS or topic.endswith("-inbox") or topic == "fraud.alerts"


class Watcher:
    """Reads everything as it becomes visible, and asks what the group has committed, through all that happens to the brokers."""

    def __init__(self, servers: str) -> None:
        self.samples: list[Sample] = []
        self.last: dict[TopicPartition, int] = {}
        """Offset of the last record that is no marker."""
        self.inboxes: dict[TopicPartition, list[Raw]] = defaultdict(list)
        """All that was ever in them: what is read of an inbox is purged."""
        self._servers = servers

    async def __aenter__(self) -> Self:
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await self._admin.start()
        topics = await self._admin.describe_topics()
        self.partitions = [TopicPartition(each["topic"], p["partition"]) for each in topics for p in each["partitions"]]
        self.partitions = [tp for tp in self.partitions if not tp.topic.startswith("__")]
        self._consumer = reader(self._servers)
        await self._consumer.start()
        self._consumer.assign(self.partitions)
        self._running = [asyncio.create_task(self._read()), asyncio.create_task(self._ask())]
        return self

    async def __aexit__(self, *_error: object) -> None:
        for running in self._running:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
        await self._consumer.stop()
        await self._admin.close()

    async def _read(self) -> None:
        while True:
            try:
                found = await self._consumer.getmany(timeout_ms=READ_MS)
            except TROUBLES:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            for tp, records in found.items():
                self.last[tp] = records[-1].offset
                if tp.topic.endswith("-inbox"):
                    self.inboxes[tp] += map(raw_of, records)

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(*TROUBLES):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    offsets = await self._admin.list_consumer_group_offsets(GROUP)
                committed = {tp: found.offset for tp, found in offsets.items()}
                behind = frozenset(tp for tp, last in self.last.items() if is_input(tp.topic) and committed.get(tp, 0) <= last)
                self.samples.append(Sample(monotonic(), committed, behind))

    async def lag(self) -> dict[TopicPartition, int]:
        """Records per input that are there and not committed, by the broker's own offsets; raises where nobody answers.

        What is not even visible yet (an open transaction) counts too.
        """
        ends = await self._consumer.end_offsets(self.partitions)
        offsets = await self._admin.list_consumer_group_offsets(GROUP)
        lag: dict[TopicPartition, int] = {}
        for tp in self.partitions:
            if hidden := ends[tp] - await self._consumer.position(tp):
                lag[tp] = hidden
            elif is_input(tp.topic):
                committed = offsets[tp].offset if tp in offsets else 0
                if (left := self.last.get(tp, -1) + 1 - committed) > 0:
                    lag[tp] = left
        return lag

    async def drained(self, quiet_seconds: float) -> dict[TopicPartition, int]:
        """Wait until nothing is left and nothing new is said for a while, or it gets nowhere. Returns what is left."""
        began = quiet = moved = monotonic()
        last, samples = dict(self.last), len(self.samples)
        while True:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    lag = await self.lag()
            except TROUBLES as error:
                lag = {TopicPartition(f"unknown, {type(error).__name__}", 0): 1}
            now = monotonic()
            if lag or self.last != last:
                quiet, last = now, dict(self.last)
            new = self.samples[max(samples - 1, 0) :]
            if any(before.committed != after.committed for before, after in pairwise(new)):
                moved, samples = now, len(self.samples)
            if now - quiet >= quiet_seconds or now - moved > STUCK_SECONDS or now - began > MOST_SECONDS:
                return lag
            await asyncio.sleep(LOOK_SECONDS)

    def stood(self, since: float, until: float) -> float | None:
        """How long it took, from `since` on, until committed offsets moved again on every partition that had lag; None: they never did.

        Lag that begins later than soon after `until` is another matter.
        """
        longest = 0.0
        samples = [sample for sample in self.samples if sample.when >= since]
        for tp in {tp for sample in samples if sample.when <= until + SOON_SECONDS for tp in sample.behind}:
            first = next(i for i, sample in enumerate(samples) if tp in sample.behind)
            before = samples[first].committed.get(tp, 0)
            moved = next((sample.when for sample in samples[first:] if sample.committed.get(tp, 0) > before), None)
            if moved is None:
                return None
            longest = max(longest, moved - max(since, samples[first].when - LOOK_SECONDS))
        return longest


def reader(servers: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=50,
    )


def raw_of(read: ConsumerRecord[Any, Any]) -> Raw:
    return Raw((read.topic, read.partition, read.offset), read.key, read.value, tuple(read.headers), read.timestamp)


async def read_all(servers: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, list[Raw]]:
    """Everything that is committed, from the beginning."""
    consumer = reader(servers)
    await consumer.start()
    try:
        consumer.assign(list(partitions))
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found: dict[TopicPartition, list[Raw]] = {tp: [] for tp in partitions}
        left = set(partitions)
        async with asyncio.timeout(120):
            while left := {tp for tp in left if await consumer.position(tp) < ends[tp]}:
                for tp, records in (await consumer.getmany(timeout_ms=READ_MS)).items():
                    found[tp] += map(raw_of, records)
        return found
    finally:
        await consumer.stop()


def write_history(topics: Mapping[TopicPartition, Sequence[Raw]], path: Path) -> None:
    """All records, for reading: by time, then place."""
    records = sorted((raw for each in topics.values() for raw in each), key=lambda raw: (raw.stamp, raw.place))
    with path.open("w") as file:
        for raw in records:
            texts = {"key": repr(raw.key), "value": (raw.value or b"").decode(errors="backslashreplace"), "headers": repr(raw.headers)}
            file.write(json.dumps({"place": raw.place, "time": raw.stamp} | texts) + "\n")


async def offsets_of(servers: str) -> dict[TopicPartition, int]:
    """What the group has committed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        return {tp: found.offset for tp, found in (await admin.list_consumer_group_offsets(GROUP)).items()}
    finally:
        await admin.close()
