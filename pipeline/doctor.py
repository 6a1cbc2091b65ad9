"""What is wrong here, and what to do about it: of the settings, this installation, the data folder, the broker, its topics and the group.

Each `…_findings` judges what somebody else has looked up; `examine` looks it up. The clocks of brokers are not compared with ours: no
answer of theirs tells the time, and nothing that is decided here depends on it.
"""

import asyncio
import inspect
import re
import resource
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from aiokafka.producer import sender

from pipeline.clock import stopwatch
from pipeline.composition import agents, rules
from pipeline.engine.plan import Plan, make_plan
from pipeline.finding import Finding
from pipeline.folders import damage_findings, folder_findings, folders_of, held_findings, is_held, nearest_of
from pipeline.log.kafka import Kafka
from pipeline.log.record import TopicPartition
from pipeline.log.topics import Difference, Topics, wanted
from pipeline.problem import Problem
from pipeline.reach import SCHEME, kafka_of, reach
from pipeline.settings import SECOND_MS, Settings, strangers, variable_of

LEAST_FILES = 1_024
"""RocksDB keeps its files open, one for each 64 MiB of state; connections come on top."""
SLOW_SECONDS = 1.0
LOOK_SECONDS = 4.0
"""Between two looks at what the group has committed: a worker that has something to do commits many times in it."""
POLL_MS = 200
SHOWN = 3
"""Partitions that are named, of those that are stuck."""
LOCAL = ("localhost", "127.", "[::1]")
CONSTANT = "BACKOFF_OVERRIDE"
"""Of aiokafka's sender; we set it (pipeline/log/kafka.py), and it must be the one that is read."""


class Checkup(msgspec.Struct):
    """All that was found."""

    findings: list[Finding]
    facts: dict[str, object]
    """What was looked up on the way."""


# --- judging


def settings_findings(settings: Settings) -> Iterator[Finding]:
    """Settings that are possible one by one, and do not fit each other."""

    def found(what: str, remedy: str) -> Finding:
        return Finding("settings", what, remedy)

    if settings.guarantee == "exactly_once" and settings.transaction_timeout_seconds < settings.session_timeout_seconds:
        yield found(
            f"A worker may be silent for {settings.session_timeout_seconds} s, but its transaction is aborted after "
            f"{settings.transaction_timeout_seconds} s: a pause that the group forgives ends the worker.",
            f"Raise {variable_of('transaction_timeout_seconds')}, or lower {variable_of('session_timeout_seconds')}.",
        )
    if settings.dedup_hours * 3_600 <= settings.lateness_seconds:
        yield found(
            f"Event ids are forgotten after {settings.dedup_hours} h, and events may be {settings.lateness_seconds} s late: "
            "a late one that comes twice is applied twice.",
            f"Raise {variable_of('dedup_hours')}.",
        )
    if (settings.kafka_certificate is None) != (settings.kafka_key is None):
        yield found(
            "A certificate and its key belong together, and only one of them is named.",
            f"Set both {variable_of('kafka_certificate')} and {variable_of('kafka_key')}, or neither.",
        )
    if not settings.kafka_tls and (files := [name for name in ("kafka_ca", "kafka_certificate") if getattr(settings, name) is not None]):
        yield found(f"{', '.join(map(variable_of, files))}: not used without TLS.", f"Set {variable_of('kafka_tls')}=true.")
    if settings.kafka_sasl is None and (settings.kafka_user or settings.kafka_password is not None):
        yield found("Somebody is named to log in as, but not how: nobody logs in.", f"Set {variable_of('kafka_sasl')}.")
    hosts = settings.broker.removeprefix(SCHEME).split(",")
    if settings.kafka_sasl == "PLAIN" and not settings.kafka_tls and not all(host.startswith(LOCAL) for host in hosts):
        yield found(
            "The password goes over the network as it is (PLAIN without TLS).",
            f"Set {variable_of('kafka_tls')}=true, or {variable_of('kafka_sasl')}=SCRAM-SHA-512.",
        )
    for text in strangers():
        yield found(text, "Correct its name, or unset it.")


def rules_findings(settings: Settings) -> Iterator[Finding]:
    """A file of fraud rules that a worker and a replay would refuse."""
    try:
        rules(settings.rules)
    except Problem as problem:
        yield Finding("rules", problem.what, problem.remedy)


