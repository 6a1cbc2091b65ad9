"""Kafka brokers for tests: one or three on free ports of this machine, gone when the process that started them is gone.

By hand: `make broker`, or `python -m tests.kafka.brokers --brokers 3 --port 9092`.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from tests.kafka.certificates import Certificates

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
CLUSTER = "b3JkZXJmbG93LXRlc3RzIQ"
PACKAGES = {"java": "default-jre-headless", "openssl": "openssl"}
LOGGING = "-Dorg.slf4j.simpleLogger"
SHORT_LIFE = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx{heap}m")
"""The second compiler costs more than it saves, up to some 100,000 records."""
LONG_LIFE = ("-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Xms1g", "-Xmx1g")
"""As brokers are run in earnest."""
JVM = (
    f"{LOGGING}.showDateTime=true",
    f"{LOGGING}.dateTimeFormat=HH:mm:ss.SSS",
    f"{LOGGING}.showThreadName=false",
)

HEAP_MB = {1: 512, 3: 384}
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
LOGIN = "org.apache.kafka.common.security"
START_SECONDS = 60
STOP_SECONDS = 2
RESTART_SECONDS = 10
POLL_SECONDS = 0.05
LAST_LINES = 30


class NotStarted(Exception):
    """A broker has ended, or does not answer in time; its last words are in the text."""


def jars() -> Path:
    """Where `make kafka` puts the version that pom.xml names."""
    version = re.search("<kafka.version>(.+)</kafka.version>", Path(__file__).with_name("pom.xml").read_text())
    assert version, "pom.xml names no version"
    return ROOT / ".kafka" / version[1]


def lacking() -> str:
    """Why there can be no broker here, and what to do about it; empty when there can."""
    for command, package in PACKAGES.items():
        if not shutil.which(command):
            return f"there is no {command} (on Debian: apt-get install {package})"
    return "" if (jars() / ".ready").exists() else f"Apache Kafka {jars().name} has not been fetched (make kafka)"


class Brokers:
    """A cluster in which every broker is a controller too; for one life, by `with` or by `start` and `stop`.

    Brokers count from 0, and that is their node id. Listeners: PLAINTEXT; with `users` (name to password) SASL, for PLAIN and SCRAM;
    with `tls` TLS, and MTLS, where a client must show its certificate; with both of them SASL_TLS as well.
    `server` overrides server properties, `long_life` is for measuring.
    Files and logs are in `folder`, or else in a temporary one that goes with `stop`.
    """

    def __init__(
        self,
        count: int = 1,
        *,
        folder: Path | None = None,
        users: Mapping[str, str] | None = None,
        tls: bool = False,
        server: Mapping[str, str | int] | None = None,
        port: int = 0,
        long_life: bool = False,
    ) -> None:
        assert count in HEAP_MB, "one or three: two have no majority without each other"
        self.count = count
        self.users = dict(users or {})
        self._folder = folder
        self._server = dict(server or {})
        self._port = port
        self._life = LONG_LIFE if long_life else SHORT_LIFE
        self._protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        self._protocols |= {"SASL": "SASL_PLAINTEXT"} if users else {}
        self._protocols |= {"TLS": "SSL", "MTLS": "SSL"} if tls else {}
        self._protocols |= {"SASL_TLS": "SASL_SSL"} if users and tls else {}
        self._ports: list[dict[str, int]] = []
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._open = contextlib.ExitStack()

    # --- The cluster. ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Returns when every broker knows all others. Raises NotStarted, and then nothing is left running."""
        assert not self._ports, "started before"
        with contextlib.ExitStack() as opened:
            self.folder = self._folder or Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="kafka-")))
            for i in range(self.count):
                wanted = {"PLAINTEXT": self._port and self._port + i}
                self._ports.append({name: reserved(opened, wanted.get(name, 0)) for name in self._protocols})
            if "TLS" in self._protocols:
                self.certificates = Certificates(self.folder / "certificates")
            # The shell's input closes when this process ends, however it ends; then the shell takes its whole group along.
            self._keeper = subprocess.Popen([tool("sh"), "-c", "read -r _; kill -KILL 0"], stdin=subprocess.PIPE, process_group=0)
            opened.callback(self._end)
            self._format()
            self._launch(range(self.count))
            self._open = opened.pop_all()

    def stop(self) -> None:
        """SIGTERM for all at once, then SIGKILL: of three, the last ones wait in vain for a majority."""
        self._open.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        return self.listener("PLAINTEXT")

    def listener(self, name: str) -> str:
        """Addresses for clients, `host:port,host:port`; also of brokers that are down: they come back to where they were."""
        return ",".join(f"{HOST}:{ports[name]}" for ports in self._ports)

    # --- One broker. -------------------------------------------------------------------------------------------------

    def kill(self, i: int) -> None:
        """SIGKILL: it writes nothing more and says goodbye to nobody."""
        self._processes[i].kill()
        self._processes[i].wait()

    def restart(self, i: int) -> None:
        """With the same files and ports; one that still runs is asked to end first. Blocks until it is a member again."""
        asked_to_end(self._processes[i])
        try:
            self._processes[i].wait(RESTART_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill(i)
        self._launch([i])

    def pause(self, i: int) -> None:
        """SIGSTOP: connections stay open and nobody answers. Returns when all its threads stand still."""
        self._processes[i].send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._processes[i].pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self, i: int) -> None:
        self._processes[i].send_signal(signal.SIGCONT)

    def log(self, i: int) -> str:
        return (self.folder / f"{i}.log").read_text(errors="replace")

    # --- How it is done. ---------------------------------------------------------------------------------------------

    def _format(self) -> None:
        scram = [f"{kind}=[name={name},password={password}]" for kind in SCRAM for name, password in self.users.items()]
        options = [word for each in scram for word in ("--add-scram", each)]
        for i in range(self.count):
            properties = self._properties(i)
            (self.folder / f"{i}.properties").write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
            self._processes[i] = self._java(i, "kafka.tools.StorageTool", "format", "-t", CLUSTER, *options, "-c")
        if failed := [i for i, process in self._processes.items() if process.wait(START_SECONDS)]:
            raise NotStarted(f"broker {failed[0]} cannot be formatted\n{self._last_words(failed[0])}")

    def _launch(self, which: Iterable[int]) -> None:
        which = set(which)
        for i in which:
            self._processes[i] = self._java(i, "kafka.Kafka")
        deadline = time.monotonic() + START_SECONDS
        while not all(members(self._ports[i]["PLAINTEXT"]) >= which for i in which):
            dead = [i for i in which if self._processes[i].poll() is not None]
            if dead or time.monotonic() > deadline:
                i = next(iter(dead or which))
                raise NotStarted(f"broker {i} {'has ended' if dead else 'does not answer'}\n{self._last_words(i)}")
            time.sleep(POLL_SECONDS)

    def _last_words(self, i: int) -> str:
        return "\n".join(self.log(i).splitlines()[-LAST_LINES:])

    def _java(self, i: int, *command: str) -> subprocess.Popen[bytes]:
        """A program that ends with the properties of broker i, and writes to its log."""
        life = (word.format(heap=HEAP_MB[self.count]) for word in self._life)
        words = [tool("java"), *life, *JVM, "-cp", f"{jars()}/*", *command, str(self.folder / f"{i}.properties")]
        with (self.folder / f"{i}.log").open("ab") as log:
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=self._keeper.pid)

    def _end(self) -> None:
        for process in self._processes.values():
            asked_to_end(process)
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0, deadline - time.monotonic()))
        self._keeper.communicate()
        for process in self._processes.values():
            process.wait()

    def _properties(self, i: int) -> dict[str, str | int]:
        majority = self.count // 2 + 1
        addresses = {name: f"{name}://{HOST}:{port}" for name, port in self._ports[i].items()}
        return {
            "process.roles": "broker,controller",
            "node.id": i,
            "log.dirs": str(self.folder / f"{i}.data"),
            "controller.quorum.voters": ",".join(f"{n}@{HOST}:{ports['CONTROLLER']}" for n, ports in enumerate(self._ports)),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": ",".join(addresses.values()),
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in self._protocols.items()),
            "auto.create.topics.enable": "false",
            "default.replication.factor": self.count,
            "min.insync.replicas": majority,
            "offsets.topic.replication.factor": self.count,
            "offsets.topic.num.partitions": 8,
            "transaction.state.log.replication.factor": self.count,
            "transaction.state.log.min.isr": majority,
            "transaction.state.log.num.partitions": 8,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1_000,
            "broker.heartbeat.interval.ms": 500,
            "broker.session.timeout.ms": 3_000,  # nobody takes over from a killed broker before, and it cannot come back before
            "log.cleaner.dedupe.buffer.size": 8 << 20,  # of the heap; 128 MiB if nobody says otherwise
            **(self._sasl() if self.users else {}),
            **(self._tls() if "TLS" in self._protocols else {}),
            **self._server,
        }

    def _sasl(self) -> dict[str, str]:
        plain = " ".join(f'user_{name}="{password}"' for name, password in self.users.items())
        logins = {"PLAIN": f"{LOGIN}.plain.PlainLoginModule required {plain};"}
        logins |= dict.fromkeys(SCRAM, f"{LOGIN}.scram.ScramLoginModule required;")
        listeners = [name.lower() for name in self._protocols if name.startswith("SASL")]
        return {"sasl.enabled.mechanisms": ",".join(logins)} | {
            f"listener.name.{listener}.{kind.lower()}.sasl.jaas.config": login for listener in listeners for kind, login in logins.items()
        }

    def _tls(self) -> dict[str, str]:
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificates.server),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.authority),
            "listener.name.mtls.ssl.client.auth": "required",
        }


