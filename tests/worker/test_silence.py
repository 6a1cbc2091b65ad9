"""Those upstream that say nothing are believed only after the broker was asked."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiokafka.errors import KafkaConnectionError

from pipeline.engine.options import Options
from pipeline.engine.plan import make_plan
from pipeline.engine.task import Task
from pipeline.log.record import TopicPartition
from pipeline.stores.memory import MemoryStore
from pipeline.testing.specs import NOON
from pipeline.worker import silence
from pipeline.worker.silence import Silence
from tests.engine.agents import SLEEPER

PLAN = make_plan([SLEEPER], app="shop")
ALARMS, INTAKE = PLAN.groups
TASK = Task(PLAN, ALARMS, 0, MemoryStore(), Options(gated=True))
INBOX = TopicPartition(ALARMS.inbox, 0)
INPUT = TopicPartition(INTAKE.inputs[0], 0)
UPSTREAM = "intake-1-0"


class Cluster:
    """What the broker would answer."""

    def __init__(self, *, consumed: bool = True, inbox_end: int = 0) -> None:
        self.is_consumed, self.inbox_end = consumed, inbox_end
        self.asked: list[TopicPartition] = []
        self.answers = 0
        self.away = False
        self.silence = Silence(self.consumed, self.end, {UPSTREAM: [INPUT]}, self._answered)
        self.silence.positions[INBOX] = 0

    def _answered(self) -> None:
        self.answers += 1

    async def consumed(self, inputs: Sequence[TopicPartition]) -> bool:
        self.asked += inputs
        if self.away:
            raise KafkaConnectionError
        return self.is_consumed

    async def end(self, tp: TopicPartition) -> int:
        assert tp == INBOX
        return self.inbox_end

    async def ask(self, until: int = NOON) -> None:
        self.silence.ask(TASK, [UPSTREAM], until, urgent=True)
        await asyncio.sleep(silence.SURE_SECONDS + 2 * silence.AGAIN_SECONDS)


def run(act: Callable[[], Awaitable[None]]) -> None:
    async def acting() -> None:
        await act()

    asyncio.run(acting())


def test_nothing_is_believed_unasked() -> None:
    """Not even that it was silent a moment ago."""

    async def act() -> None:
        cluster = Cluster()
        assert cluster.silence.until(TASK, [UPSTREAM]) < 0
        assert not cluster.silence.passed(TASK, [UPSTREAM], 0)

    run(act)


def test_those_who_have_committed_everything_are_believed() -> None:
    """Up to what had been read when they were asked, and as long as the clock on the wall has gone on since."""

    async def act() -> None:
        cluster = Cluster()
        await cluster.ask()
        assert cluster.asked == [INPUT, INPUT], "twice, because time is to jump"
        assert NOON <= cluster.silence.until(TASK, [UPSTREAM]) <= NOON + silence.TRUST_SECONDS * 1_000
        assert cluster.silence.passed(TASK, [UPSTREAM], NOON)
        assert not cluster.silence.passed(TASK, [UPSTREAM], NOON + 60_000)
        assert cluster.answers == 1

    run(act)


def test_those_who_have_something_to_read_are_not() -> None:
    """However long they have said nothing. Whoever needs to know is told that he may ask again."""

    async def act() -> None:
        cluster = Cluster(consumed=False)
        await cluster.ask()
        assert cluster.silence.until(TASK, [UPSTREAM]) < 0
        assert cluster.answers == 1

    run(act)


def test_what_they_said_is_read_first() -> None:
    """It may be in the inbox already, and not here yet."""

    async def act() -> None:
        cluster = Cluster(inbox_end=5)
        await cluster.ask()
        assert cluster.silence.until(TASK, [UPSTREAM]) < 0
        cluster.silence.positions[INBOX] = 5
        await asyncio.sleep(10 * silence.LOOK_SECONDS)
        assert cluster.silence.until(TASK, [UPSTREAM]) >= NOON

    run(act)


def test_a_broker_that_is_away_is_no_answer() -> None:
    """And no failure either."""

    async def act() -> None:
        cluster = Cluster()
        cluster.away = True
        await cluster.ask()
        assert cluster.silence.until(TASK, [UPSTREAM]) < 0
        assert cluster.answers == 1

    run(act)


def test_a_new_assignment_forgets_all_answers() -> None:
    """Much may have come while nobody looked."""

    async def act() -> None:
        cluster = Cluster()
        await cluster.ask()
        cluster.silence.forget()
        assert cluster.silence.until(TASK, [UPSTREAM]) < 0

    run(act)


def test_who_was_not_asked_is_not_believed() -> None:
    """An answer is about those that it was asked of: another one may have said something, and be silent again."""

    async def act() -> None:
        cluster = Cluster()
        await cluster.ask()
        assert cluster.silence.until(TASK, []) >= NOON
        assert cluster.silence.until(TASK, [UPSTREAM, "intake-1-9"]) < 0
        assert not cluster.silence.passed(TASK, [UPSTREAM, "intake-1-9"], NOON)

    run(act)


def test_time_jumps_only_where_silence_lasts() -> None:
    """What is written at once does not arrive at once: the broker is asked again a moment later."""

    async def act() -> None:
        cluster = Cluster()
        cluster.silence.ask(TASK, [UPSTREAM], NOON, urgent=True)
        await asyncio.sleep(silence.SURE_SECONDS / 2)
        cluster.is_consumed = False
        await asyncio.sleep(silence.SURE_SECONDS)
        assert cluster.silence.until(TASK, [UPSTREAM]) < 0

    run(act)
