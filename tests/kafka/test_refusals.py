"""What keeps a worker from running is said at once, with the remedy and exit 2; and no secret is told to anybody."""

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.log.record import TopicPartition
from pipeline.problem import Problem
from tests.kafka.brokers import HOST, Brokers
from tests.kafka.certificates import Certificates
from tests.kafka.conftest import USERS
from tests.kafka.driver import Stage, Watch, run, until
from tests.kafka.histories import phases

Names = Callable[[str], str]
PASSWORD = USERS["alice"]
WRONG = "guessed-wrongly"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
PAYMENTS = "payment.events"


@pytest.fixture(autouse=True)
def logging_stays() -> Iterator[None]:
    """Commands configure it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def orderflow(brokers: Brokers, fresh_names: Names, tmp_path: Path) -> Callable[..., Result]:
    """Runs a command as a member of a group of its own, with these settings; a secret that was given is never in what it prints."""
    group = fresh_names("app")

    def invoke(*arguments: str, listener: str = "PLAINTEXT", **settings: object) -> Result:
        given = {"broker": f"kafka://{brokers.listener(listener)}", "group": group, "data_dir": tmp_path / "data"} | settings
        told = CliRunner().invoke(app, arguments, env={f"ORDERFLOW_{name.upper()}": str(value) for name, value in given.items()})
        assert not any(secret in told.output for secret in (PASSWORD, WRONG))
        return told

    return invoke


def refused(told: Result, *words: str) -> None:
    """Exit 2, what is wrong in one line, what to do in another, and no traceback."""
    assert told.exit_code == 2, told.output
    lines = told.stderr.splitlines()
    assert any(line.startswith("orderflow: ") for line in lines)
    assert "Traceback" not in told.output
    for word in words:
        assert word in told.stderr


# --- Brokers, and who we are to them. --------------------------------------------------------------------------------


def test_no_broker_there(orderflow: Callable[..., Result]) -> None:
    """The address is named."""
    with socket.socket() as silent:
        silent.bind((HOST, 0))  # and does not listen
        address = f"{HOST}:{silent.getsockname()[1]}"
        refused(orderflow("worker", broker=f"kafka://{address}"), address, "ORDERFLOW_BROKER")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password(mechanism: str, orderflow: Callable[..., Result]) -> None:
    """It is not shown, and neither is the right one."""
    told = orderflow("worker", listener="SASL", kafka_sasl=mechanism, kafka_user="alice", kafka_password=WRONG)
    refused(told, "uthentication", "ORDERFLOW_KAFKA_")


def test_nobody_named_to_log_in_as(orderflow: Callable[..., Result]) -> None:
    """Half of the settings is none."""
    refused(orderflow("worker", listener="SASL", kafka_sasl="PLAIN"), "ORDERFLOW_KAFKA_USER", "ORDERFLOW_KAFKA_PASSWORD")


def test_an_authority_that_did_not_sign(orderflow: Callable[..., Result], tmp_path: Path) -> None:
    """Who trusts another authority does not talk to these brokers."""
    other = Certificates(tmp_path / "other")
    refused(orderflow("worker", listener="TLS", kafka_tls="true", kafka_ca=other.authority), "certificate is not trusted")


def test_a_file_that_holds_no_certificate(orderflow: Callable[..., Result], tmp_path: Path) -> None:
    """The file is named, with its variable."""
    (tmp_path / "empty.pem").write_text("")
    refused(orderflow("worker", listener="TLS", kafka_tls="true", kafka_ca=tmp_path / "empty.pem"), "ORDERFLOW_KAFKA_CA", "empty.pem")


def test_no_certificate_where_one_is_asked_for(orderflow: Callable[..., Result], brokers: Brokers) -> None:
    """To trust the broker is not enough there."""
    refused(orderflow("worker", listener="MTLS", kafka_tls="true", kafka_ca=brokers.certificates.authority), "No broker lets us in")


def test_plaintext_to_a_port_that_wants_tls(orderflow: Callable[..., Result]) -> None:
    """And the other way round."""
    refused(orderflow("worker", listener="TLS"), "No broker lets us in", "ORDERFLOW_KAFKA_")
    refused(orderflow("worker", listener="PLAINTEXT", kafka_tls="true"), "No broker lets us in", "ORDERFLOW_KAFKA_")


WELCOME: tuple[tuple[str, dict[str, str]], ...] = (
    ("PLAINTEXT", {}),
    *(("SASL", {"kafka_sasl": mechanism}) for mechanism in MECHANISMS),
    ("SASL_TLS", {"kafka_sasl": "SCRAM-SHA-512"}),
    ("TLS", {}),
    ("MTLS", {}),
)


@pytest.mark.parametrize(("listener", "how"), WELCOME)
def test_a_worker_gets_in(listener: str, how: dict[str, str], brokers: Brokers, fresh_names: Names, tmp_path: Path) -> None:
    """By each way there is: it joins, reads, and commits."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    given: dict[str, object] = {"broker": f"kafka://{brokers.listener(listener)}", **how}
    if how:
        given |= {"kafka_user": "alice", "kafka_password": PASSWORD}
    if listener.endswith("TLS"):
        given |= {"kafka_tls": True, "kafka_ca": brokers.certificates.authority}
    if listener == "MTLS":
        given |= {"kafka_certificate": brokers.certificates.client}

    async def act(stage: Stage, watch: Watch) -> None:
        async with stage.worker(tmp_path / "worker") as working:
            await watch.until(lambda: watch.done, working)

    run(brokers, fresh_names("app"), act, phases(6)[0], **given)


