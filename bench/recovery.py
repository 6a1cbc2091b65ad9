"""How long it takes until work goes on: with an empty folder, with its own, and when another worker takes over."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from time import monotonic

from aiokafka import AIOKafkaProducer

from bench.measure import LOOK_SECONDS, STUCK_SECONDS, Group, Look, Process, Rig, Row, Say, Tables
from bench.payments import Spending, spending
from bench.saga import environment, plan
from pipeline.clock import wall_ms
from pipeline.problem import Problem

RATE = 200
"""Orders a second, while tasks are handed over."""
CALM_SECONDS = 3.0
ORDERS = "order.events"
READY = b"ready"
ORDER = (
    '{"event_id":"created-%d","event_type":"OrderCreated","aggregate_id":"%s","aggregate_type":"Order","event_version":2,'
    '"timestamp":"%s","metadata":{"correlation_id":"%s"},"payload":{"order_id":"%s","customer_id":"c-1","items":[{"sku":"SKU001","quantity":1}],'
    '"total":"24.90","currency":"USD"}}'
)


async def run(rows: int, session_seconds: int, say: Say) -> Tables:
    async with Rig(say) as rig:
        say(f"writing {rows:,} payments of different orders")
        work = await spending(rig)
        await work.feed(work.payments.of(order) for order in range(rows))
        say("working them off")
        async with Group(rig, work.plan) as group:
            await group.work(lambda: [work.start()])
            await group.workers[0].end()
            recovered = [await _started(work, group, rows, folder, say) for folder in ("kept", "empty")]
        return {"recovery": recovered, "hand-over": await _hand_over(rig, session_seconds, say)}


async def _started(work: Spending, group: Group, rows: int, folder: str, say: Say) -> Row:
    """A start, until all tables are there. In the changelog is besides what was remembered of event ids and windows."""
    say(f"starting, the folder is {folder}")
    if folder == "empty":
        shutil.rmtree(work.folder())
    process = work.start()
    await group.joined()
    joined = monotonic() - process.began
    ready = await process.said(READY)
    await process.end()
    return {
        "folder": folder,
        "order rows": rows,
        "ready after start s": round(ready, 2),
        "ready after joining s": round(ready - joined, 2),
        "rows/s": round(rows / (ready - joined)) if folder == "empty" else None,
    }


async def _hand_over(rig: Rig, session_seconds: int, say: Say) -> list[Row]:
    """Two workers with each other's standbys; one is asked to end, comes back, and then the other one is killed."""
    app = await rig.fresh()
    where = environment(rig, app, standbys=1, session_timeout_seconds=session_seconds)
    await rig.create(plan(app))

    def worker(number: int) -> Process:
        return rig.start("pipeline", "worker", "--data-dir", str(rig.folder / f"{app}-{number}"), environment=where)

    async with Group(rig, plan(app)) as group, _load(rig):
        say("two workers under light load")
        members = [worker(0), worker(1)]
        found: list[Row] = []
        for number, how in enumerate((signal.SIGTERM, signal.SIGKILL)):
            for member in members:
                await member.said(READY)
            await _calm(group, await group.look())
            say(f"{how.name} to one of them")
            before = await group.look()
            ending = asyncio.create_task(members[number].end(how))
            found.append({"signal": how.name, **await _calm(group, before, ending), "session time-out s": session_seconds})
            members[number] = worker(number)
        for member in members:
            await member.end()
    return found


async def _calm(group: Group, before: Look, ending: asyncio.Task[None] | None = None) -> Row:
    """Until each partition that is written to moves and keeps up: how long the one stood still that waited longest, and when it went on.

    What is committed before `ending` is done does not count: the last words of a worker are no taking over.
    """
    loaded = [tp for tp in group.inputs if tp.topic == ORDERS]
    moved = dict.fromkeys(loaded, before.at)
    stood, again, calm, last = 0.0, before.at, before.at, before
    while last.at < calm + CALM_SECONDS:
        await asyncio.sleep(LOOK_SECONDS)
        look = await group.look()
        if look.at > before.at + STUCK_SECONDS:
            raise Problem(f"No calm within {STUCK_SECONDS} s, and {look.lag} records are to be read.", "Is the machine busy otherwise?")
        for tp in loaded:
            if look.committed[tp] > last.committed[tp]:
                if look.at - moved[tp] > stood:
                    stood, again = look.at - moved[tp], look.at
                moved[tp] = look.at
        if look.lag > RATE or min(moved.values()) < look.at - CALM_SECONDS or (ending and not ending.done()):
            calm = look.at
        last = look
    return {"stood still s": round(stood, 2), "on again after s": round(again - before.at, 2)}


@asynccontextmanager
async def _load(rig: Rig) -> AsyncIterator[None]:
    """New orders, evenly, until the block ends."""
    producer = rig.kafka.writer()
    await producer.start()
    feeding = asyncio.create_task(_feed(producer))
    try:
        yield
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding
        await producer.stop()


async def _feed(producer: AIOKafkaProducer) -> None:
    began = monotonic()
    for number in count():
        await asyncio.sleep(max(0.0, began + number / RATE - monotonic()))
        now = wall_ms()
        at = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds")
        order = f"o-{number}"
        value = ORDER % (number, order, at, order, order)
        await producer.send(ORDERS, value.encode(), order.encode(), timestamp_ms=now)
