"""The doctor at a broker: what is well is left alone, what is not is found."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pipeline.doctor import Checkup, examine
from pipeline.log.topics import Topics
from tests.kafka.brokers import Brokers
from tests.kafka.driver import SECONDS, Stage, run
from tests.replay.making import happy

LOOK_SECONDS = 0.5
"""A worker that is stopped does not move, however briefly one looks."""


async def examined(stage: Stage, folder: Path, **settings: Any) -> Checkup:
    return await examine(stage.settings.model_copy(update=settings), folder, look_seconds=LOOK_SECONDS)


def told(checkup: Checkup) -> list[str]:
    return [f"{finding.about}: {finding.what}" for finding in checkup.findings]


def test_the_life_of_a_group_is_told(brokers: Brokers, fresh_names: Callable[[str], str], tmp_path: Path) -> None:
    """No group, no worker, one at work, none left; transactions end with markers, which nobody waits for."""

    async def act(stage: Stage, watch: Any) -> None:
        folder = tmp_path / "state"
        checkup = await examined(stage, folder)
        assert told(checkup) == []
        assert (checkup.facts["group"], checkup.facts["workers"]) == ("Dead", 0)
        await stage.write(happy("o-1"))
        checkup = await examined(stage, folder)
        assert [text.partition(" partitions")[0][:-2] for text in told(checkup)] == ["group: No worker is at work, and records wait in"]
        async with stage.worker(folder) as working:
            await watch.end(working)
            checkup = await examined(stage, folder)
            assert told(checkup) == []
            assert (checkup.facts["group"], checkup.facts["workers"]) == ("Stable", 1)
            assert checkup.facts["lag"]
        assert told(await examined(stage, folder)) == []

    run(brokers, fresh_names("shop"), act)


def test_a_worker_that_stands_still_is_found(brokers: Brokers, fresh_names: Callable[[str], str], tmp_path: Path) -> None:
    """It is a member still, and what waits for it does not get less."""

    async def act(stage: Stage, watch: Any) -> None:
        folder = tmp_path / "state"
        async with stage.worker(folder, session_timeout_seconds=30) as working:
            await watch.until(lambda: True, working)
            working.worker.draining = True
            await stage.write(happy("o-1"))
            (finding,) = (await examined(stage, folder)).findings
            assert "does not read on" in finding.what
            assert "order.events" in finding.what

    run(brokers, fresh_names("shop"), act)


def test_what_is_wrong_with_topics_and_limits_is_found(brokers: Brokers, fresh_names: Callable[[str], str], tmp_path: Path) -> None:
    """The broker says what its limits are; a topic that is cut otherwise is not read."""
    other = fresh_names("other")

    async def act(stage: Stage, _watch: Any) -> None:
        checkup = await examined(stage, tmp_path / "state", transaction_timeout_seconds=901, largest_record_bytes=2_000_000)
        assert [text.partition(" is ")[0] for text in told(checkup)] == ["broker: transaction.max.timeout.ms", "broker: message.max.bytes"]
        async with Topics(stage.kafka) as topics:
            await topics._admin.create_partitions({"payment.events": NewPartitions(4)})  # noqa: SLF001  # the one admin client
            change = ConfigResource(ConfigResourceType.TOPIC, "order.events", {"retention.ms": "60000"})
            await topics._admin.alter_configs([change])  # noqa: SLF001  # as above
        expected = {
            f"topics: {other}-unread: topic is missing, and must be there.",
            "topics: payment.events: partitions is 4, and must be 3.",
            "topics: order.events: retention.ms is 60000, and must be -1.",
        }
        deadline = time.monotonic() + SECONDS
        while not expected <= set(found := told(await examined(stage, tmp_path / "state", group=other))):
            assert time.monotonic() < deadline, found

    run(brokers, fresh_names("shop"), act)