def version_findings(required: Sequence[str], installed: Mapping[str, str]) -> Iterator[Finding]:
    """Packages that are not as we need them; of some we use what their next version may change."""
    for requirement in required:
        if not (parts := re.match(r"([\w.-]+)(==|>=)([\d.]+)$", requirement)):
            continue
        name, relation, wanted_version = parts.groups()
        is_version = installed.get(name, "none")
        right = is_version == wanted_version if relation == "==" else _numbers(is_version) >= _numbers(wanted_version)
        if not right:
            yield Finding(
                "installation", f"{name} is {is_version}, and must be {relation}{wanted_version}.", f"pip install '{requirement}'"
            )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def constant_findings(source: str) -> Iterator[Finding]:
    """`source` is that of aiokafka's sender."""
    if f"return {CONSTANT}" not in source:
        yield Finding(
            "installation",
            f"This aiokafka does not read {CONSTANT}, which we set: each commit takes longer.",
            "Install the version that orderflow names, unchanged.",
        )


def file_findings(limit: int) -> Iterator[Finding]:
    """`limit` is how many files this process may have open; negative for any number."""
    if 0 <= limit < LEAST_FILES:
        yield Finding(
            "machine",
            f"A process may have {limit} files open, and a worker needs {LEAST_FILES}.",
            f"ulimit -n {LEAST_FILES}, or LimitNOFILE= of its unit.",
        )


def speed_findings(seconds: float) -> Iterator[Finding]:
    """How long the broker took to let us in."""
    if seconds > SLOW_SECONDS:
        yield Finding("broker", f"It took {seconds:.1f} s to be let in.", "Look at the network, name resolution and the broker's load.")


def broker_findings(settings: Settings, config: Mapping[str, str]) -> Iterator[Finding]:
    """Limits of the brokers that our settings exceed. What the broker does not tell is taken to be right."""
    limits = (
        ("transaction.max.timeout.ms", "transaction_timeout_seconds", SECOND_MS, settings.guarantee == "exactly_once"),
        ("group.max.session.timeout.ms", "session_timeout_seconds", SECOND_MS, True),
        ("message.max.bytes", "largest_record_bytes", 1, True),
    )
    for name, setting, unit, concerns in limits:
        ours = getattr(settings, setting) * unit
        if concerns and name in config and ours > int(config[name]):
            yield Finding(
                "broker",
                f"{name} is {config[name]}, but {variable_of(setting)} asks for {ours}.",
                f"Lower {variable_of(setting)}, or raise {name}.",
            )
    name, ours = "group.min.session.timeout.ms", settings.session_timeout_seconds * SECOND_MS
    if name in config and ours < int(config[name]):
        setting = variable_of("session_timeout_seconds")
        yield Finding("broker", f"{name} is {config[name]}, but {setting} asks for {ours}.", f"Raise {setting}.")


def topic_findings(differences: Sequence[Difference]) -> Iterator[Finding]:
    """What of the topics is not as it must be."""
    remedies = {
        "topic": "orderflow topics create",
        "partitions": "Cut it as it must be (a topic with records: into a new one, under another ORDERFLOW_GROUP where it is ours).",
    }
    for topic, what, must, is_ in differences:
        remedy = remedies.get(what, f"kafka-configs --alter --topic {topic} --add-config {what}={must}")
        yield Finding("topics", f"{topic}: {what} is {is_ or 'not set'}, and must be {must}.", remedy)


class Reading(NamedTuple):
    """How far the group is in one partition."""

    begin: int
    committed: int | None
    end: int

    @property
    def lag(self) -> int:
        """Offsets behind the end; the markers of transactions count."""
        return max(0, self.end - max(self.begin, self.committed or 0))


class Group(NamedTuple):
    """The group of workers, as its coordinator knows it."""

    state: str
    members: Mapping[str, frozenset[TopicPartition]]
    """Who is in it, and what each was given to read."""


NOBODY = Group("Dead", {})


