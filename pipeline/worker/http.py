"""A worker's own small web server: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever runs the worker."""

import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from pipeline.metrics import Metrics
from pipeline.problem import Problem
from pipeline.worker.app import Worker
from pipeline.worker.lag import LagWatch

LOG = logging.getLogger("orderflow.http")


class Health:
    """How a worker is, and why it is not ready."""

    def __init__(self, worker: Worker, lag: LagWatch) -> None:
        self._worker, self._lag = worker, lag
        self.started = False
        """All tables were recovered once."""
        self._draining = False

    def drain(self) -> None:
        """From now on what is being decided is committed, and nothing more is read."""
        self._draining = True

    def failures(self) -> list[str]:
        """Why it must be started again; that its event loop turns, it shows by answering."""
        failed = self._worker.failed
        return [f"the worker cannot go on: {type(failed.exception()).__name__}"] if failed.done() else []

    def reasons(self) -> list[str]:
        """Why it is not ready."""
        reasons = self.failures()
        if self._draining:
            reasons.append("draining")
        recovering = {task.name: left for task in self._worker.assigned if (left := self._worker.remaining(task))}
        reasons += [f"{name}: {left} records of its changelog are to be read" for name, left in recovering.items()]
        if not self.started and not recovering:
            reasons.append("the tables are not recovered yet")
        if self._lag.trouble is not None:
            reasons.append(self._lag.trouble)
        return reasons


def application(metrics: Metrics, health: Health) -> web.Application:
    async def told(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", told),
            web.get("/healthz", _answer(health.failures, "alive")),
            web.get("/readyz", _answer(health.reasons, "ready")),
        ]
    )
    return app


def _answer(reasons: Callable[[], list[str]], good: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        found = reasons()
        return web.json_response({good: not found, "reasons": found}, status=503 if found else 200)

    return answer


@asynccontextmanager
async def served(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve until the block ends; port 0 is any free one. Gives the port. Raises Problem where it cannot be had."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            why = "is used by another process" if error.errno == errno.EADDRINUSE else f"cannot be served: {error.strerror or error}"
            raise Problem(f"{host}:{port} {why}.", "Set another ORDERFLOW_HTTP_PORT (0: any free one) or ORDERFLOW_HTTP_HOST.") from None
        bound = int(runner.addresses[0][1])
        LOG.warning("metrics and health: http://%s:%d", host, bound)
        yield bound
    finally:
        await runner.cleanup()
