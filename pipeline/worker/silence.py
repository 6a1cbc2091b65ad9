"""Whether those upstream that say nothing have nothing to say.

A task that has nothing to read says so, and is not waited for. That is true until something comes for it, and that may be here sooner than
what it will say of it: after an outage, or where a day's events come at once, deadlines would pass that were met in time. So it is
believed only as far as the broker was asked, after all that was read by then: everything there is for those upstream is committed,
and what they said has been read here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from aiokafka.errors import KafkaError

from pipeline.engine.task import Task
from pipeline.log.record import TopicPartition
from schemas.message import Instant

ASK_SECONDS = 0.5
"""Between two questions, where nothing waits for the answer."""
AGAIN_SECONDS = 0.05
TRUST_SECONDS = 5.0
"""For so long after an answer time may go on as on the wall. Events that come as they happen are not held up by questions, then."""
SURE_SECONDS = 0.25
"""Where time is to jump further than that, silence must last so long: what is written at once does not arrive at once."""
LOOK_SECONDS = 0.005
ROUNDING_MS = 10

Consumed = Callable[[Sequence[TopicPartition]], Awaitable[bool]]
End = Callable[[TopicPartition], Awaitable[int]]


class _Answer(NamedTuple):
    silent: frozenset[str]
    until: Instant
    at: float


class Silence:
    """Of those upstream of each task of this worker."""

    def __init__(self, consumed: Consumed, end: End, inputs: Mapping[str, Sequence[TopicPartition]], answered: Callable[[], None]) -> None:
        """`consumed`: the group has committed all there is; `end` of a partition; `inputs` of each task; `answered` is told of answers."""
        self._consumed, self._end, self._inputs, self._answered = consumed, end, inputs, answered
        self._answers: dict[str, _Answer] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self.positions: dict[TopicPartition, int] = {}
        """To which all inputs of this worker are read."""

    def until(self, task: Task, silent: Collection[str]) -> Instant:
        """Nothing earlier is to come from these; whoever was not asked about, or spoke since, is not believed."""
        answer = self._answer(task, silent)
        return -1 if answer is None else answer.until + round(min(monotonic() - answer.at, TRUST_SECONDS) * 1_000)

    def passed(self, task: Task, silent: Collection[str], until: Instant) -> bool:
        """Nothing earlier is to come from these, as of just now."""
        return self.fresh(task, silent) and until <= self.until(task, silent) + ROUNDING_MS

    def fresh(self, task: Task, silent: Collection[str]) -> bool:
        """The last answer is of just now."""
        answer = self._answer(task, silent)
        return answer is not None and monotonic() < answer.at + 2 * ASK_SECONDS

    def _answer(self, task: Task, silent: Collection[str]) -> _Answer | None:
        answer = self._answers.get(task.name)
        return answer if answer is not None and answer.silent.issuperset(silent) else None

    def ask(self, task: Task, silent: Sequence[str], until: Instant, *, urgent: bool) -> None:
        """Whether these have nothing that is earlier than `until`, which has been read."""
        if task.name not in self._asking and (urgent or not self.fresh(task, silent)):
            asking = self._asking[task.name] = asyncio.create_task(self._ask(task, silent, until))
            asking.add_done_callback(lambda _done: self._done(task, asking))

    async def _ask(self, task: Task, silent: Sequence[str], until: Instant) -> None:
        inbox, at = task.inbox, monotonic()
        try:
            inputs = [tp for name in silent for tp in self._inputs[name]]
            sure = await self._consumed(inputs)
            if sure and until > self.until(task, silent) + TRUST_SECONDS * 1_000:
                await asyncio.sleep(SURE_SECONDS)
                sure = await self._consumed(inputs)
            if sure:
                end = await self._end(inbox)
                while self.positions.get(inbox, -1) < end:  # noqa: ASYNC110  # the reader says nothing where it found nothing
                    await asyncio.sleep(LOOK_SECONDS)
                self._answers[task.name] = _Answer(frozenset(silent), until, at)
                return
        except KafkaError:
            """The broker is away: whoever needs the answer asks again."""
        await asyncio.sleep(AGAIN_SECONDS)

    def _done(self, task: Task, asking: asyncio.Task[None]) -> None:
        if self._asking.get(task.name) is asking:
            del self._asking[task.name]
            self._answered()

    def forget(self) -> None:
        """The group has changed."""
        for asking in self._asking.values():
            asking.cancel()
        self._asking, self._answers, self.positions = {}, {}, {}
