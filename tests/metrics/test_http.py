"""Health, readiness and metrics over HTTP, of a worker over the log in this process."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest
from aiohttp import ClientSession

from agents.orders import saga
from pipeline.embedded import Embedded
from pipeline.engine.options import Options
from pipeline.log.kafka import Kafka
from pipeline.metrics import Metrics
from pipeline.problem import Problem
from pipeline.worker.app import Worker
from pipeline.worker.http import Health, application, served
from pipeline.worker.lag import LagWatch

HOST = "127.0.0.1"


def serving(act: Callable[[Worker, Health, LagWatch, Callable[[str], Awaitable[tuple[int, Any]]]], Awaitable[None]]) -> None:
    """`act` on a worker that is served, with a way to ask for a page."""

    async def running() -> None:
        async with Embedded(saga("orchestrated"), Options(), folder=None) as pipeline, ClientSession() as session:
            worker = pipeline.worker
            assert worker
            lag = LagWatch(Kafka("nowhere:1"), "orders", [], lambda _lag: None)
            health = Health(worker, lag)
            async with served(application(Metrics(worker), health), HOST, 0) as port:

                async def ask(page: str) -> tuple[int, Any]:
                    async with session.get(f"http://{HOST}:{port}{page}") as told:
                        json = told.content_type == "application/json"
                        return told.status, await told.json() if json else await told.text()

                await act(worker, health, lag, ask)

    asyncio.run(running())


def test_a_worker_is_ready_when_nothing_is_in_its_way() -> None:
    """Each reason is told; it is alive all the while."""

    async def act(worker: Worker, health: Health, lag: LagWatch, ask: Callable[[str], Awaitable[tuple[int, Any]]]) -> None:
        status, told = await ask("/readyz")
        assert status == 503
        assert told["ready"] is False
        assert told["reasons"] == ["the tables are not recovered yet", "the broker has not been asked yet"]
        health.started, lag.trouble = True, None
        assert await ask("/readyz") == (200, {"ready": True, "reasons": []})
        task = worker.assigned[0]
        worker._level.discard(task)  # noqa: SLF001  # as after an assignment
        worker._ends[task.changelog] = 100  # noqa: SLF001  # as after an assignment
        assert (await ask("/readyz"))[1]["reasons"] == [f"{task.name}: 100 records of its changelog are to be read"]
        worker._level.add(task)  # noqa: SLF001  # as after a recovery
        health.drain()
        assert await ask("/readyz") == (503, {"ready": False, "reasons": ["draining"]})
        assert await ask("/healthz") == (200, {"alive": True, "reasons": []})

    serving(act)


def test_a_worker_that_has_failed_is_not_alive() -> None:
    """Nor ready; what failed is named, and nothing that it said, which may hold what nobody should read."""

    async def act(worker: Worker, _health: Health, _lag: LagWatch, ask: Callable[[str], Awaitable[tuple[int, Any]]]) -> None:
        worker.fail(ValueError("4111 1111 1111 1111"))
        status, told = await ask("/healthz")
        assert status == 503
        assert told == {"alive": False, "reasons": ["the worker cannot go on: ValueError"]}
        assert "the worker cannot go on: ValueError" in (await ask("/readyz"))[1]["reasons"]
        assert worker.failed.exception()

    serving(act)


def test_metrics_are_served_as_prometheus_reads_them() -> None:
    """And nothing else is."""

    async def act(_worker: Worker, _health: Health, _lag: LagWatch, ask: Callable[[str], Awaitable[tuple[int, Any]]]) -> None:
        status, told = await ask("/metrics")
        assert status == 200
        assert "# TYPE events_consumed_total counter\n" in told
        assert "\nrebalances_total 1.0\n" in told
        assert (await ask("/"))[0] == 404

    serving(act)


def test_a_port_in_use_is_told_with_a_remedy() -> None:
    """Before anything else was begun."""

    async def act(worker: Worker, health: Health, _lag: LagWatch, _ask: Callable[[str], Awaitable[tuple[int, Any]]]) -> None:
        with closing(socket.socket()) as held:
            held.bind((HOST, 0))
            held.listen()
            port = held.getsockname()[1]
            with pytest.raises(Problem, match=f"{HOST}:{port} is used by another process") as refused:
                async with served(application(Metrics(worker), health), HOST, port):
                    pass
            assert "ORDERFLOW_HTTP_PORT" in refused.value.remedy

    serving(act)
