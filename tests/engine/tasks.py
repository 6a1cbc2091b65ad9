"""All tasks of a plan over the log in this process, without a worker: for topics and options that a pipeline for files does not have."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.engine.options import Options
from pipeline.engine.plan import Group, Plan
from pipeline.engine.task import Task
from pipeline.log.memory import MemoryLog
from pipeline.log.partitioner import partition_of
from pipeline.log.record import FED, Order, Record, TopicPartition
from pipeline.stores.memory import MemoryStore
from schemas.codec import encode
from schemas.message import Envelope, Message

LAST = Order(1 << 62, FED, 0)


class Tasks:
    """Feed records, and let happen what they cause; chunks are of `chunk` records."""

    def __init__(self, plan: Plan, options: Options, *, chunk: int = 1_000) -> None:
        self.plan, self._options, self._chunk = plan, options, chunk
        self.log = MemoryLog(MemoryStore())
        for topic, partitions in plan.topics.items():
            self.log.create(topic, partitions, read=topic in plan.home)
        for group in plan.groups:
            self.log.create(group.changelog, group.partitions, changelog=True)
        self.tasks = self._made()
        self._now = self._number = 0

    def _made(self) -> dict[str, Task]:
        made = [Task(self.plan, group, p, MemoryStore(), self._options) for group in self.plan.groups for p in range(group.partitions)]
        return {task.name: task for task in made}

    def feed(self, topic: str, heard: Iterable[tuple[str, Envelope[Message]]]) -> None:
        """Each under its key. Stream time is the greatest event time so far."""
        for key, envelope in heard:
            self._now, self._number = max(self._now, envelope.at), self._number + 1
            partition, order = partition_of(key.encode(), self.plan.topics[topic]), Order(self._now, FED, self._number)
            self.log.feed([Record(topic, partition, key.encode(), encode(envelope), (), envelope.at, order)])
        while sum([self._drained(stage) for stage in self.plan.stages]):  # what a stage tells itself comes next
            pass

    def _drained(self, stage: Sequence[Group]) -> bool:
        """Whether there was anything to do."""
        self.log.release([topic for group in stage for topic in group.inputs], LAST)
        return bool(sum([self._drain(task) for task in self.tasks.values() if task.group in stage]))

    def _drain(self, task: Task) -> bool:
        worked = False
        while records := self._merged(task):
            worked = True
            work = task.work(records[: self._chunk])
            epoch = self.log.begin(task.transactional_id)
            task.done(work, self.log.commit(task.transactional_id, epoch, work.outbox, task.changelog))
        return worked

    def _merged(self, task: Task) -> list[Record]:
        found = [record for tp in task.inputs for record in self.log.fetch(tp, task.head.offsets.get(tp.topic, 0), self._chunk)]
        return sorted(found, key=lambda record: record.order)

    def said(self, topic: str) -> list[Record]:
        """Everything that was said on a topic that nobody here reads."""
        self.log.release([topic], LAST)
        return [record for record in self.log.untold if record.topic == topic]

    def changelog(self, task: str) -> list[tuple[bytes | None, bytes | None]]:
        """Keys and values."""
        return [(record.key, record.value) for record in self._changelog(self.tasks[task])]

    def _changelog(self, task: Task) -> list[Record]:
        return self.log.fetch(TopicPartition(*task.changelog), 0, 1 << 30)

    def count(self, name: str) -> int:
        return sum(task.head.counts.get(name, 0) for task in self.tasks.values())

    def rows(self, table: str) -> dict[tuple[int, str], Any]:
        """By partition and key."""
        return rows_of(self.tasks, table)

    def recovered(self, table: str) -> dict[tuple[int, str], Any]:
        """The same, made from the changelogs alone."""
        tasks = self._made()
        for task in tasks.values():
            task.recover(self._changelog(task))
        return rows_of(tasks, table)


def rows_of(tasks: Mapping[str, Task], table: str) -> dict[tuple[int, str], Any]:
    return {
        (task.partition, key): row
        for task in tasks.values()
        for number, agent in enumerate(task.group.agents)
        if agent.table.name == table
        for key, row, _parked in task.rows.all(number)
    }