def group_findings(
    plan: Plan,
    group: Group,
    before: Mapping[TopicPartition, Reading],
    after: Mapping[TopicPartition, Reading],
    waiting: frozenset[TopicPartition],
) -> Iterator[Finding]:
    """Two looks at what was committed, some seconds apart; `waiting` are the partitions in which a record is behind what was committed."""

    def found(what: str, remedy: str) -> Finding:
        return Finding("group", what, remedy)

    for tp, reading in after.items():
        if reading.committed is not None and reading.committed < reading.begin:
            yield found(
                f"{tp.topic}/{tp.partition}: records {reading.committed} to {reading.begin - 1} were deleted before they were read.",
                f"Bring them back, or go on without them: {variable_of('lost_records')}=skip.",
            )
    if waiting and not group.members:
        yield found(f"No worker is at work, and records wait in {len(waiting)} partitions.", "Start one: orderflow worker.")
    elif group.members and group.state != "Stable":
        yield found(f"Partitions are being given out anew ({group.state}).", "Look again in a minute; then at the logs of the workers.")
    elif group.members:
        moved = frozenset(tp for tp, reading in after.items() if reading.committed != before[tp].committed)
        holders = {tp: member for member, given in group.members.items() for tp in given}
        by_holder: dict[str, list[TopicPartition]] = defaultdict(list)
        for tp in sorted(_stuck(plan, moved, waiting)):
            by_holder[holders.get(tp, "")].append(tp)
        for member, its in by_holder.items():
            named = ", ".join(f"{tp.topic}/{tp.partition} (lag {after[tp].lag:,})" for tp in its[:SHOWN]) + ", …" * bool(its[SHOWN:])
            yield found(
                f"{member or 'Nobody'} {'does not read' if member else 'reads'} on in {len(its)} partitions: {named}.",
                "Look at its log: it may be recovering its tables, or be dead. Ended by force, it is replaced after the session timeout.",
            )


def _stuck(plan: Plan, moved: frozenset[TopicPartition], waiting: frozenset[TopicPartition]) -> Iterator[TopicPartition]:
    """A task reads its inputs in the order of time, and waits for those upstream: it is stuck where nothing of all that moves."""
    moving = {group.name for group in plan.groups if any(tp.topic in group.inputs for tp in moved)}
    for group in plan.groups:
        if any(group in plan.downstream[name] for name in moving):
            continue
        for p in range(group.partitions):
            inputs = {TopicPartition(topic, p) for topic in group.inputs}
            if not inputs & moved:
                yield from inputs & waiting


# --- looking it up


async def examine(settings: Settings, folder: Path, *, look_seconds: float = LOOK_SECONDS) -> Checkup:
    """All findings, of the broker too where one is set."""
    folders = folders_of(folder)
    checkup = _examine_here(settings, folders)
    held = [each for each in folders if is_held(each)]
    if settings.broker.startswith(SCHEME):
        workers = await _examine_broker(settings, checkup, look_seconds)
        checkup.findings += held_findings(held, workers)
    elif held:
        checkup.facts["in_use"] = [f"{each}: wait for that process to end, or name another folder with --data-dir" for each in held]
    return checkup


def _examine_here(settings: Settings, folders: Sequence[Path]) -> Checkup:
    required, limit = _required(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    checkup = Checkup([], {"open_files": limit, "data_folders": [str(folder) for folder in folders]})
    findings = checkup.findings
    findings += settings_findings(settings)
    findings += rules_findings(settings)
    findings += version_findings(required, {name: _installed(name) for name in _names(required)})
    findings += constant_findings(inspect.getsource(sender))
    findings += file_findings(limit)
    for folder in folders:
        findings += folder_findings(folder, settings, shutil.disk_usage(nearest_of(folder)).free)
        if not is_held(folder):
            damage = list(damage_findings(folder, settings))
            findings += [] if is_held(folder) else damage  # somebody who came meanwhile has changed files under our eyes
    return checkup


async def _examine_broker(settings: Settings, checkup: Checkup, look_seconds: float) -> int:
    """Returns how many workers are at work."""
    findings, facts = checkup.findings, checkup.facts
    try:
        kafka = kafka_of(settings)
        began = stopwatch()
        await reach(kafka)
    except Problem as problem:
        findings.append(Finding("broker", problem.what, problem.remedy))
        return 0
    facts["broker_ms"] = round((seconds := stopwatch() - began) * SECOND_MS, 1)
    findings += speed_findings(seconds)
    plan = make_plan(agents(settings.model_copy(update={"rules": None})), app=settings.group)  # whatever the rules, the topics are the same
    try:
        async with Topics(kafka) as topics:
            differences = await topics.differences(wanted(plan))
        findings += topic_findings(differences)
        admin = AIOKafkaAdminClient(**kafka.options())
        await admin.start()
        try:
            findings += broker_findings(settings, await _broker_config(admin))
            missing = {each.topic for each in differences if each.what in {"topic", "partitions"}}
            return await _examine_group(admin, kafka, plan, settings.group, missing, checkup, look_seconds)
        finally:
            await admin.close()
    except KafkaError as error:
        findings.append(Finding("broker", f"It does not answer all questions: {error}", "Look at its log, and at the rights of our user."))
        return 0


async def _broker_config(admin: AIOKafkaAdminClient) -> dict[str, str]:
    """Of one broker: they are meant to be alike."""
    broker = (await admin.describe_cluster())["brokers"][0]["node_id"]
    answers: list[Any] = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, str(broker))])
    return {entry[0]: entry[1] for answer in answers for *_, entries in answer.resources for entry in entries if entry[1] is not None}


