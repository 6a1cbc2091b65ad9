"""What a worker on a real broker tells, as a real Prometheus reads it; and the group's lag, whoever is alive."""

import asyncio
import gzip
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from pipeline.log.kafka import Kafka
from pipeline.log.record import TopicPartition
from pipeline.problem import Problem
from pipeline.worker.lag import LagWatch
from tests.grafana.dashboards import FRAUD, ROOT, queries
from tests.grafana.tools import needed
from tests.kafka.brokers import HOST, Brokers
from tests.kafka.driver import SECONDS, Stage, Watch, run
from tests.metrics.test_metrics import IN_POUNDS

WAVE = 2_500
POLL_SECONDS = 0.2
MARKERS = 8
"""Behind the last record of a partition there may be the marker of each task that writes to it."""


def free_port() -> int:
    with closing(socket.socket()) as held:
        held.bind((HOST, 0))
        port: int = held.getsockname()[1]
        return port


def waves() -> Iterator[list[bytes]]:
    """Two of orders, so that each counter is seen to grow; then a story of fraud, and a payment that is sent a month late."""
    with gzip.open(ROOT / "samples" / "orders-20k.jsonl.gz") as file:
        lines = [line for line, _ in zip(file, range(2 * WAVE), strict=False)]
    story = (ROOT / "samples" / "stories" / "fraud-rules.jsonl").read_bytes().splitlines()
    yield lines[:WAVE]
    yield lines[WAVE:]
    yield story
    late = story[0].replace(b'"fr-1"', b'"fr-late"').replace(b"2025-10-29", b"2025-09-29")
    yield [b'{"topic":"payment.events","value":%b,"timestamp":"2025-10-29T10:15:00Z"}' % late]


