"""The lag of the whole group, as the broker tells it: right for partitions of dead workers too, and for those that nobody has read."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TypeAlias

from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.log.kafka import Kafka
from pipeline.log.record import TopicPartition

LOG = logging.getLogger("orderflow.lag")

EVERY_SECONDS = 5.0
"""Between two looks, and as long may one of them take."""
RETRY_SECONDS = 1.0

Lags: TypeAlias = Mapping[TopicPartition, int]


class LagWatch:
    """Asks every few seconds for what the group has not committed yet. Runs until it is cancelled."""

    def __init__(
        self, kafka: Kafka, group: str, inputs: Iterable[TopicPartition], tell: Callable[[Lags], None], every: float = EVERY_SECONDS
    ) -> None:
        self._kafka, self._group, self._tell, self._every = kafka, group, tell, every
        self._inputs = [KafkaPartition(*tp) for tp in inputs]
        self.trouble: str | None = "the broker has not been asked yet"
        """Why there is no answer now."""

    async def run(self) -> None:
        while True:
            try:
                await self._ask()
            except Exception as error:  # noqa: BLE001  # whatever it is: it ends no worker, and is tried again
                why = f"the broker does not answer: {type(error).__name__}"
                if self.trouble != why:
                    LOG.warning("lag: %s", why)
                self.trouble = why
                self._tell({})  # what was true some time ago would look as if nothing had happened
                await asyncio.sleep(min(RETRY_SECONDS, self._every))

    async def _ask(self) -> None:
        """Until something fails; then with new connections."""
        admin, reader = AIOKafkaAdminClient(**self._kafka.options()), self._kafka.reader()
        try:
            async with asyncio.timeout(self._every):
                await asyncio.gather(admin.start(), reader.start())
            while True:
                async with asyncio.timeout(self._every):
                    committed, begins, ends = await asyncio.gather(
                        admin.list_consumer_group_offsets(self._group),
                        reader.beginning_offsets(self._inputs),
                        reader.end_offsets(self._inputs),
                    )
                read = {tp: at.offset for tp, at in committed.items() if at.offset >= 0}
                self._tell({TopicPartition(*tp): max(0, ends[tp] - read.get(tp, begins[tp])) for tp in self._inputs})
                self.trouble = None
                await asyncio.sleep(self._every)
        finally:
            with suppress(KafkaError, OSError):
                await asyncio.gather(admin.close(), reader.stop())
