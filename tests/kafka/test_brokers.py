"""The brokers that other tests rely on do what a Kafka cluster does, and leave nothing behind."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaConnectionError

from pipeline.log.kafka import Kafka
from pipeline.log.record import TopicPartition
from pipeline.worker.kafka import KafkaLink
from tests.kafka.brokers import ROOT, Brokers, NotStarted, members
from tests.kafka.certificates import Certificates
from tests.kafka.conftest import USERS

SECONDS = 30


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """A broker that may be killed and paused; a test leaves it running."""
    with Brokers(folder=tmp_path_factory.mktemp("mortal")) as started:
        yield started


@asynccontextmanager
async def running(client: Any) -> AsyncIterator[Any]:
    try:
        await client.start()
        yield client
    finally:
        await client.stop()


async def created(brokers: Brokers, topic: str) -> str:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers.bootstrap)
    try:
        await admin.start()
        await admin.create_topics([NewTopic(topic, 1, brokers.count)])
    finally:
        await admin.close()
    return topic


async def write(address: str, topic: str, value: bytes, **how: Any) -> None:
    async with running(AIOKafkaProducer(bootstrap_servers=address, acks="all", **how)) as producer:
        await producer.send_and_wait(topic, value)


async def read(address: str, topic: str, count: int, **how: Any) -> list[bytes]:
    """The first records of a topic. Raises TimeoutError when there are fewer."""
    async with (
        asyncio.timeout(SECONDS),
        running(AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest", **how)) as consumer,
    ):
        return [(await consumer.getone()).value for _ in range(count)]


def who(brokers: Brokers, listener: str, mechanism: str = "", password: str = USERS["alice"], **context: bool) -> dict[str, Any]:
    """What a client has to say to a listener."""
    sasl, tls = listener.startswith("SASL"), listener.endswith("TLS")
    protocol = ("SASL_" if sasl else "") + ("SSL" if tls else "PLAINTEXT")
    login = {"sasl_mechanism": mechanism, "sasl_plain_username": "alice", "sasl_plain_password": password}
    secret = {"ssl_context": brokers.certificates.context(**context)}
    return {"security_protocol": protocol} | (login if sasl else {}) | (secret if tls else {})


WELCOME = (
    ("PLAINTEXT", ""),
    ("SASL", "PLAIN"),
    ("SASL", "SCRAM-SHA-256"),
    ("SASL", "SCRAM-SHA-512"),
    ("SASL_TLS", "SCRAM-SHA-512"),
    ("TLS", ""),
    ("MTLS", ""),
)


@pytest.mark.parametrize(("listener", "mechanism"), WELCOME)
def test_each_listener_serves_who_has_what_it_asks_for(
    listener: str, mechanism: str, brokers: Brokers, fresh_names: Callable[[str], str]
) -> None:
    """A record that was written through a listener is read through it."""
    how = who(brokers, listener, mechanism, client=listener == "MTLS")
    address = brokers.listener(listener)

    async def there_and_back() -> list[bytes]:
        topic = await created(brokers, fresh_names("orders"))
        await write(address, topic, b"paid", **how)
        return await read(address, topic, 1, **how)

    assert asyncio.run(there_and_back()) == [b"paid"]


def refusal(brokers: Brokers, listener: str, how: dict[str, Any], caplog: pytest.LogCaptureFixture) -> str:
    """The reason, which aiokafka only logs."""
    with pytest.raises(KafkaConnectionError, match="Unable to bootstrap"):
        asyncio.run(write(brokers.listener(listener), "orders", b"paid", **how))
    return caplog.text


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_wrong_password_is_refused(mechanism: str, brokers: Brokers, caplog: pytest.LogCaptureFixture) -> None:
    """A known name alone opens nothing."""
    assert "SaslAuthenticationFailed" in refusal(brokers, "SASL", who(brokers, "SASL", mechanism, "guessed"), caplog)


def test_a_stranger_with_a_certificate_is_no_broker(brokers: Brokers, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A client that trusts another authority does not talk to these brokers."""
    how = who(brokers, "TLS") | {"ssl_context": Certificates(tmp_path).context()}
    assert "CERTIFICATE_VERIFY_FAILED" in refusal(brokers, "TLS", how, caplog)


def test_mutual_tls_wants_the_client_s_certificate(brokers: Brokers, caplog: pytest.LogCaptureFixture) -> None:
    """To trust the server is not enough."""
    assert "closed" in refusal(brokers, "MTLS", who(brokers, "MTLS"), caplog)


