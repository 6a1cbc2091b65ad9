"""`python -m bench`: each section that needs a broker measures what it says, however little there is to measure."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from bench.__main__ import app
from bench.measure import cpu_seconds, memory_kib, tree
from bench.peers import latency, throughput
from tests.kafka.brokers import ROOT

SECONDS = 60


def measured(*arguments: str) -> dict[str, list[dict[str, Any]]]:
    """The one line of JSON on standard output."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, list[dict[str, Any]]] = json.loads(result.stdout)
    assert all(rows and len({tuple(row) for row in rows}) == 1 for rows in found.values())
    return found


def test_whatever_was_started_ends_with_a_bench_that_is_told_to(tmp_path: Path) -> None:
    """At SIGTERM, also where an interrupt is ignored: exit 130, and neither processes nor folders are left."""
    command = ["/bin/sh", "-c", 'trap "" INT; exec "$0" -m bench growth --keys 1000000', sys.executable]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with (tmp_path.parent / "bench.log").open("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + SECONDS
            while "growing to" not in Path(log.name).read_text():
                assert process.poll() is None, Path(log.name).read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            all_of_them = tree(process.pid)
            process.terminate()
            assert process.wait(SECONDS) == 130
        finally:
            process.kill()
    assert len(all_of_them) > 2
    assert not any(memory_kib(pid, "VmRSS") for pid in all_of_them)
    assert not list(tmp_path.iterdir())


def test_the_saga_is_measured() -> None:
    """Every event between the first commit and the last one, under the guarantee that was asked for, by one worker and by two."""
    found = measured("saga", "--orders", "1500", "--guarantee", "exactly_once")["saga"]
    assert [(row["guarantee"], row["processes"]) for row in found] == [("exactly_once", 1), ("exactly_once", 2)]
    for row in found:
        assert 0 < row["events"] < 1500 * 7
        assert row["events/s"] > 0
        assert row["CPU s per million"] > 0
    assert found[1]["peak RSS MiB"] > found[0]["peak RSS MiB"]


def test_recovery_and_hand_over_are_measured() -> None:
    """A state is there again after each start; one that is killed is missed for no less than its session."""
    found = measured("recovery", "--rows", "5000", "--session", "2")
    assert [row["folder"] for row in found["recovery"]] == ["kept", "empty"]
    assert all(0 < row["ready after joining s"] < row["ready after start s"] for row in found["recovery"])
    asked, killed = found["hand-over"]
    assert (asked["signal"], killed["signal"]) == ("SIGTERM", "SIGKILL")
    assert killed["stood still s"] > 1


def test_growth_is_measured() -> None:
    """Each size, number of agents and number of processes has its row, and nothing is measured twice.

    What takes no longer than one look has no first commit to be measured from; eight agents take longer.
    """
    found = measured("growth", "--keys", "500", "--agents", "8", "--events", "12000")
    assert [row["orders in the table"] for row in found["growth by rows"]] == [500]
    assert [row["agents that hear it"] for row in found["growth by agents"]] == [8]
    assert [row["processes"] for row in found["growth by processes"]] == [1, 2]
    assert all(0 <= row["events"] <= 12000 for rows in found.values() for row in rows)
    assert found["growth by agents"][0]["events"] > 0


def test_a_steady_rate_is_measured_and_drawn(tmp_path: Path) -> None:
    """A sample in each interval, a verdict, and a line for each of memory, lag and rate."""
    picture = tmp_path / "new" / "steady.svg"
    found = measured("steady", "--rate", "300", "--minutes", "0.1", "--every", "0.5", "--picture", str(picture))
    assert len(found["steady samples"]) > 3
    assert all(sample["rss_mib"] > 0 for sample in found["steady samples"])
    assert found["steady"][0]["memory"] in {"flat", "grows"}
    assert picture.read_text().count("<polyline") == 3


def test_this_process_is_seen_from_outside() -> None:
    """CPU time and memory are those that /proc tells; of a process that is gone there are none."""
    assert os.getpid() in tree(os.getpid())
    assert cpu_seconds(os.getpid()) > 0
    assert memory_kib(os.getpid(), "VmHWM") >= memory_kib(os.getpid(), "VmRSS") > 0
    assert (cpu_seconds(0), memory_kib(0, "VmRSS")) == (0.0, 0)


def test_ratios_are_ours_to_theirs() -> None:
    """More events a second, less CPU time and less latency are ratios above 1; wrong alerts are told; who failed has no figures."""

    def run(engine: str, guarantee: str, **figures: object) -> dict[str, object]:
        check = {"repeated": 0, "same_pairs": True, "same_trigger": True}
        return {"kind": "throughput", "engine": engine, "guarantee": guarantee, "n": 10, "rss_mb": 100, "check": check, **figures}

    def paced(engine: str, guarantee: str, p99_ms: float) -> dict[str, object]:
        figures = dict.fromkeys(("p50_ms", "max_ms", "cpu_share", "rss_mb", "missing"), 1)
        return {"kind": "paced", "engine": engine, "guarantee": guarantee, "p99_ms": p99_ms, **figures}

    ours, kstreams, flink, faust = throughput(
        [
            run("orderflow", "eos", events_s=100, cpu_s_per_m=10),
            run("kstreams", "eos", events_s=50, cpu_s_per_m=40, check={"repeated": 1, "same_pairs": True, "same_trigger": True}),
            run("flink", "eos", error="timeout"),
            run("faust", "alos", events_s=1, cpu_s_per_m=500),
        ]
    )
    assert (ours["correct"], kstreams["correct"], flink["correct"], faust["correct"]) == ("yes", "no", "timeout", "yes")
    assert (kstreams["ours, events/s"], kstreams["ours, CPU"]) == (2.0, 4.0)
    assert (flink["events/s"], flink["ours, events/s"]) == (None, None)
    milliseconds = {"orderflow": 40, "kstreams": 80, "flink": 80}
    rows = latency([paced(engine, how, p99) for engine, p99 in milliseconds.items() for how in ("eos", "alos")])
    assert [row["ours, p99"] for row in rows] == [1.0, 1.0, 2.0, 2.0, 2.0, 2.0]
