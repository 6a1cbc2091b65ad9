"""Ours as an entry of the peer kit: runs the workload until SIGTERM, as the kit's environment says."""

import asyncio
import logging
import os
import signal
from dataclasses import replace
from pathlib import Path

import uvloop

from bench.spending import agents, topics
from pipeline.collector import rarely_collect
from pipeline.engine.options import Options
from pipeline.engine.plan import make_plan
from pipeline.log.kafka import Kafka
from pipeline.log.topics import Topics, wanted
from pipeline.stores.rocksdb import RocksDBStore
from pipeline.worker.app import Worker
from pipeline.worker.kafka import KafkaLink

LOG = logging.getLogger("bench.peer")

DAY_MS = 86_400_000


async def main() -> None:
    env = os.environ
    app, folder = env["BENCH_APP_ID"], Path(env["BENCH_STATE_DIR"])
    kafka = Kafka(env.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092"))
    shipped = env.get("BENCH_RULES") == "shipped"
    some = agents(every=env.get("BENCH_EMIT") == "all", count=int(env.get("BENCH_AGENTS", "2")), shipped=shipped)
    plan = make_plan(some, app=app, topics=topics(env["BENCH_INPUT"], env["BENCH_ALERTS"], shipped=shipped))
    options = Options(jump_ms=366 * DAY_MS, gated=True, chunk_records=int(env.get("CHUNK", "2000")))
    if env.get("BENCH_DEDUP") != "1":
        options = replace(options, dedup_ms=0)
    async with Topics(kafka) as there:
        await there.create(wanted(plan))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store = RocksDBStore(folder / "state", wal=False)
    link = KafkaLink(kafka, app, exactly_once=env.get("BENCH_GUARANTEE", "eos") == "eos")
    worker = Worker(plan, link, store, options, folder=folder / "faust")
    await worker.start()
    LOG.warning("ready")
    try:
        await worker.until(stop)
    finally:
        await worker.stop()
        store.close()


if __name__ == "__main__":
    rarely_collect()
    uvloop.run(main())
