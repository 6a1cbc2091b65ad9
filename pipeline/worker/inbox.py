"""What was read of an inbox and not heard yet. Its writers are each in order, and go each at their own pace."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from aiokafka import ConsumerRecord

from pipeline.engine.head import IDLE
from pipeline.engine.letters import origin_of
from pipeline.engine.plan import Group
from pipeline.engine.task import TICK, told
from pipeline.log.record import header
from schemas.message import Instant

Raw: TypeAlias = ConsumerRecord[Any, Any]


class Inbox:
    """A queue for each task that writes to it: all of them are merged like topics, so that a slow one is not heard behind a fast one."""

    def __init__(self, home: Mapping[str, Group], ahead: Sequence[tuple[int, int]] = ()) -> None:
        """`home`: topic to the group that reads it, and re-keys it. `ahead`: ranges of offsets that were heard before."""
        self._home = home
        self._ahead = ahead
        self._by_writer: dict[str, deque[Raw]] = defaultdict(deque)
        self._end = 0

    def add(self, records: Sequence[Raw]) -> list[Raw]:
        """They are the next ones. Returns those that were not heard before."""
        self._end = records[-1].offset + 1
        if self._ahead and records[0].offset < self._ahead[-1][1]:
            records = [record for record in records if not any(first <= record.offset < behind for first, behind in self._ahead)]
        for record in records:
            self._by_writer[self._writer(record)].append(record)
        return list(records)

    def _writer(self, record: Raw) -> str:
        """The task that wrote it: whose time a tick tells, or by which it was re-keyed."""
        if (origin := origin_of(record.headers)) is not None:
            group = self._home.get(origin.topic)
            return f"{group.name}-{origin.partition}" if group is not None else ""
        mark = header(record.headers, TICK)
        return "" if mark is None else told(mark, record.timestamp)[0]

    def queues(self) -> list[deque[Raw]]:
        """By writer, those that have something."""
        return [queue for queue in self._by_writer.values() if queue]

    def __bool__(self) -> bool:
        return any(self._by_writer.values())

    @property
    def left(self) -> int:
        """The lowest offset of all that is here; else where it was read to, behind which more may be that was not heard ahead."""
        return min((queue[0].offset for queue in self._by_writer.values() if queue), default=self._end)

    @property
    def span(self) -> int:
        """Offsets from the lowest that is here to where it was read."""
        return self._end - self.left

    def earliest(self) -> Instant:
        """Of all events here; a tick is none."""
        return min((record.timestamp for queue in self._by_writer.values() for record in queue if record.value is not None), default=IDLE)
