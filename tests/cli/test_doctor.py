"""The doctor finds each problem, says what to do about it, and leaves what is well alone."""

import asyncio
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.producer import sender
from typer.testing import CliRunner

from agents.orders import saga
from pipeline import doctor
from pipeline.cli import app
from pipeline.composition import claimed
from pipeline.doctor import (
    Group,
    Reading,
    broker_findings,
    constant_findings,
    examine,
    file_findings,
    group_findings,
    settings_findings,
    speed_findings,
    topic_findings,
    version_findings,
)
from pipeline.engine.plan import make_plan
from pipeline.finding import Finding
from pipeline.folders import GIB, folder_findings, held_findings
from pipeline.log.record import TopicPartition
from pipeline.log.topics import Difference
from pipeline.settings import Settings, load, variable_of
from tests.replay.making import happy, write

PLAN = make_plan(saga("orchestrated"), app="shop")
HOLDER = "import sys, time; from pathlib import Path; from pipeline.stores.rocksdb import RocksDBStore; "
HOLDER += "store = RocksDBStore(Path(sys.argv[1]), wal=False); print('open', flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of ours, and a folder without .env."""
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.chdir(tmp_path)


def only(found: Iterator[Finding]) -> Finding:
    """The one finding, which has a remedy."""
    (finding,) = found
    assert finding.remedy
    return finding


# --- settings


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"session_timeout_seconds": 60}, "its transaction is aborted after 30 s"),
        ({"dedup_hours": 1, "lateness_seconds": 3_600}, "a late one that comes twice"),
        ({"kafka_tls": True, "kafka_certificate": "a.pem"}, "belong together"),
        ({"kafka_tls": True, "kafka_key": "a.pem"}, "belong together"),
        ({"kafka_ca": "a.pem"}, "ORDERFLOW_KAFKA_CA: not used without TLS"),
        ({"kafka_user": "alice"}, "nobody logs in"),
        ({"kafka_password": "secret"}, "nobody logs in"),
        ({"broker": "kafka://localhost:1,far:1", "kafka_sasl": "PLAIN", "kafka_user": "alice", "kafka_password": "secret"}, "as it is"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_found(given: dict[str, Any], told: str) -> None:
    """Each by itself is possible. No secret is told."""
    finding = only(settings_findings(load(**given)))
    assert finding.about == "settings"
    assert told in finding.what
    assert "ORDERFLOW_" in finding.remedy
    assert "secret" not in finding.what + finding.remedy


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"session_timeout_seconds": 60, "guarantee": "at_least_once"},
        {"session_timeout_seconds": 60, "transaction_timeout_seconds": 60},
        {"broker": "kafka://127.0.0.1:1", "kafka_sasl": "PLAIN", "kafka_user": "a", "kafka_password": "b"},
        {"broker": "kafka://far:1", "kafka_sasl": "SCRAM-SHA-512", "kafka_user": "a", "kafka_password": "b"},
    ],
)
def test_settings_that_fit_are_left_alone(given: dict[str, Any]) -> None:
    """The defaults first of all."""
    assert list(settings_findings(load(**given))) == []