def tool(name: str) -> str:
    return shutil.which(name) or name


def reserved(opened: contextlib.ExitStack, port: int) -> int:
    """A port (0: any) that stays ours until the end, also while its broker is down."""
    held = opened.enter_context(socket.socket())
    if not port:
        held.bind((HOST, 0))
    # Set after the port was chosen, so that it was nobody's; from now on a broker can have it too, for brokers set this as well.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if port:
        held.bind((HOST, port))
    found: int = held.getsockname()[1]
    return found


def asked_to_end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.send_signal(signal.SIGCONT)  # a paused one would never hear it


def members(port: int) -> set[int]:
    """The node ids of which the broker at this port knows that they are up; empty when it does not answer (Metadata, version 1)."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection, connection.makefile("rwb") as stream:
            stream.write(struct.pack(">ihhihi", 14, 3, 1, 0, -1, 0))  # size; API key, version, correlation, no client id; no topics
            stream.flush()
            (size,) = struct.unpack(">i", stream.read(4))
            return nodes(stream.read(size))
    except (OSError, struct.error):  # nobody there, silent, or gone in the middle of its answer
        return set()


def nodes(answer: bytes) -> set[int]:
    """After the correlation: a count, then for each broker node id, host, port and rack."""
    (count,) = struct.unpack_from(">i", answer, 4)
    found, place = set(), 8
    for _ in range(count):
        node, host = struct.unpack_from(">ih", answer, place)
        (rack,) = struct.unpack_from(">h", answer, place + 6 + host + 4)
        place += 6 + host + 4 + 2 + max(0, rack)
        found.add(node)
    return found


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.kafka.brokers", description="Kafka brokers, until Ctrl-C.")
    options.add_argument("--brokers", type=int, choices=sorted(HEAP_MB), default=1)
    options.add_argument("--port", type=int, default=0, help="of the first broker, the others follow; else any that is free")
    chosen = options.parse_args()
    if why := lacking():
        sys.exit(f"No broker: {why}.")
    with contextlib.suppress(KeyboardInterrupt), Brokers(chosen.brokers, port=chosen.port) as brokers:
        sys.stdout.write(f"{brokers.bootstrap}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
