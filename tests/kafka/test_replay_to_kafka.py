"""`orderflow replay --to kafka`: files to topics, and workers elsewhere decide what comes of them."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.clock import SteppingClock
from pipeline.log.record import Headers, Record
from pipeline.log.topics import Topics, wanted
from pipeline.replay.kafka import Sending, Sent, send_lines, target
from pipeline.replay.run import How
from schemas.topics import DEAD_LETTERS
from tests.kafka.brokers import ROOT, Brokers
from tests.kafka.driver import Stage, environment, run
from tests.replay import making
from tests.replay.making import happy, read, write

DEMO = ROOT / "samples" / "demo.jsonl"
OWN_TIMES = frozenset({"orderflow-first-failed-at", "orderflow-last-failed-at"})
"""Stream time at its reader, which on Kafka has not seen the other topics."""


async def sent(stage: Stage, lines: list[bytes], **how: Any) -> Sent:
    kafka, places = await target(stage.settings)
    report, problem = await send_lines(lines, kafka, places, Sending(**how))
    assert problem is None
    stage.written += sum(count for topic, count in report.topics.items() if topic in stage.plan.home)
    return report


def orderflow(stage: Stage, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "replay", *map(str, words), "--to", "kafka"]
    return subprocess.run(command, cwd=ROOT, env=environment(stage.given), capture_output=True, text=True, check=False, timeout=60)


def by_line(letters: list[Record]) -> list[tuple[bytes | None, bytes | None, Headers, int]]:
    """What replay in memory says of them too."""
    return sorted(
        (each.key, each.value, tuple(pair for pair in each.headers if pair[0] not in OWN_TIMES), each.timestamp)
        for each in letters
        if each.topic == DEAD_LETTERS.name and dict(each.headers)["__streams.errors.topic"].endswith(b"-unread")
    )


def test_what_comes_of_a_file_is_what_comes_of_it_in_memory(brokers: Brokers, fresh_names: Callable[[str], str], tmp_path: Path) -> None:
    """States, money, and the letters of lines that nobody can read; the same file again is duplicates only, under the same ids."""
    lines = read(ROOT / "samples" / "stories" / "poison.jsonl", ROOT / "samples" / "stories" / "happy-path.jsonl")
    group, heard = fresh_names("shop"), list[Record]()
    expected = making.run(lines, how=How(hears=(heard.append,)), group=group)

    async def act(stage: Stage, watch: Any) -> None:
        report = await sent(stage, lines)
        assert (report.records, report.problems, report.refused) == (len(lines), [], [])
        async with stage.worker(tmp_path / "state") as working:
            await watch.end(working)
            first = (watch.facts, watch.ids, by_line(watch.records))
            counts = watch.counts()
            await sent(stage, lines)
            await watch.end(working)
        statuses = [fact.status for fact in first[0].values()]
        assert {status: statuses.count(status) for status in set(statuses)} == expected.orders
        assert {name: counts[f"input.dead.{name}"] for name in expected.dead_letters} == expected.dead_letters
        assert (watch.facts, watch.ids) == first[:2]
        assert by_line(watch.records) == sorted(first[2] * 2)
        assert first[2] == by_line(heard)
        never_understood = sum(counts[f"input.dead.{reason}"] for reason in report.unreadable)
        assert watch.counts()["input.duplicate"] - counts["input.duplicate"] == stage.written // 2 - never_understood

    run(brokers, group, act, clock_jump_days=30)


def test_the_command_reports_what_it_wrote(brokers: Brokers, fresh_names: Callable[[str], str], tmp_path: Path) -> None:
    """For people and as one JSON document; what is too large for a topic is told with its file and line, and exits 1."""

    async def act(stage: Stage, watch: Any) -> None:
        done = await asyncio.to_thread(orderflow, stage, DEMO, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        report = json.loads(done.stdout)
        assert sum(report["topics"].values()) == report["records"] == len(read(DEMO))
        await watch.look()
        assert len(watch.records) == report["records"]
        large = write(tmp_path / "large.jsonl", [*happy("o-1"), b"x" * 1_000_001])
        done = await asyncio.to_thread(orderflow, stage, DEMO, large)
        assert (done.returncode, done.stderr) == (1, f"orderflow: 1 lines are larger than 1000000 bytes, the first is line 6 of {large}\n")
        assert "order.events" in done.stdout

    run(brokers, fresh_names("shop"), act)


def test_speed_is_that_of_the_events(brokers: Brokers, fresh_names: Callable[[str], str]) -> None:
    """Four seconds of events at twice their speed take two, of which each is waited for."""

    async def act(stage: Stage, watch: Any) -> None:
        clock = SteppingClock()
        report = await sent(stage, happy("o-1"), speed=2.0, clock=clock)
        assert (clock.now(), report.seconds) == (2.0, 2.0)
        await watch.look()
        assert len(watch.records) == 5

    run(brokers, fresh_names("shop"), act)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", "x", "--chunk", "5"], "--out, --chunk: means nothing with --to kafka"),
        (["--data-dir", "x"], "--data-dir: means nothing"),
        (["--services", "standin", "--saga", "choreographed"], "--services, --saga: means nothing"),
        (["gone.jsonl"], "gone.jsonl: No such file or directory; nothing was started."),
    ],
)
def test_what_makes_no_sense_is_refused(brokers: Brokers, fresh_names: Callable[[str], str], words: list[str], told: str) -> None:
    """Exit 2, in two lines, and nothing is written."""

    async def act(stage: Stage, watch: Any) -> None:
        done = await asyncio.to_thread(orderflow, stage, DEMO, *words)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 2)
        assert told in done.stderr
        await watch.look()
        assert watch.records == []

    run(brokers, fresh_names("shop"), act)


def test_topics_and_brokers_that_are_not_there_are_refused(brokers: Brokers, fresh_names: Callable[[str], str]) -> None:
    """As the worker refuses them: exit 2 with the remedy."""

    async def act(stage: Stage, _watch: Any) -> None:
        other = Stage(brokers.bootstrap, fresh_names("other"))
        done = await asyncio.to_thread(orderflow, other, DEMO)
        assert (done.returncode, "topic missing" in done.stderr, "orderflow topics create" in done.stderr) == (2, True, True)
        async with Topics(stage.kafka) as topics:
            assert set(await topics.partitions()) >= wanted(stage.plan).keys()
        nowhere = Stage("127.0.0.1:1", fresh_names("nowhere"))
        done = await asyncio.to_thread(orderflow, nowhere, DEMO)
        assert (done.returncode, "No broker lets us in" in done.stderr) == (2, True)

    run(brokers, fresh_names("shop"), act)
