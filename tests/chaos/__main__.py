"""`make chaos`: a seeded run under faults, and the verdict. Exit 0: every promise was kept; 1: not; 2: it could not be run."""

import argparse
import asyncio
import json
import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tests.chaos.run import AT_LEAST_ONCE, EXACTLY_ONCE, PLANTS, Felt, How, Result, run
from tests.kafka.brokers import lacking

SHOWN = 5
LONGEST = 400
MOST_TOLD = 100
KINDS = {"kills": "kill", "zombies": "zombie", "broker-kills": "broker", "membership": "membership", "rolls": "roll"}
KINDS |= {"disks": "disk", "wipes": "wipe"}
"""Faults by the option that says how many."""


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Faults on a cluster, and a check of what came of it.")
    parser.add_argument("--seed", type=int, default=How.seed)
    parser.add_argument("--seconds", type=float, default=How.seconds, help=f"new faults for so long (default {How.seconds})")
    for name in KINDS:
        parser.add_argument(f"--{name}", type=int, default=0, help="exactly so many, however long it takes")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=How.brokers)
    parser.add_argument("--workers", type=int, default=How.workers)
    parser.add_argument("--rate", type=float, default=How.rate, help=f"lines per second, at most times (default {How.rate})")
    parser.add_argument(
        "--guarantee",
        choices=(EXACTLY_ONCE, AT_LEAST_ONCE),
        default=EXACTLY_ONCE,
        help="the workers' setting; they are judged by exactly once all the same",
    )
    parser.add_argument("--plant", choices=PLANTS, default="", help="a fault in the workers that must be found")
    parser.add_argument("--keep", type=Path, help="leave brokers' and workers' files and logs in this new folder")
    parser.add_argument("--json", action="store_true", help="one document on standard output")
    return parser.parse_args()


def chosen(options: dict[str, Any]) -> How:
    wanted = {kind: options[option.replace("-", "_")] for option, kind in KINDS.items()}
    return How(**{each.name: options[each.name] for each in fields(How) if each.name != "wanted"}, wanted=wanted)


def by_kind(result: Result) -> dict[str, list[Felt]]:
    found: dict[str, list[Felt]] = defaultdict(list)
    for felt in result.faults:
        found[felt.done.name].append(felt)
    return dict(sorted(found.items()))


def spread(seconds: Sequence[float | None]) -> str:
    known = [each for each in seconds if each is not None]
    never = len(seconds) - len(known)
    return (f"{median(known):.1f} / {max(known):.1f}" if known else "-") + (f", {never} never" if never else "")


def show(result: Result, console: Console) -> None:
    table = Table("fault", "count", "stood still p50/max s", "recovered p50/max s", box=box.SIMPLE)
    for name, felt in by_kind(result).items():
        table.add_row(name, str(len(felt)), spread([each.stood for each in felt]), spread([each.recovered for each in felt]))
    console.print(table)
    if result.deaths:
        console.print("Workers that ended by themselves, and were started again:", highlight=False)
        for words, count in sorted(result.deaths.items()):
            console.print(f"{count:5}  {words}", markup=False, highlight=False)
    console.print(", ".join(f"{count} {name}" for name, count in result.counts.items()), highlight=False)
    rules: dict[str, list[str]] = defaultdict(list)
    for violation in result.violations:
        rules[violation.rule].append(violation.text)
    for rule, texts in rules.items():
        console.print(f"\n{rule}: {len(texts)}", markup=False, highlight=False)
        for text in texts[:SHOWN]:
            console.print(f"  {text[:LONGEST]}", markup=False, highlight=False)
    seed = f"seed {result.how.seed}"
    verdict = f"{len(result.violations)} violations; all that is left of them is in {result.folder}" if rules else "every promise was kept"
    console.print(f"\n{seed}: {verdict}", markup=False, highlight=False)


def document(result: Result) -> str:
    return json.dumps(
        {
            "seed": result.how.seed,
            "session_seconds": result.session_seconds,
            "faults": [
                {
                    "name": felt.done.name,
                    "what": felt.done.detail,
                    "seconds": round(felt.done.healed - felt.done.begun, 1),
                    "stood_seconds": felt.stood,
                    "recovered_seconds": felt.recovered,
                }
                for felt in result.faults
            ],
            "deaths": result.deaths,
            "counts": result.counts,
            "violations": dict(Counter(violation.rule for violation in result.violations)),
            "shown": [violation._asdict() for violation in result.violations[:MOST_TOLD]],
            "folder": str(result.folder) if result.violations or result.how.keep else None,
        }
    )


def main() -> int:
    options = vars(asked())
    if why := lacking():
        sys.stderr.write(f"No broker: {why}.\n")
        return 2
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # whose complaints about dead brokers are no news here
    began = monotonic()
    progress = Console(stderr=True)
    with progress.status("starting") as status:

        def say(text: str) -> None:
            progress.print(f"{monotonic() - began:6.1f} s  {text}", highlight=False)
            status.update(text)

        result = asyncio.run(run(chosen(options), say))
    if options["json"]:
        sys.stdout.write(document(result) + "\n")
    else:
        show(result, Console(soft_wrap=True))
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