def test_a_variable_that_sets_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what may have been meant."""
    monkeypatch.setenv("ORDERFLOW_BROKR", "kafka://a:1")
    assert "did you mean ORDERFLOW_BROKER?" in only(settings_findings(load())).what


@pytest.mark.parametrize(("toml", "told"), [(None, "cannot be read"), ("[[rule]", "not TOML"), ('[[rule]]\nid = "a"\n', "rules.toml")])
def test_rules_that_a_worker_would_refuse_are_found(toml: str | None, told: str, tmp_path: Path) -> None:
    """In its words; a broker is looked at all the same."""
    if toml is not None:
        (tmp_path / "rules.toml").write_text(toml)
    found = asyncio.run(examine(load(rules=tmp_path / "rules.toml", broker="kafka://127.0.0.1:1"), Path("state"))).findings
    assert [finding.about for finding in found] == ["rules", "broker"]
    assert told in found[0].what


# --- installation and machine


def test_another_version_of_what_is_pinned_is_found() -> None:
    """Newer or older, there or not; what only needs to be new enough may be newer."""
    required = ["aiokafka==0.14.0", "rocksdict>=0.3.27"]
    assert list(version_findings(required, {"aiokafka": "0.14.0", "rocksdict": "0.3.100"})) == []
    assert "aiokafka is 0.15.0" in only(version_findings(required, {"aiokafka": "0.15.0", "rocksdict": "0.3.27"})).what
    assert "rocksdict is 0.3.9" in only(version_findings(required, {"aiokafka": "0.14.0", "rocksdict": "0.3.9"})).what
    assert only(version_findings(required, {"aiokafka": "0.14.0"})).remedy == "pip install 'rocksdict>=0.3.27'"


def test_a_client_that_does_not_read_our_constant_is_found() -> None:
    """It would be set, and change nothing."""
    assert list(constant_findings(inspect.getsource(sender))) == []
    assert only(constant_findings("return 0.02")).about == "installation"


def test_too_few_open_files_are_found() -> None:
    """Negative means without limit."""
    assert list(file_findings(1_024)) == list(file_findings(-1)) == []
    assert "256 files" in only(file_findings(256)).what


# --- data folder


def test_a_folder_that_can_be_made_is_well(tmp_path: Path) -> None:
    """It is not made by looking; neither is anything in one that is there."""
    assert list(folder_findings(tmp_path / "a" / "b", load(), GIB)) == []
    assert list(folder_findings(tmp_path, load(), GIB)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_found(tmp_path: Path) -> None:
    """Before RocksDB finds it."""
    assert "5 MiB are free" in only(folder_findings(tmp_path, load(), 5 << 20)).what


def test_a_folder_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    """A file in its place, or a disk that takes nothing."""
    (tmp_path / "file").touch()
    assert "cannot be written" in only(folder_findings(tmp_path / "file", load(), GIB)).what
    assert "cannot be written" in only(folder_findings(Path("/proc/orderflow"), load(), GIB)).what


def test_a_folder_of_somebody_else_is_found(tmp_path: Path) -> None:
    """Of another group, or of no orderflow at all."""
    claimed(tmp_path / "state", load(group="other"), by="worker")
    assert "group was other, now orderflow" in only(folder_findings(tmp_path / "state", load(), GIB)).what
    assert list(folder_findings(tmp_path / "state", load(group="other"), GIB)) == []
    assert "not a data folder" in only(folder_findings(tmp_path, load(), GIB)).what


def test_a_folder_that_another_process_holds_is_told(tmp_path: Path) -> None:
    """Being used is no problem; the folders of several processes of one command are looked at one by one."""
    for name in ("0", "1"):
        claimed(tmp_path / name, load(), by="worker")
    holding = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "1" / "state"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holding.stdout is not None
    assert holding.stdout.readline() == "open\n"
    found = asyncio.run(examine(load(), tmp_path))
    holding.communicate()
    assert found.facts["data_folders"] == [str(tmp_path / "0"), str(tmp_path / "1")]
    assert found.findings == []
    assert found.facts["in_use"] == [f"{tmp_path / '1'}: wait for that process to end, or name another folder with --data-dir"]
    assert "in_use" not in asyncio.run(examine(load(), tmp_path)).facts


def test_a_folder_that_is_held_while_no_worker_is_at_work_is_found() -> None:
    """On a broker, where it can be known; a worker at work holds its own."""
    assert "no worker is at work" in only(held_findings([Path("state")], workers=0)).what
    assert list(held_findings([Path("state")], workers=1)) == []


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Of two runs, so that there are tables and more than one of them."""
    file = write(tmp_path / "a.jsonl", happy("o-1"))
    for _ in range(2):
        assert CliRunner().invoke(app, ["replay", str(file), "--data-dir", str(tmp_path / "state")]).exit_code == 0
    return tmp_path / "state"


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("services", ["recorded", "standin"])
def test_the_state_of_a_replay_is_well(state: Path, services: str) -> None:
    """Whatever the settings of that replay were; looking changes none of its files. It is no folder for a worker."""
    before = contents(state)
    for folder in (state, Path("state")):
        assert asyncio.run(examine(load(services=services), folder)).findings == []
    assert contents(state) == before
    assert "kept_by was replay" in only(folder_findings(state, load(broker="kafka://127.0.0.1:1"), GIB)).what


