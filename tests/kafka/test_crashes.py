"""A worker may die at any step of any chunk: a reader of committed records finds nothing missing, and nothing twice."""

import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pipeline.embedded import Crash
from pipeline.engine.task import Task
from tests.kafka.brokers import Brokers
from tests.kafka.driver import SECONDS, Stage, Watch, run, same
from tests.kafka.histories import Expected, phases

Names = Callable[[str], str]
STEPS = ("decided", "committed", "stored")
SMALL = 8
"""Records per chunk, so that there are many steps to die at."""


class Dying:
    """Dies when a step is passed for the times named."""

    def __init__(self, step: str, times: Iterable[int]) -> None:
        self._step, self._times = step, set(times)
        self._passed = 0
        self.died = 0

    def __call__(self, step: str, _task: Task) -> None:
        self._passed += step == self._step
        if step == self._step and self._passed in self._times:
            self.died += 1
            raise Crash


async def through(stage: Stage, watch: Watch, folder: Path, dying: Dying) -> None:
    """All phases, by as many workers as it takes."""
    for phase in phases():
        await stage.write(phase)
        while not watch.done:
            async with stage.worker(folder, steps=dying) as working:
                await watch.until(lambda: watch.done or working.serving.done())
    async with stage.worker(folder) as working:
        await watch.end(working)


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_leaves_no_trace(step: str, brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """Wherever between the decision and the store: what is committed, and the tables, are those of an undisturbed run."""
    dying = Dying(step, range(3, 100, 9))

    async def act(stage: Stage, watch: Watch) -> None:
        await through(stage, watch, tmp_path / "worker", dying)
        same(watch, shop)

    run(brokers, fresh_names("app"), act, chunk_records=SMALL)
    assert dying.died >= 3


def test_at_least_once_says_again_what_was_not_acknowledged(brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """Under the same ids, so that readers can tell; rows do not act twice."""
    dying = Dying("committed", range(3, 100, 9))

    async def act(stage: Stage, watch: Watch) -> None:
        await through(stage, watch, tmp_path / "worker", dying)
        assert watch.ids.keys() == shop.ids.keys()
        assert watch.rows() == shop.rows

    run(brokers, fresh_names("app"), act, chunk_records=SMALL, guarantee="at_least_once")
    assert dying.died >= 3


@pytest.mark.parametrize("lost", [False, True], ids=["same-folder", "empty-folder"])
def test_a_killed_process_leaves_no_trace(lost: bool, brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:  # noqa: FBT001  # a parameter
    """SIGKILL while it works, twice; whoever comes next goes on, with what is left of the state or without."""
    folders = [tmp_path / (f"worker-{n}" if lost else "worker") for n in range(2)]

    async def act(stage: Stage, watch: Watch) -> None:
        for phase, folder in zip(phases(), folders, strict=False):
            before = watch.taken
            with stage.process(folder) as process:
                await stage.write(phase)
                await watch.until(lambda before=before: watch.taken > before)  # type: ignore[misc]  # bound in the loop
                process.kill()
                assert process.wait(SECONDS) == -signal.SIGKILL
            async with stage.worker(folder) as working:
                await watch.until(lambda: watch.done, working)
        async with stage.worker(folders[-1]) as working:
            for phase in phases()[len(folders) :]:
                await stage.write(phase)
                await watch.until(lambda: watch.done, working)
            await watch.end(working)
        same(watch, shop)

    run(brokers, fresh_names("app"), act, chunk_records=SMALL)


def test_a_process_is_killed_while_others_work(brokers: Brokers, fresh_names: Names, tmp_path: Path, shop: Expected) -> None:
    """Another member takes its tasks over."""

    async def act(stage: Stage, watch: Watch) -> None:
        first, second, *rest = phases()
        async with stage.worker(tmp_path / "one") as one:
            with stage.process(tmp_path / "two") as two:
                await stage.write(first)
                await watch.until(lambda: watch.done and len(one.worker.assigned) < sum(g.partitions for g in stage.plan.groups), one)
                await stage.write(second)
                two.kill()
            await watch.play(rest, one)
        same(watch, shop)

    run(brokers, fresh_names("app"), act, chunk_records=SMALL)
