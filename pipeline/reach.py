"""How Kafka is reached, by the settings; and whether it is there."""

import ssl
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError

from pipeline.log.kafka import Kafka
from pipeline.problem import Problem
from pipeline.settings import FILE, SECOND_MS, Settings, variable_of

SCHEME = "kafka://"
REACH_MS = 5_000


def kafka_of(settings: Settings) -> Kafka:
    """Brokers, and who we are to them. Raises Problem for `memory://`, and for files of keys that cannot be used."""
    if not settings.broker.startswith(SCHEME):
        raise Problem(f"{variable_of('broker')} is {settings.broker}: this needs Kafka.", "Set it to kafka://HOST:9092.")
    security: dict[str, Any] = {}
    if settings.kafka_sasl is not None:
        if not settings.kafka_user or settings.kafka_password is None:
            raise Problem(
                f"{variable_of('kafka_sasl')} is {settings.kafka_sasl}, but nobody is named to log in as.",
                f"Set {variable_of('kafka_user')} and {variable_of('kafka_password')}{FILE}.",
            )
        security["sasl_mechanism"] = settings.kafka_sasl
        security["sasl_plain_username"] = settings.kafka_user
        security["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    if settings.kafka_tls:
        security["ssl_context"] = _tls(settings)
    security["security_protocol"] = ("SASL_" if settings.kafka_sasl else "") + ("SSL" if settings.kafka_tls else "PLAINTEXT")
    servers = settings.broker.removeprefix(SCHEME)
    return Kafka(servers, security, settings.session_timeout_seconds * SECOND_MS, settings.transaction_timeout_seconds * SECOND_MS)


def _tls(settings: Settings) -> ssl.SSLContext:
    files = {name: getattr(settings, name) for name in ("kafka_ca", "kafka_certificate", "kafka_key")}
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca)
        if settings.kafka_certificate is not None:
            context.load_cert_chain(settings.kafka_certificate, settings.kafka_key)
    except OSError as error:
        named = ", ".join(f"{variable_of(name)}={path}" for name, path in files.items() if path is not None)
        raise Problem(f"The files for TLS cannot be used ({error.strerror or error}): {named}.", "Name PEM files that fit.") from None
    return context


async def reach(kafka: Kafka) -> None:
    """One broker answers and lets us in. Raises Problem that says what each of them did instead: aiokafka itself only logs that."""
    options = {name: value for name, value in kafka.options().items() if name not in {"bootstrap_servers", "retry_backoff_ms"}}
    refusals: list[str] = []
    for server in kafka.servers.split(","):
        host, _, port = server.rpartition(":") if ":" in server and not server.endswith("]") else (server, "", "9092")
        try:
            connection = await create_conn(host.strip("[]"), int(port), request_timeout_ms=REACH_MS, **options)
        except (OSError, KafkaError, ValueError) as error:
            refusals.append(f"{server}: {_why(error)}")
        else:
            connection.close()
            return
    raise Problem(
        f"No broker lets us in: {'; '.join(refusals)}.",
        "Look at ORDERFLOW_BROKER, the broker's listeners, and ORDERFLOW_KAFKA_* (orderflow settings shows them).",
    )


def _why(error: Exception) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message})"
    if isinstance(error, KafkaConnectionError) and not str(error):
        return "it closed the connection"
    return (str(cause) or type(cause).__name__).splitlines()[0]
