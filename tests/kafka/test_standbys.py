"""A second worker keeps the state of the first one's tasks, and takes them over; what is between tasks does not pile up."""

from pathlib import Path

import pytest
from aiokafka import TopicPartition as KafkaPartition

from pipeline.replay.generate import generate
from pipeline.worker import app
from tests.kafka.brokers import Brokers
from tests.kafka.driver import Running, Stage, Watch, run, until

LINES = list(generate(40, 5))
HALF = len(LINES) // 2


async def follows(watch: Watch, *workers: Running) -> None:
    """Until every task has a standby, and that has all that its task has."""

    def level() -> bool:
        running = {task.name: task.head.chunk for each in workers for task in each.worker.assigned}
        standing = {task.name: task.head.chunk for each in workers for task in each.worker.standbys}
        return len(running) == len(watch.tasks) and running == standing

    await watch.until(level, *workers)


def test_a_standby_takes_over_with_nothing_to_recover(brokers: Brokers, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It has followed; when the other one leaves, it reads next to nothing of the changelogs, and goes on."""

    async def act(stage: Stage, watch: Watch) -> None:
        async with stage.worker(tmp_path / "one") as one:
            async with stage.worker(tmp_path / "two") as two:
                await watch.end(one, two)
                await follows(watch, one, two)
                before = {task.name: task.head.changelog_end for task in two.worker.standbys}
            await stage.write(LINES[HALF:])
            await watch.end(one)
            assert len(one.worker.assigned) == len(watch.tasks)
            assert before, "the other one had standbys"
        async with stage.worker(tmp_path / "alone", group=stage.settings.group) as alone:
            await watch.until(lambda: len(alone.worker.assigned) == len(watch.tasks), alone)
            rows = {key: row for task in alone.worker.assigned if task.group.name == "orders" for key, row, _ in task.rows.all(0)}
        assert rows == watch.rows()
        assert not [said for said in caplog.messages if "rebuilt" in said]

    run(brokers, "standby", act, LINES[:HALF], standbys=1)


def test_what_was_read_of_an_inbox_is_deleted(brokers: Brokers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to what is committed and no further; nothing that was fed is."""
    monkeypatch.setattr(app, "PURGE_EVERY_SECONDS", 0.5)

    async def act(stage: Stage, watch: Watch) -> None:
        async with stage.worker(tmp_path / "one") as one:
            await watch.end(one)
            async with stage.watch() as other:
                reader = other._reader  # noqa: SLF001  # nothing else can tell where a partition begins

                async def purged() -> bool:
                    inboxes = {task: KafkaPartition(task.group.inbox, task.partition) for task in one.worker.assigned}
                    begins = await reader.beginning_offsets(list(inboxes.values()))
                    read = {tp: task.head.offsets.get(tp.topic, 0) for task, tp in inboxes.items()}
                    assert any(read.values()), "something was re-keyed"
                    assert all(begins[tp] <= offset for tp, offset in read.items())
                    return dict(begins) == read

                await until(purged, "inboxes are not purged")
                fed = [KafkaPartition(*tp) for task in one.worker.assigned for tp in task.inputs if tp.topic != task.group.inbox]
                assert set((await reader.beginning_offsets(fed)).values()) == {0}

    run(brokers, "purge", act, LINES)