async def _examine_group(  # noqa: PLR0917  # what was looked up so far
    admin: AIOKafkaAdminClient, kafka: Kafka, plan: Plan, name: str, missing: set[str], checkup: Checkup, look_seconds: float
) -> int:
    inputs = [
        TopicPartition(topic, p) for group in plan.groups for topic in group.inputs for p in range(group.partitions) if topic not in missing
    ]
    group = await _group(admin, name)
    reader = kafka.reader()
    await reader.start()
    try:
        before = await _readings(admin, reader, name, inputs)
        after, waiting = before, await _waiting(reader, before)
        if waiting:
            await asyncio.sleep(look_seconds)
            after = await _readings(admin, reader, name, inputs)
    finally:
        await reader.stop()
    lags = Counter[str]()
    for tp, reading in after.items():
        lags[tp.topic] += reading.lag
    checkup.facts |= {"group": group.state, "workers": len(group.members), "lag": dict(lags)}
    checkup.findings += group_findings(plan, group, before, after, waiting)
    return len(group.members)


async def _group(admin: AIOKafkaAdminClient, name: str) -> Group:
    try:
        answers: list[Any] = await admin.describe_consumer_groups([name])
    except GroupCoordinatorNotAvailableError:  # on a cluster in which there was never a group
        return NOBODY
    _error, _name, state, _type, _protocol, members, *_ = answers[0].groups[0]
    given = {
        f"{client} at {host.removeprefix('/')} ({member[-8:]})": ConsumerProtocolMemberAssignment.decode(assignment).partitions()
        if assignment
        else []
        for member, client, host, _metadata, assignment, *_ in members
    }
    return Group(state, {member: frozenset(TopicPartition(*tp) for tp in partitions) for member, partitions in given.items()})


async def _readings(admin: AIOKafkaAdminClient, reader: Any, group: str, inputs: Sequence[TopicPartition]) -> dict[TopicPartition, Reading]:  # noqa: ANN401  # a consumer: it is generic, and not at run time
    partitions = [KafkaPartition(*tp) for tp in inputs]
    try:
        committed = {tp: at.offset for tp, at in (await admin.list_consumer_group_offsets(group)).items() if at.offset >= 0}
    except GroupCoordinatorNotAvailableError:
        committed = {}
    begins, ends = await asyncio.gather(reader.beginning_offsets(partitions), reader.end_offsets(partitions))
    return {TopicPartition(*tp): Reading(begins[tp], committed.get(tp), ends[tp]) for tp in partitions}


async def _waiting(reader: Any, readings: Mapping[TopicPartition, Reading]) -> frozenset[TopicPartition]:  # noqa: ANN401  # as above
    """The partitions in which there is a record to be read, and not only the marker of a transaction."""
    lagging = {KafkaPartition(*tp): reading for tp, reading in readings.items() if reading.lag}
    reader.assign(list(lagging))
    for partition, reading in lagging.items():
        reader.seek(partition, max(reading.begin, reading.committed or 0))
    found: set[KafkaPartition] = set()
    left = set(lagging)
    while left:
        some = await reader.getmany(*left, timeout_ms=POLL_MS, max_records=len(left))
        found.update(some)
        left = {tp for tp in left - found if await reader.position(tp) < lagging[tp].end}
    return frozenset(TopicPartition(*tp) for tp in found)


def _required() -> list[str]:
    """What this package needs; nothing where it is not installed."""
    try:
        return requires("orderflow") or []
    except PackageNotFoundError:
        return []


def _names(required: Sequence[str]) -> list[str]:
    return [match[0] for requirement in required if (match := re.match(r"[\w.-]+", requirement))]


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
