"""The worker on a broker comes to what the pipeline in this process comes to; alone and with others, under each guarantee."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.replay.generate import generate
from pipeline.settings import Settings
from tests.engine.histories import stories
from tests.kafka.brokers import Brokers
from tests.kafka.driver import JUMP_DAYS, SECONDS, TASKS, Stage, Watch, facts, run, same
from tests.kafka.histories import Expected, expected, phases, rounds

Names = Callable[[str], str]
ALL = tuple(each for phase in phases() for each in phase)
SMALL = 16
"""Records per chunk: a phase is many of them."""
LONG_SECONDS = 120
"""Of a session: whoever only falls silent is not given up while a test runs."""


@pytest.mark.parametrize("saga", ["orchestrated", "choreographed"])
def test_a_shop_ends_as_it_does_in_this_process(saga: str, brokers: Brokers, fresh_names: Names, tmp_path: Path) -> None:
    """Every outcome, dead letter, row and event id; where nothing races, there is one result."""
    settings = Settings(clock_jump_days=JUMP_DAYS, saga="choreographed" if saga == "choreographed" else "orchestrated")

    async def act(stage: Stage, watch: Watch) -> None:
        async with stage.worker(tmp_path / "worker") as working:
            await watch.play(phases(), working)
        same(watch, expected_shop)

    expected_shop = expected(ALL, settings)
    run(brokers, fresh_names("app"), act, saga=saga)


def test_the_stories_end_as_they_do_in_this_process(brokers: Brokers, fresh_names: Names, tmp_path: Path) -> None:
    """Ends, money and accounting of every sample story, where each fact comes when all before it have been heard."""

    async def act(stage: Stage, watch: Watch) -> None:
        async with stage.worker(tmp_path / "worker") as working:
            for some in rounds(stories()):
                await stage.write(some)
                await watch.until(lambda: watch.done and working.idle, working)
            await watch.end(working)
        assert watch.facts == facts(told.rows)
        assert watch.outcomes == told.outcomes
        assert watch.letters == told.letters

    told = expected(stories(), Settings(clock_jump_days=JUMP_DAYS))
    run(brokers, fresh_names("app"), act)


def test_at_least_once_comes_to_the_same(brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """Undisturbed, nothing is said twice either; the offsets are the group's own."""

    async def act(stage: Stage, watch: Watch) -> None:
        async with stage.worker(tmp_path / "worker") as working:
            await watch.play(phases(), working)
        same(watch, shop)

    run(brokers, fresh_names("app"), act, guarantee="at_least_once", chunk_records=SMALL)


def test_two_workers_share_the_work(brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """One joins while the other works, and leaves again: each task is one's, and what comes of it is the same."""

    async def act(stage: Stage, watch: Watch) -> None:
        first, second, third, *rest = phases()
        async with stage.worker(tmp_path / "one") as one:
            await stage.write(first)
            async with stage.worker(tmp_path / "two") as two:
                await watch.until(lambda: watch.done, one, two)
                await stage.write(second)
                await watch.until(lambda: watch.done, one, two)
                names = [{task.name for task in each.worker.assigned} for each in (one, two)]
                assert all(names)
                assert not names[0] & names[1]
                assert len(names[0] | names[1]) == TASKS
                await stage.write(third)
            await watch.play(rest, one)
        same(watch, shop)

    run(brokers, fresh_names("app"), act, chunk_records=SMALL)


def test_sigterm_commits_and_leaves(brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """Exit 0; another worker takes over long before the session ends, and the state that is left lacks nothing."""

    async def act(stage: Stage, watch: Watch) -> None:
        first, *rest = phases()
        with stage.process(tmp_path / "process", session_seconds=LONG_SECONDS) as process:
            await stage.write(first)
            await watch.until(lambda: watch.taken > 0)
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
        async with stage.worker(tmp_path / "process") as working:
            await watch.play(rest, working)
        same(watch, shop)

    run(brokers, fresh_names("app"), act, chunk_records=SMALL)


def test_a_named_worker_comes_back_without_a_rebalance(brokers: Brokers, fresh_names: Names, tmp_path: Path) -> None:
    """The others do not even notice; what it had is its own again."""

    async def act(stage: Stage, watch: Watch) -> None:
        async with stage.worker(tmp_path / "a", instance="a") as one:
            async with stage.worker(tmp_path / "b", instance="b") as two:
                await watch.until(lambda: len(one.worker.assigned) + len(two.worker.assigned) == TASKS and two.idle, one, two)
                had = {task.name for task in two.worker.assigned}
            generation = one.worker.app.consumer_generation_id
            async with stage.worker(tmp_path / "b", instance="b") as two:
                await stage.write(phases()[0])
                await watch.end(one, two)
                assert {task.name for task in two.worker.assigned} == had
            assert one.worker.app.consumer_generation_id == generation

    run(brokers, fresh_names("app"), act, session_timeout_seconds=LONG_SECONDS)


@pytest.mark.parametrize("damage", ["empty", "broken", "foreign"])
def test_a_state_that_is_no_good_is_rebuilt(
    damage: str, brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected, caplog: pytest.LogCaptureFixture
) -> None:
    """From the changelog, whole; and the log says why, unless there simply was nothing."""

    async def worked(stage: Stage, watch: Watch, some: Sequence[Sequence[bytes]]) -> None:
        async with stage.worker(tmp_path / "worker") as working:
            await watch.play(some, working)
            held = {
                key
                for task in working.worker.assigned
                for number, agent in enumerate(task.group.agents)
                for key, *_ in task.rows.all(number)
                if agent.watches is None
            }
            assert held == watch.rows().keys()

    async def act(stage: Stage, watch: Watch) -> None:
        state = tmp_path / "worker" / "state"
        first, *rest = phases()
        if damage == "foreign":
            await stage.write(RUN_BEFORE)
            await worked(stage, watch, [])
            await stage.create()
            stage.written = 0
            async with stage.watch() as anew:
                await worked(stage, anew, phases())
                same(anew, shop)
            return
        await worked(stage, watch, [first])
        for file in state.iterdir():
            if damage == "empty" or file.name.startswith("MANIFEST"):
                file.unlink()
        await worked(stage, watch, rest)
        same(watch, shop)

    run(brokers, fresh_names("app"), act)
    assert ("rebuilt from" in caplog.text) == (damage != "empty")


RUN_BEFORE = phases(6)[0]


@pytest.mark.parametrize("when", ["idle", "away", "half-way"])
def test_days_that_come_at_once_end_as_if_they_had_come_slowly(when: str, brokers: Brokers, fresh_names: Names, tmp_path: Path) -> None:
    """To workers that had nothing to do, or were away, after nothing or after the first half: no deadline passes that was met in time."""
    lines = list(generate(150, 7))
    first = len(lines) // 2 if when == "half-way" else 0

    async def act(stage: Stage, watch: Watch) -> None:
        async with stage.worker(tmp_path / "worker") as working:
            await stage.write(lines[:first])
            await watch.until(lambda: watch.done and working.idle, working)
            if when == "idle":
                await stage.write(lines)
                await watch.end(working)
        if when != "idle":
            await stage.write(lines[first:])
            async with stage.worker(tmp_path / "worker") as again:
                await watch.end(again)
        assert facts(watch.rows()) == facts(told.rows)

    told = expected(lines, Settings(clock_jump_days=JUMP_DAYS))
    run(brokers, fresh_names("app"), act)
