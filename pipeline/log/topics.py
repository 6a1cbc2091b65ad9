"""The topics of a plan on Kafka: what there must be, what there is, and how they differ."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple, Self

from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NodeNotReadyError, TopicAlreadyExistsError, for_code

from pipeline.engine.plan import Plan
from pipeline.log.kafka import Kafka
from pipeline.log.record import TopicPartition
from pipeline.problem import Problem

FOREVER = "-1"
ANY_TIME = str((1 << 63) - 1)
HALF_GIB = str(1 << 29)
CREATE_MS = 30_000
REPLICAS = 3
LOOKS, LOOK_SECONDS = 50, 0.2

EVENTS = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": ANY_TIME, "retention.ms": FOREVER}
"""Records carry the time of their event, which may be years ago or a clock's fault away: neither may delete or refuse them."""
CHANGELOG = EVENTS | {
    "cleanup.policy": "compact",
    "segment.bytes": HALF_GIB,
    "delete.retention.ms": str(14 * 86_400_000),
    "min.cleanable.dirty.ratio": "0.3",
}


class Wanted(NamedTuple):
    """A topic that there must be."""

    partitions: int
    config: Mapping[str, str]


class Difference(NamedTuple):
    """What is not as it must be."""

    topic: str
    what: str
    wanted: str
    found: str


def wanted(plan: Plan) -> dict[str, Wanted]:
    """Every topic of a plan, by name."""
    events = {name: Wanted(partitions, EVENTS) for name, partitions in plan.topics.items()}
    return events | {group.changelog: Wanted(group.partitions, CHANGELOG) for group in plan.groups}


class Topics:
    """The topics of one cluster. Use as an async context manager."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._admin = AIOKafkaAdminClient(**kafka.options())

    async def __aenter__(self) -> Self:
        await self._admin.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._admin.close()

    async def partitions(self) -> dict[str, int]:
        """Every topic there is, with its partitions. Raises Problem where the broker that answers knows of no cluster."""
        for _ in range(LOOKS):
            try:
                return {each["topic"]: len(each["partitions"]) for each in await self._admin.describe_topics() if not each["error_code"]}
            except NodeNotReadyError:  # it has just come back, and this client would go on believing it
                await self._admin.close()
                await asyncio.sleep(LOOK_SECONDS)
                self._admin = AIOKafkaAdminClient(**self._kafka.options())
                await self._admin.start()
        raise Problem(f"{self._kafka.servers} answers, but names no brokers.", "Wait until the cluster is up.")

    async def purge(self, read: Mapping[TopicPartition, int]) -> None:
        """Delete what lies before these offsets."""
        await self._admin.delete_records({KafkaPartition(*tp): RecordsToDelete(before_offset=offset) for tp, offset in read.items()})

    async def create(self, topics: Mapping[str, Wanted], *, replicas: int = 0) -> list[str]:
        """Create those that are missing; 0 replicas: three, or as many as there are brokers. Returns their names."""
        there = await self.partitions()
        replicas = replicas or min(REPLICAS, len((await self._admin.describe_cluster())["brokers"]))
        new = [
            NewTopic(name, topic.partitions, replicas, topic_configs=dict(topic.config))
            for name, topic in topics.items()
            if name not in there
        ]
        if not new:
            return []
        answer: Any = await self._admin.create_topics(new, timeout_ms=CREATE_MS)
        for name, code, *why in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                text = next((said for said in why if said), error.__name__)
                raise Problem(f"{name}: the broker does not create it: {text}", "Ask whoever runs the brokers, or create it by hand.")
        return [topic.name for topic in new]

    async def differences(self, topics: Mapping[str, Wanted]) -> list[Difference]:
        """What is missing, cut otherwise, or would delete or refuse records."""
        there = await self.partitions()
        found = [Difference(name, "topic", "there", "missing") for name in topics if name not in there]
        for name, topic in topics.items():
            if name in there and there[name] != topic.partitions:
                found.append(Difference(name, "partitions", str(topic.partitions), str(there[name])))
        present = [name for name in topics if name in there]
        async for name, config in self._configs(present):
            found += [
                Difference(name, key, value, config.get(key, ""))
                for key, value in topics[name].config.items()
                if key in {"cleanup.policy", "retention.ms", "message.timestamp.after.max.ms"} and config.get(key) != value
            ]
        return sorted(found)

    async def _configs(self, names: list[str]) -> AsyncIterator[tuple[str, dict[str, str]]]:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        answers: list[Any] = await self._admin.describe_configs(resources) if names else []
        for answer in answers:
            for _code, _text, _kind, name, entries in answer.resources:
                yield name, {entry[0]: entry[1] for entry in entries}