@pytest.mark.parametrize("part", ["log", "state"])
@pytest.mark.parametrize("files", ["*.sst", "MANIFEST-*"])
def test_a_damaged_state_is_found(state: Path, part: str, files: str) -> None:
    """A replay would refuse it; nobody is told of the links by which it was looked at."""
    for path in (state / part).glob(files):
        path.write_bytes(b"\x5a" * path.stat().st_size)
    finding = only(iter(asyncio.run(examine(load(), state)).findings))
    assert f"{state / part}: its state cannot be opened: Corruption" in finding.what
    assert "orderflow-doctor" not in finding.what
    assert "replay the files again" in finding.remedy


# --- broker and topics


def test_a_slow_broker_is_found() -> None:
    """A second is long for letting somebody in."""
    assert list(speed_findings(0.9)) == []
    assert "1.2 s" in only(speed_findings(1.2)).what


LIMITS = {
    "transaction.max.timeout.ms": "30000",
    "group.min.session.timeout.ms": "10000",
    "group.max.session.timeout.ms": "10000",
    "message.max.bytes": "1000000",
}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"transaction_timeout_seconds": 31}, "transaction.max.timeout.ms"),
        ({"session_timeout_seconds": 9}, "group.min.session.timeout.ms"),
        ({"session_timeout_seconds": 11}, "group.max.session.timeout.ms"),
        ({"largest_record_bytes": 1_000_001}, "message.max.bytes"),
    ],
)
def test_limits_of_the_broker_that_we_exceed_are_found(given: dict[str, Any], name: str) -> None:
    """What it does not tell is taken to be right."""
    assert only(broker_findings(load(**given), LIMITS)).what.startswith(f"{name} is {LIMITS[name]}")
    assert list(broker_findings(load(**given), {})) == list(broker_findings(load(), LIMITS)) == []


def test_without_transactions_their_limit_is_none() -> None:
    """At least once has none."""
    assert list(broker_findings(load(transaction_timeout_seconds=31, guarantee="at_least_once"), LIMITS)) == []


def test_every_difference_of_a_topic_is_found() -> None:
    """Missing, cut otherwise, or one that deletes what is not yet read."""
    missing, cut, deleting = topic_findings(
        [
            Difference("order.events", "topic", "there", "missing"),
            Difference("payment.events", "partitions", "3", "6"),
            Difference("user.events", "retention.ms", "-1", "604800000"),
        ]
    )
    assert missing.remedy == "orderflow topics create"
    assert cut.what == "payment.events: partitions is 6, and must be 3."
    assert deleting.remedy == "kafka-configs --alter --topic user.events --add-config retention.ms=-1"


def test_no_broker_and_no_credentials_are_findings() -> None:
    """They are what is wrong, and end nothing."""
    for given, told in (
        ({"broker": "kafka://127.0.0.1:1"}, "No broker lets us in"),
        ({"broker": "kafka://127.0.0.1:1", "kafka_sasl": "PLAIN"}, "nobody is named"),
    ):
        found = asyncio.run(examine(load(**given), Path("state"))).findings
        assert told in only(iter(found)).what


# --- group

INTAKE, ORDERS = TopicPartition("payment.events", 0), TopicPartition("order.events", 0)
WORKING = Group("Stable", {"worker-1": frozenset({INTAKE, ORDERS})})