async def until(fulfilled: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(2 * SECONDS):
        while True:
            if await fulfilled():
                return
            await asyncio.sleep(POLL_SECONDS)


class Prometheus:
    """One that asks one worker every second, with our alerts."""

    def __init__(self, port: int, session: ClientSession) -> None:
        self._url, self._session = f"http://{HOST}:{port}/api/v1", session

    async def _get(self, path: str, **parameters: str) -> Any:
        async with self._session.get(f"{self._url}/{path}", params=parameters) as answer:
            told = await answer.json()
            assert told["status"] == "success", told
            return told["data"]

    async def answers(self) -> bool:
        try:
            await self._get("query", query="up")
        except (OSError, ClientError):  # not there yet, or not ready
            return False
        return True

    async def values(self, query: str) -> list[float]:
        """Numbers only: a quantile of nothing is none."""
        query = query.replace("$__rate_interval", "2m").replace("$__range", "15m")
        found = [float(each["value"][1]) for each in (await self._get("query", query=query))["result"]]
        return [value for value in found if value == value]  # noqa: PLR0124  # NaN is no number, not even itself

    async def says(self, query: str, value: float) -> bool:
        return await self.values(query) == [value]

    async def alerts(self) -> list[str]:
        """The left-hand side of each comparison of each alert."""
        groups = (await self._get("rules"))["groups"]
        parts = [part for group in groups for rule in group["rules"] for part in rule["query"].split(" and ")]
        return [re.split(r" (?:>|==) ", part)[0] for part in parts]

    async def until_all_give(self, wanted: list[str]) -> None:
        missing = list(wanted)

        async def none_is_missing() -> bool:
            missing[:] = [query for query in missing if not await self.values(query)]
            return not missing

        try:
            await until(none_is_missing)
        except TimeoutError:
            pytest.fail("no data: " + "\n".join(missing))


def configured(folder: Path, target: int) -> Path:
    """Our configuration for Prometheus, but for one worker, and asking every second."""
    folder.mkdir()
    text = (ROOT / "grafana" / "prometheus.yml").read_text().replace("15s", "1s").replace("5s", "1s")
    text = text.replace("alerts.yml", str(ROOT / "grafana" / "alerts.yml"))
    file = folder / "prometheus.yml"
    file.write_text(re.sub(r"targets: .*", f'targets: ["{HOST}:{target}"]', text))
    return file


@asynccontextmanager
async def prometheus(folder: Path, target: int) -> AsyncIterator[Prometheus]:
    port = free_port()
    command = [
        needed("prometheus", "prometheus"),
        f"--config.file={configured(folder, target)}",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={HOST}:{port}",
        "--log.level=error",
    ]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        async with ClientSession() as session:
            there = Prometheus(port, session)
            await until(there.answers)
            yield there
    finally:
        process.terminate()
        await process.wait()


def test_every_query_of_every_dashboard_and_alert_gives_data(brokers: Brokers, fresh_names: Any, tmp_path: Path) -> None:
    """Of a worker that reads a sample, asked by a real Prometheus; and nothing about fraud is 0, where there is some."""
    port = free_port()
    rules = tmp_path / "rules.toml"
    rules.write_text((ROOT / "agents" / "fraud" / "default.toml").read_text() + IN_POUNDS)

    async def scenario(stage: Stage, watch: Watch) -> None:
        first, *others = waves()
        async with stage.worker(tmp_path / "state", http_port=port) as working, prometheus(tmp_path / "prometheus", port) as there:
            await stage.write(first)
            await watch.until(lambda: watch.done, working)
            await there.until_all_give(
                ["events_consumed_total", "kafka_consumer_group_lag", "fraud_alerts_total", "saga_duration_seconds_count"]
            )
            for wave in others:
                await stage.write(wave)
                await watch.until(lambda: watch.done, working)
            await there.until_all_give([*queries(), *await there.alerts()])
            await there.until_all_give([f"({query}) > 0" for query in queries(FRAUD)])
            raised = Counter(each.alert.rule for row in watch.rows("alerts").values() for each in row.raised)
            for rule, count in raised.items():
                await until(partial(there.says, f'fraud_alerts_total{{rule="{rule}"}}', count))
            orders = sum(row.created for row in watch.rows().values())
            await until(lambda: there.says("sum(orders)", orders))
            assert await there.values('sum(up{job="orderflow"})') == [1]

    run(brokers, fresh_names("told"), scenario, rules=rules)


async def answer(port: int, page: str) -> tuple[int, Any]:
    async with ClientSession() as session, session.get(f"http://{HOST}:{port}{page}") as told:
        return told.status, await told.json()


def test_a_worker_is_ready_when_it_can_work(brokers: Brokers, fresh_names: Any, tmp_path: Path) -> None:
    """Alive from the start, ready when its tables are recovered and the broker was asked; then the port is free again."""
    port = free_port()

    async def ready() -> bool:
        return (await answer(port, "/readyz"))[0] == 200

    async def scenario(stage: Stage, _watch: Watch) -> None:
        async with stage.worker(tmp_path / "state", http_port=port):
            assert await answer(port, "/healthz") == (200, {"alive": True, "reasons": []})
            await until(ready)
            with pytest.raises(Problem, match="is used by another process"):
                async with stage.worker(tmp_path / "other", http_port=port):
                    pass
        with pytest.raises(OSError, match="Cannot connect"):
            await answer(port, "/healthz")

    run(brokers, fresh_names("ready"), scenario)


def test_lag_is_told_of_a_group_without_workers(brokers: Brokers, fresh_names: Any, tmp_path: Path) -> None:
    """What nobody has read counts from its beginning; what was read leaves no more than markers; what then comes, comes on top."""

    async def scenario(stage: Stage, watch: Watch) -> None:
        lines = next(waves())[:300]
        await stage.write(lines)
        whole = await lag_of(stage)
        assert sum(whole.values()) == len(lines)
        first = TopicPartition("order.events", 0)
        await deleted(stage, first, 2)
        stage.written -= 2
        assert await lag_of(stage) == {**whole, first: whole[first] - 2}
        async with stage.worker(tmp_path / "state") as working:
            await watch.end(working)
        rest = await lag_of(stage)
        assert max(rest.values()) <= MARKERS
        await stage.write(lines)
        assert sum((await lag_of(stage)).values()) == sum(rest.values()) + len(lines)

    run(brokers, fresh_names("lagging"), scenario)


async def deleted(stage: Stage, tp: TopicPartition, count: int) -> None:
    """The first records of a partition, as retention would."""
    admin = AIOKafkaAdminClient(**stage.kafka.options())
    await admin.start()
    try:
        await admin.delete_records({KafkaPartition(*tp): RecordsToDelete(before_offset=count)})
    finally:
        await admin.close()


async def lag_of(stage: Stage) -> Mapping[TopicPartition, int]:
    told: asyncio.Future[Mapping[TopicPartition, int]] = asyncio.get_running_loop().create_future()

    def tell(lag: Mapping[TopicPartition, int]) -> None:
        if lag and not told.done():
            told.set_result(lag)

    inputs = [TopicPartition(topic, p) for group in stage.plan.groups for topic in group.inputs for p in range(group.partitions)]
    watching = asyncio.create_task(LagWatch(stage.kafka, stage.plan.app, inputs, tell).run())
    try:
        async with asyncio.timeout(SECONDS):
            return await told
    finally:
        watching.cancel()
        await asyncio.wait([watching])


def test_a_broker_that_does_not_answer_is_told() -> None:
    """And no lag is, rather than an old one."""

    async def scenario() -> None:
        told: asyncio.Queue[Mapping[TopicPartition, int]] = asyncio.Queue()
        lag = LagWatch(Kafka(f"{HOST}:{free_port()}"), "nobody", [TopicPartition("order.events", 0)], told.put_nowait, every=0.2)
        assert lag.trouble
        watching = asyncio.create_task(lag.run())
        async with asyncio.timeout(SECONDS):
            assert await told.get() == {}
        watching.cancel()
        await asyncio.wait([watching])
        assert "does not answer" in lag.trouble

    asyncio.run(scenario())