def test_only_what_was_committed_is_read(brokers: Brokers, fresh_names: Callable[[str], str]) -> None:
    """A reader of committed records never sees an aborted transaction; one of all records does."""

    async def both() -> tuple[list[bytes], list[bytes]]:
        topic = await created(brokers, fresh_names("orders"))
        async with running(AIOKafkaProducer(bootstrap_servers=brokers.bootstrap, transactional_id=fresh_names("writer"))) as producer:
            for value, fate in ((b"1", "commit"), (b"2", "abort"), (b"3", "commit")):
                await producer.begin_transaction()
                await producer.send_and_wait(topic, value)
                await getattr(producer, f"{fate}_transaction")()
        committed = await read(brokers.bootstrap, topic, 2, isolation_level="read_committed")
        return committed, await read(brokers.bootstrap, topic, 3)

    assert asyncio.run(both()) == ([b"1", b"3"], [b"1", b"2", b"3"])


def test_a_killed_broker_comes_back_with_its_records(mortal: Brokers, fresh_names: Callable[[str], str]) -> None:
    """What was acknowledged before SIGKILL is read after it, at the same address."""
    topic, address = asyncio.run(created(mortal, fresh_names("orders"))), mortal.bootstrap
    asyncio.run(write(address, topic, b"paid"))
    mortal.kill(0)
    with pytest.raises(KafkaConnectionError):
        asyncio.run(write(address, topic, b"lost"))
    mortal.restart(0)
    assert mortal.bootstrap == address
    assert asyncio.run(read(address, topic, 1)) == [b"paid"]


def test_a_paused_broker_is_silent(mortal: Brokers) -> None:
    """It takes connections and answers nobody, until it is resumed."""
    port = int(mortal.bootstrap.rpartition(":")[2])
    mortal.pause(0)
    assert members(port) == set()
    mortal.resume(0)
    deadline = time.monotonic() + SECONDS
    while members(port) != {0}:
        assert time.monotonic() < deadline


def test_two_of_three_carry_on(tmp_path: Path, fresh_names: Callable[[str], str]) -> None:
    """Whichever broker dies, what was acknowledged is read and more is acknowledged; it comes back as a member."""
    with Brokers(3, folder=tmp_path) as three:
        topic = asyncio.run(created(three, fresh_names("orders")))
        asyncio.run(write(three.bootstrap, topic, b"0"))
        three.kill(0)
        asyncio.run(write(three.bootstrap, topic, b"1"))
        assert asyncio.run(read(three.bootstrap, topic, 2)) == [b"0", b"1"]
        three.restart(0)
        assert 0 in members(int(three.bootstrap.rpartition(":")[2]))


def test_brokers_go_with_whoever_started_them(tmp_path: Path) -> None:
    """A test run that is killed can tidy nothing up, and still no broker stays behind."""
    command, here = [sys.executable, "-m", "tests.kafka.brokers"], os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=here, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        port = int(starter.stdout.readline().rpartition(":")[2])
        assert members(port) == {0}
        starter.kill()
    deadline = time.monotonic() + SECONDS
    while members(port):
        assert time.monotonic() < deadline


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The end of its log is in the error, and server properties are taken as they are given."""
    with pytest.raises(NotStarted, match=r"num\.io\.threads"), Brokers(folder=tmp_path, server={"num.io.threads": 0}):
        pass


def test_an_end_is_behind_what_is_not_committed_yet(brokers: Brokers, fresh_names: Callable[[str], str]) -> None:
    """What one writer has committed may lie behind what another one has not: who only asks how far can be read does not learn of it."""
    topic = fresh_names("open")
    tp = TopicPartition(topic, 0)

    async def act() -> tuple[int, int]:
        await created(brokers, topic)
        kafka = Kafka(brokers.bootstrap)
        link = KafkaLink(kafka, topic)
        await link.join(RoundRobinPartitionAssignor)
        try:
            async with running(kafka.writer("first")) as first, running(kafka.writer("second")) as second:
                await first.begin_transaction()
                await first.send_and_wait(topic, b"not yet", partition=0)
                async with second.transaction():
                    await second.send_and_wait(topic, b"committed", partition=0)
                ends = (await link.ends([tp]))[tp], await link.end(tp)
                await first.abort_transaction()
                return ends
        finally:
            await link.close()

    assert asyncio.run(act()) == (0, 3), "two records, and the mark of the second one's end"