def looked(*, group: Group = WORKING, moved: tuple[TopicPartition, ...] = (), waiting: tuple[TopicPartition, ...] = ()) -> list[Finding]:
    """A group in which records wait in some partitions, and in some of them it has moved on."""
    before = {tp: Reading(0, 5, 9) for tp in (INTAKE, ORDERS)}
    after = {tp: Reading(0, 6 if tp in moved else 5, 9) for tp in before}
    return list(group_findings(PLAN, group, before, after, frozenset(waiting)))


def test_a_worker_that_does_not_move_on_is_found() -> None:
    """By its name, with the partitions in which records wait; nobody is named where nobody has them."""
    assert "worker-1 does not read on in 1 partitions: order.events/0 (lag 4)" in only(iter(looked(waiting=(ORDERS,)))).what
    assert "Nobody reads on" in only(iter(looked(waiting=(ORDERS,), group=Group("Stable", {"worker-1": frozenset()})))).what


def test_what_moves_or_waits_for_what_moves_is_well() -> None:
    """A task waits for those upstream; the other way round it does not."""
    assert looked() == []
    assert looked(waiting=(ORDERS,), moved=(ORDERS,)) == []
    assert looked(waiting=(ORDERS, INTAKE), moved=(INTAKE,)) == []
    assert "payment.events/0" in only(iter(looked(waiting=(INTAKE,), moved=(ORDERS,)))).what


def test_records_without_a_worker_are_found() -> None:
    """Where nothing waits, nobody is needed."""
    assert looked(group=doctor.NOBODY) == []
    assert (
        "No worker is at work, and records wait in 2 partitions" in only(iter(looked(group=doctor.NOBODY, waiting=(ORDERS, INTAKE)))).what
    )


def test_a_rebalance_is_found() -> None:
    """Nobody moves on while it lasts."""
    assert "PreparingRebalance" in only(iter(looked(group=WORKING._replace(state="PreparingRebalance"), waiting=(ORDERS,)))).what


def test_records_that_were_deleted_before_they_were_read_are_found() -> None:
    """With the setting that goes on without them."""
    readings = {ORDERS: Reading(begin=7, committed=5, end=9)}
    finding = only(group_findings(PLAN, WORKING, readings, {ORDERS: readings[ORDERS]}, frozenset()))
    assert "order.events/0: records 5 to 6 were deleted" in finding.what
    assert "ORDERFLOW_LOST_RECORDS" in finding.remedy


def test_lag_is_counted_from_what_is_left() -> None:
    """Without a commit from the beginning, which may have moved."""
    assert [Reading(3, None, 9).lag, Reading(3, 5, 9).lag, Reading(6, 5, 9).lag, Reading(0, 9, 9).lag] == [6, 4, 3, 0]


# --- the command


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)])


def test_nothing_wrong_exits_0(tmp_path: Path) -> None:
    """For people and as one JSON document."""
    result = run()
    assert (result.exit_code, result.stdout.splitlines()[-1], result.stderr) == (0, "Nothing is wrong.", "")
    document = json.loads(run("--json", "--data-dir", tmp_path / "state").stdout)
    assert (document["findings"], document["facts"]["data_folders"]) == ([], [str(tmp_path / "state")])


def test_something_wrong_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each problem with its remedy."""
    monkeypatch.setenv("ORDERFLOW_KAFKA_USER", "alice")
    result = run()
    assert (result.exit_code, "nobody logs in" in " ".join(result.stdout.split())) == (1, True)
    result = run("--json")
    assert (result.exit_code, len(json.loads(result.stdout)["findings"])) == (1, 1)


def test_a_setting_that_cannot_be_exits_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to look at, then."""
    monkeypatch.setenv("ORDERFLOW_GUARANTEE", "perhaps")
    assert (run().exit_code, run("--nonsense").exit_code) == (2, 2)
