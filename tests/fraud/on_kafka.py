"""The same payments on a broker, with a worker that is killed again and again."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench.measure import Group, Process, Rig
from bench.saga import environment, plan
from pipeline.log.kafka import read_through
from pipeline.whatif import Found
from schemas.topics import FRAUD_ALERTS, LATE

Key = tuple[str, int, int, str]
"""Of an alert: rule, user, start of the window, value."""

LIVES = (3.0, 12.0)
"""Seconds that a worker lives, from being ready."""
QUIET_SECONDS = 8.0
"""Without any lag: nothing will come any more."""
LOOK_SECONDS = 0.5
MARKERS = 100
"""What is behind the last records of all inputs together, and is no record."""


def told_by(value: bytes) -> Found:
    """An alert, as `whatif` would find it."""
    said = json.loads(value)["payload"]
    where = (said["rule"], said["user_id"], said["window_start"], said["currency"])
    return Found(*where, said["action"], said["order_id"], said["value"], 0)


async def alerts(rig: Rig, key: Callable[[Found], Key]) -> Counter[Key]:
    """What a reader of committed records finds, and how often. Raises ValueError where something was too late."""
    found: Counter[Key] = Counter()
    async for record in read_through(rig.kafka, {topic.name: topic.partitions for topic in (FRAUD_ALERTS, LATE)}):
        if record.topic == LATE.name:
            raise ValueError("a payment was too late, and none is")
        found[key(told_by(record.value or b""))] += 1
    return found


async def played(payments: Path, kills: int, seed: int, key: Callable[[Found], Key], say: Callable[[str], None]) -> Counter[Key]:
    """Feed the file to a broker while workers live and die, one after another, and then let one end it."""
    rng = random.Random(seed)
    async with Rig(say) as rig:
        app = await rig.fresh()
        await rig.create(plan(app))
        where = environment(rig, app)
        command = ("pipeline", "worker", "--data-dir", str(rig.folder / app))

        async def live() -> Process:
            worker = rig.start(*command, environment=where)
            await worker.said(b"ready")
            return worker

        feeding = asyncio.create_task(rig.run("pipeline", "replay", str(payments), "--to", "kafka", environment=where))
        for number in range(kills):
            worker = await live()
            await asyncio.sleep(rng.uniform(*LIVES))
            worker.kill()
            say(f"killed {number + 1} of {kills}{', while it was fed' if not feeding.done() else ''}")
        worker = await live()
        await feeding
        async with Group(rig, plan(app)) as group:
            group.workers = [worker]
            quiet = 0.0
            while quiet < QUIET_SECONDS:
                quiet = quiet + LOOK_SECONDS if (await group.look()).lag < MARKERS else 0.0
                await asyncio.sleep(LOOK_SECONDS)
        await worker.end()
        return await alerts(rig, key)
