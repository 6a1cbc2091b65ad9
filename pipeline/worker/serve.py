"""The long-running worker: checks what it needs, runs until it is told to stop, and says why where it cannot go on."""

import asyncio
import logging
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.composition import agents, claimed, rules
from pipeline.engine.plan import Plan, make_plan
from pipeline.log.kafka import Kafka
from pipeline.log.record import TopicPartition
from pipeline.log.topics import Topics, wanted
from pipeline.metrics import Metrics
from pipeline.problem import Problem
from pipeline.reach import kafka_of, reach
from pipeline.settings import Settings
from pipeline.stores.rocksdb import RocksDBStore
from pipeline.worker.app import Steps, Worker, no_steps
from pipeline.worker.http import Health, application, served
from pipeline.worker.kafka import KafkaLink
from pipeline.worker.lag import LagWatch

LOG = logging.getLogger("orderflow.worker")

PASSING = ("Too many open files", "Permission denied", "No space left", "Input/output error", "Read-only file system")
"""What says nothing about the state itself."""
FAREWELL_SECONDS = 20.0
"""Supervisors kill after thirty."""
SHOWN = 5
"""Differences of topics, before the rest is only counted."""


async def check_topics(kafka: Kafka, plan: Plan) -> None:
    """Every topic is there and is cut as the plan says. Raises Problem."""
    async with Topics(kafka) as topics:
        found = [each for each in await topics.differences(wanted(plan)) if each.what in {"topic", "partitions"}]
    if found:
        named = "; ".join(f"{each.topic}: {each.what} {each.found}, must be {each.wanted}" for each in found[:SHOWN])
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise Problem(f"The topics are not as they must be: {named}{more}.", "orderflow topics create makes what is missing.")


def opened(folder: Path) -> RocksDBStore:
    """The state in this folder; what cannot be read is thrown away, loudly: the changelog has it all. Raises Problem where it is in use."""
    try:
        return RocksDBStore(folder, wal=False)
    except Exception as error:
        if type(error) is not Exception:  # rocksdict has the bare class for all its own errors
            raise
        why = str(error).splitlines()[0]
        if "lock" in why.replace(str(folder), "").lower():
            raise Problem(f"{folder}: another process is using it.", "Give each worker its own ORDERFLOW_DATA_DIR.") from None
        if any(passing in why for passing in PASSING):
            raise Problem(f"{folder}: cannot be opened: {why}.", "Mend that; what is in the folder is kept.") from None
        LOG.error("%s cannot be opened and is rebuilt from the changelog: %s", folder, why)  # noqa: TRY400  # mended in the next line
        shutil.rmtree(folder)
        return RocksDBStore(folder, wal=False)


async def serve(
    settings: Settings,
    *,
    folder: Path,
    steps: Steps = no_steps,
    ready: Callable[[Worker], None] = lambda _worker: None,
    leash: bool = False,
) -> bool:
    """Run until SIGTERM or SIGINT: what is being decided is committed, and the group is left. Raises Problem, or what ended the worker.

    On a `leash`, until standard input ends. Returns whether it was interrupted.
    """
    kafka = kafka_of(settings)
    plan = make_plan(agents(settings), app=settings.group)
    await reach(kafka)
    await check_topics(kafka, plan)
    claimed(folder, settings, by="worker")
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    heard: list[signal.Signals] = []

    def hear(number: signal.Signals) -> None:
        heard.append(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hear, number)
    if leash:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    async with AsyncExitStack() as stack:
        store = opened(folder / "state")
        stack.callback(store.close)
        link = KafkaLink(
            kafka,
            settings.group,
            exactly_once=settings.guarantee == "exactly_once",
            skip_lost=settings.lost_records == "skip",
            instance=settings.instance,
        )
        worker = Worker(plan, link, store, settings.worker_options(), folder=folder / "faust", steps=steps, standbys=settings.standbys)
        health = await stack.enter_async_context(observed(worker, kafka, settings))
        stack.push_async_callback(stopped, worker)
        stack.callback(health.drain)
        starting = asyncio.create_task(worker.start())
        await _first(starting, stop, worker)
        if not stop.is_set():
            health.started = True
            ready(worker)
            LOG.warning("ready: %d tasks", len(worker.assigned))
            await _first(asyncio.create_task(worker.until(stop)), stop, worker)
        LOG.warning("stopping")
    return signal.SIGINT in heard


async def stopped(worker: Worker) -> None:
    """Commit what is being decided and leave the group; where the broker does not answer, without a farewell: the next one finishes it."""
    try:
        async with asyncio.timeout(FAREWELL_SECONDS):
            await worker.stop()
    except TimeoutError:
        LOG.error("the broker does not answer: stopping without a farewell")  # noqa: TRY400  # that is all there is to say


@asynccontextmanager
async def observed(worker: Worker, kafka: Kafka, settings: Settings) -> AsyncIterator[Health]:
    """Count what the worker does, watch the group's lag, and serve both until the block ends. Raises Problem."""
    worker.observer = metrics = Metrics(worker, rules(settings.rules))
    inputs = [TopicPartition(topic, p) for group in worker.plan.groups for topic in group.inputs for p in range(group.partitions)]
    lag = LagWatch(kafka, settings.group, inputs, metrics.hear_lag)
    health = Health(worker, lag)
    async with served(application(metrics, health), settings.http_host, settings.http_port):
        watching = asyncio.create_task(lag.run())
        try:
            yield health
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


async def _first(work: asyncio.Task[None], stop: asyncio.Event, worker: Worker) -> None:
    """Until it is done, or we are to stop, or the worker has failed, which is raised."""
    stopping = asyncio.create_task(stop.wait())
    waiting: list[asyncio.Future[Any]] = [work, stopping, worker.failed]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if worker.failed.done():
        work.cancel()
        worker.failed.result()
    if work.done():
        work.result()
    else:
        work.cancel()