# --- Topics. ---------------------------------------------------------------------------------------------------------


def test_topics_are_made_compared_and_listed(orderflow: Callable[..., Result], brokers: Brokers, fresh_names: Names) -> None:
    """A worker refuses to run without them; `create` makes what is missing, once; `check` finds what is not as it must be."""
    asyncio.run(Stage(brokers.bootstrap, fresh_names("nobody")).clear())
    listed = json.loads(orderflow("topics", "list", "--json").stdout)
    refused(orderflow("worker"), "missing", "orderflow topics create")
    told = orderflow("topics", "check", "--json")
    assert told.exit_code == 1
    assert {each["topic"] for each in json.loads(told.stdout)} == listed.keys()
    assert sorted(json.loads(orderflow("topics", "create", "--json").stdout)["created"]) == sorted(listed)
    assert json.loads(orderflow("topics", "create", "--json").stdout)["created"] == []
    assert orderflow("topics", "check").exit_code == 0
    asyncio.run(_grow(brokers))
    told = orderflow("topics", "check")
    assert (told.exit_code, told.stdout.strip()) == (1, f"{PAYMENTS}: partitions 4, must be 3")
    refused(orderflow("worker"), f"{PAYMENTS}: partitions 4, must be 3")


async def _grow(brokers: Brokers) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers.bootstrap)
    await admin.start()
    try:
        await admin.create_partitions({PAYMENTS: NewPartitions(4)})

        async def told() -> bool:
            (found,) = await admin.describe_topics([PAYMENTS])
            return len(found["partitions"]) == 4

        await until(told, "partitions are not made")
    finally:
        await admin.close()


# --- Records that are gone. ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_records_deleted_before_they_were_read(
    policy: str, brokers: Brokers, fresh_names: Names, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`stop` ends and says what is gone and what can be done; `skip` says it and goes on behind the hole."""

    async def act(stage: Stage, watch: Watch) -> None:
        created, paid, _, refunded, _ = phases()
        async with stage.worker(tmp_path / "worker") as working:
            for phase in (created, paid):
                await stage.write(phase)
                await watch.until(lambda: watch.done, working)
        await stage.write(refunded)
        stage.written -= await _deleted(brokers, watch.ends[TopicPartition(PAYMENTS, 0)])
        if policy == "stop":
            with pytest.raises(Problem, match="were deleted before they were read") as problem:
                async with stage.worker(tmp_path / "worker"):
                    pass
            assert "ORDERFLOW_LOST_RECORDS=skip" in problem.value.remedy
            return
        async with stage.worker(tmp_path / "worker", lost_records="skip") as working:
            await watch.until(lambda: watch.taken == stage.written, working)
        assert "were deleted before they were read; going on without them" in caplog.text

    run(brokers, fresh_names("app"), act)


async def _deleted(brokers: Brokers, read: int) -> int:
    """Two records of the first partition that nobody has read, and all before them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers.bootstrap)
    await admin.start()
    try:
        await admin.delete_records({KafkaPartition(PAYMENTS, 0): RecordsToDelete(before_offset=read + 2)})
    finally:
        await admin.close()
    return 2
