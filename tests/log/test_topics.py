"""Topics where the broker that answers has only just come back."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import NodeNotReadyError

from pipeline.log import topics as module
from pipeline.log.kafka import Kafka
from pipeline.log.topics import Topics
from pipeline.problem import Problem


def listed(monkeypatch: pytest.MonkeyPatch, *, empty: int) -> dict[str, int]:
    """As told by a cluster of which the first clients learn nothing."""
    made: list[object] = []

    class Admin:
        def __init__(self, **_options: object) -> None:
            made.append(self)

        async def start(self) -> None:
            """It is believed."""

        async def close(self) -> None:
            """It is believed."""

        async def describe_topics(self) -> list[dict[str, Any]]:
            if len(made) <= empty:
                raise NodeNotReadyError
            return [{"topic": "a", "partitions": [0, 1], "error_code": 0}, {"topic": "b", "partitions": [], "error_code": 3}]

    monkeypatch.setattr(module, "AIOKafkaAdminClient", Admin)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)

    async def ask() -> dict[str, int]:
        async with Topics(Kafka("nowhere:1")) as there:
            return await there.partitions()

    return asyncio.run(ask())


def test_a_client_that_learnt_of_no_broker_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on believing that there is none."""
    assert listed(monkeypatch, empty=2) == {"a": 2}


def test_a_cluster_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some seconds, with a remedy."""
    with pytest.raises(Problem, match="nowhere:1 answers, but names no brokers"):
        listed(monkeypatch, empty=1_000)
