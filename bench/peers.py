"""The peer kit's workload on ours and on other engines, in one go on one broker: throughput, then latency at a fixed rate.

PEERS_KIT names the kit. It is copied first: nothing is written into it. PEERS_PYTHON is a Python with its requirements, PEERS_WORK a folder
for states and logs; without them both are made, in the folder that goes at the end.
"""

import asyncio
import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench.measure import Rig, Row, Say, Tables
from tests.kafka.brokers import ROOT

OURS = "orderflow"
THROUGHPUT = ((OURS, "eos"), ("kstreams", "eos"), ("flink", "eos"), ("faust", "alos"))
"""Faust's entry says things twice under exactly once, and is slow: it has its own number of events."""
PACED = tuple(product((OURS, "kstreams", "flink"), ("eos", "alos")))


class Size(NamedTuple):
    """How much is measured."""

    events: int
    faust_events: int
    seconds: int
    repeat: int


class Kit:
    """A copy of the kit, and an interpreter for it."""

    def __init__(self, rig: Rig, kit: Path) -> None:
        self.rig = rig
        self.folder = rig.folder / "kit"
        shutil.copytree(kit, self.folder, ignore=shutil.ignore_patterns("results", ".work"))
        for path in (self.folder, *self.folder.rglob("*")):
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
        self._work = Path(os.environ.get("PEERS_WORK", rig.folder / "peers"))
        self._python = os.environ.get("PEERS_PYTHON", "")
        engines = rig.folder / "engines.json"
        engines.write_text((ROOT / "bench" / "engines.json").read_text().replace("{python}", sys.executable))
        self._environment = {
            "KAFKA_BOOTSTRAP": rig.kafka.servers,
            "PEERS_ENGINES": str(engines),
            "PEERS_WORK": str(self._work),
            "PYTHONPATH": str(ROOT),
        }

    async def prepare(self, sizes: Sequence[int]) -> None:
        """Build what is built, and write the input."""
        if not self._python:
            self.rig.say("installing what the kit requires")
            venv = self.rig.folder / "venv"
            self._python = str(venv / "bin" / "python")
            await self._command(sys.executable, "-m", "venv", str(venv))
            await self._command(self._python, "-m", "pip", "install", "--quiet", "-r", "requirements.txt")
        self.rig.say("building (Maven)")
        await self.run("build")
        for size in sorted(set(sizes)):
            self.rig.say(f"writing {size:,} payments")
            await self.run("generate", "-n", str(size))

    async def run(self, *command: str) -> None:
        await self._command(self._python, "run.py", *command)

    async def _command(self, *words: str) -> None:
        process = self.rig.launch(words, self.folder, {**self._environment, "PEERS_PYTHON": self._python})
        try:
            if await asyncio.to_thread(process.popen.wait):
                process.check()
        finally:
            process.kill()

    def results(self) -> list[dict[str, Any]]:
        file = self.folder / "results" / "runs.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]


async def run(folder: Path, size: Size, say: Say) -> Tables:
    async with Rig(say) as rig:
        kit = Kit(rig, folder)
        await kit.prepare([size.events, size.faust_events])
        for engine, guarantee in THROUGHPUT:
            events = size.faust_events if engine == "faust" else size.events
            say(f"{engine}, {guarantee}: {events:,} payments")
            await kit.run("run", engine, "--dedup", "--guarantee", guarantee, "--repeat", str(size.repeat), "-n", str(events))
        for engine, guarantee in PACED:
            say(f"{engine}, {guarantee}: 2,000 a second for {size.seconds} s")
            pace = ("--repeat", str(size.repeat), "--seconds", str(size.seconds))
            await kit.run("paced", engine, "--dedup", "--guarantee", guarantee, *pace)
        found = kit.results()
    return {"peers": throughput(found), "peers, latency at 2,000 a second": latency(found)}


def throughput(found: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Medians. A ratio above 1 is in our favour."""
    rows: list[Row] = []
    for engine, guarantee in THROUGHPUT:
        runs = [each for each in found if (each["kind"], each["engine"], each["guarantee"]) == ("throughput", engine, guarantee)]
        good = [each for each in runs if "error" not in each]
        rows.append(
            {
                "engine": engine,
                "guarantee": guarantee,
                "payments": runs[0]["n"],
                "events/s": middle(good, "events_s"),
                "CPU s per million": middle(good, "cpu_s_per_m"),
                "peak RSS MB": middle(good, "rss_mb"),
                "correct": " ".join(sorted({correct(each) for each in runs})),
            }
        )
    for row in rows:
        row["ours, events/s"] = ratio(rows[0]["events/s"], row["events/s"])
        row["ours, CPU"] = ratio(row["CPU s per million"], rows[0]["CPU s per million"])
    return rows


def latency(found: Sequence[Mapping[str, Any]]) -> list[Row]:
    rows: list[Row] = []
    for engine, guarantee in PACED:
        runs = [each for each in found if (each["kind"], each["engine"], each["guarantee"]) == ("paced", engine, guarantee)]
        good = [each for each in runs if "p50_ms" in each]
        columns = {
            "p50 ms": "p50_ms",
            "p99 ms": "p99_ms",
            "max ms": "max_ms",
            "CPU share": "cpu_share",
            "peak RSS MB": "rss_mb",
            "lost": "missing",
        }
        rows.append({"engine": engine, "guarantee": guarantee, **{name: middle(good, key) for name, key in columns.items()}})
    ours = {row["guarantee"]: row["p99 ms"] for row in rows if row["engine"] == OURS}
    for row in rows:
        row["ours, p99"] = ratio(row["p99 ms"], ours[row["guarantee"]])
    return rows


def middle(runs: Sequence[Mapping[str, Any]], key: str) -> float | None:
    return median(each[key] for each in runs) if runs else None


def ratio(more: float | None, less: float | None) -> float | None:
    return round(more / less, 2) if more and less else None


def correct(run: Mapping[str, Any]) -> str:
    """As the kit has it: the same alerts, none twice; the values that raised them may differ where order differs."""
    if "error" in run:
        return str(run["error"])
    check = run["check"]
    if check["repeated"] or not check["same_pairs"]:
        return "no"
    return "yes" if check["same_trigger"] else "alerts"
