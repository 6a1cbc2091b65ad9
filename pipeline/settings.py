"""Settings: from the command line, `ORDERFLOW_*` in the environment, files named by `ORDERFLOW_*_FILE`, and `.env`; in this order."""

import os
import re
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from agents.orders import Timeouts
from pipeline.engine.options import HOUR_MS, Options
from pipeline.problem import Problem

PREFIX = "ORDERFLOW_"
FILE = "_FILE"
DOT_ENV = ".env"
MASK = "********"
FOREVER_MS = 1 << 53
"""Replay remembers event ids as long as its state is kept: another replay of the same file finds duplicates only."""
SECOND_MS = 1_000
DAY_MS = 24 * HOUR_MS
DAY_SECONDS = 86_400
YEAR_SECONDS = 365 * DAY_SECONDS
"""No deadline is further away."""

Origin: TypeAlias = Literal["default", "env", "file", ".env", "option"]


_SERVER = r"(\[[0-9A-Fa-f:.]+\]|[^\s,:/@\[\]]+)(:\d{1,5})?"


def _broker(url: str) -> str:
    if not re.fullmatch(rf"memory://|kafka://{_SERVER}(,{_SERVER})*", url):
        raise ValueError(
            "must be memory:// or kafka://HOST:PORT[,HOST:PORT]; a login has settings of its own, ORDERFLOW_KAFKA_USER and others"
        )
    return url


class Settings(BaseSettings):
    """Every setting with its default. Times are event time."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=DOT_ENV, env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore", frozen=True
    )

    group: str = Field(default="orderflow", pattern=r"^[A-Za-z0-9._-]{1,100}$", description="Application id: names tasks and changelogs.")
    data_dir: Path | None = Field(
        default=None,
        description="Folder that keeps the state. Without one a replay's is gone after the run, and a worker's is in orderflow-state.",
    )
    services: Literal["recorded", "standin"] = Field(
        default="recorded", description="Who answers commands: nobody, the answers being in the input; or the built-in stand-ins."
    )
    saga: Literal["orchestrated", "choreographed"] = Field(default="orchestrated", description="The style of the saga; both end alike.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="warning", description="What is logged, on standard error.")

    broker: Annotated[str, AfterValidator(_broker)] = Field(
        default="memory://",
        description="memory://, or kafka://HOST:PORT[,HOST:PORT] for a worker.",
    )
    kafka_tls: bool = Field(default=False, description="Encrypt the link, and see that the broker is who it says.")
    kafka_ca: Path | None = Field(default=None, description="Certificates (PEM) that brokers are trusted by; else this machine's.")
    kafka_certificate: Path | None = Field(default=None, description="Our certificate (PEM), where brokers ask for one.")
    kafka_key: Path | None = Field(default=None, description="The key of that certificate (PEM).")
    kafka_sasl: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(default=None, description="How we log in, if at all.")
    kafka_user: str = Field(default="", description="Who we log in as.")
    kafka_password: SecretStr | None = Field(default=None, description="Better from a file: ORDERFLOW_KAFKA_PASSWORD_FILE.")
    guarantee: Literal["exactly_once", "at_least_once"] = Field(
        default="exactly_once", description="Whether a chunk is one transaction; without, it may be said again, under the same ids."
    )
    session_timeout_seconds: int = Field(default=10, ge=1, le=300, description="A worker that is silent for so long is given up.")
    transaction_timeout_seconds: int = Field(default=30, ge=1, le=900, description="A transaction that takes longer is aborted.")
    instance: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9._-]{1,100}$", description="A name of this worker that lasts: its restart is no rebalance."
    )
    standbys: int = Field(default=1, ge=0, le=5, description="Workers that keep a copy of each task's state, to take it over at once.")
    lost_records: Literal["stop", "skip"] = Field(
        default="stop", description="Where records were deleted before they were read: stop, or go on behind them."
    )
    http_host: str = Field(default="127.0.0.1", description="Where a worker serves its health and metrics.")
    http_port: int = Field(default=8080, ge=0, le=65_535, description="0: any free one.")
    dedup_hours: int = Field(default=24, ge=1, le=8_760, description="How long a worker remembers event ids; replay keeps them all.")

    rules: Path | None = Field(default=None, description="Fraud rules (TOML); without, those that are shipped. See docs/fraud.md.")
    lateness_seconds: int = Field(default=30, ge=0, le=DAY_SECONDS, description="How far the watermark stays behind the newest event.")
    clock_jump_days: int = Field(
        default=30,
        ge=1,
        le=36_500,
        description="How far ahead of everything before it (a worker: and of today) an event may be, to be believed.",
    )
    chunk_records: int = Field(default=2_000, ge=1, le=100_000, description="Records that are decided and committed together, at most.")
    chunk_outputs: int = Field(default=4_000, ge=1, le=100_000, description="Outputs after which a chunk ends early.")
    largest_record_bytes: int = Field(default=1_000_000, ge=1_000, le=1_000_000_000, description="Of an output.")
    parked_per_key: int = Field(default=100, ge=1, le=10_000, description="Records of one key that may wait at the same time.")
    rows_cached: int = Field(default=8_192, ge=0, le=10_000_000, description="Rows that each task keeps decoded.")

    reservation_timeout_seconds: int = Field(default=300, ge=1, le=YEAR_SECONDS, description="PENDING, and the stock does not answer.")
    payment_timeout_seconds: int = Field(default=900, ge=1, le=YEAR_SECONDS, description="RESERVED, and the money is not there.")
    shipment_timeout_seconds: int = Field(default=DAY_SECONDS, ge=1, le=YEAR_SECONDS, description="PAID, and shipping does not answer.")
    hold_timeout_seconds: int = Field(default=DAY_SECONDS, ge=1, le=YEAR_SECONDS, description="Held, and nobody lets it go.")
    delivery_timeout_seconds: int = Field(
        default=14 * DAY_SECONDS, ge=1, le=YEAR_SECONDS, description="SHIPPED, and nobody hears of it: the order is stuck."
    )
    compensation_timeout_seconds: int = Field(
        default=300, ge=1, le=YEAR_SECONDS, description="A compensation is unanswered; doubles with each try."
    )
    compensation_tries: int = Field(
        default=5, ge=1, le=20, description="How often a compensation is asked for; after that the order is stuck."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # a folder of secrets; ours are named one by one
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _NamedFiles(settings_cls), dotenv_settings

    def options(self) -> Options:
        """The engine's limits, for files."""
        return Options(
            lateness_ms=self.lateness_seconds * SECOND_MS,
            dedup_ms=FOREVER_MS,
            jump_ms=self.clock_jump_days * DAY_MS,
            chunk_records=self.chunk_records,
            chunk_outputs=self.chunk_outputs,
            largest_record_bytes=self.largest_record_bytes,
            parked_per_key=self.parked_per_key,
            rows_cached=self.rows_cached,
        )

    def worker_options(self) -> Options:
        """The engine's limits, for Kafka."""
        return replace(self.options(), dedup_ms=self.dedup_hours * HOUR_MS, gated=True)

    def timeouts(self) -> Timeouts:
        return Timeouts(
            reservation_ms=self.reservation_timeout_seconds * SECOND_MS,
            payment_ms=self.payment_timeout_seconds * SECOND_MS,
            shipment_ms=self.shipment_timeout_seconds * SECOND_MS,
            hold_ms=self.hold_timeout_seconds * SECOND_MS,
            delivery_ms=self.delivery_timeout_seconds * SECOND_MS,
            compensation_ms=self.compensation_timeout_seconds * SECOND_MS,
            compensation_tries=self.compensation_tries,
        )


class _NamedFiles(PydanticBaseSettingsSource):
    """`ORDERFLOW_X_FILE=/run/secrets/x` gives X: the file's text without its last line end."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002  # as in pydantic-settings
        variable = variable_of(field_name) + FILE
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise Problem(f"{variable}: cannot read {path}: {_why(error)}.", "Name a readable file, or unset it.") from None

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def _why(error: OSError | UnicodeDecodeError) -> str | None:
    return error.strerror if isinstance(error, OSError) else "not UTF-8 text"


def load(kind: type[Settings] = Settings, /, **options: object) -> Settings:
    """The settings; an option that is None was not given. Raises Problem that says which setting is wrong, what of it, and what to do."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return kind(**given)  # type: ignore[arg-type]  # checked by pydantic
    except ValidationError as error:
        known = origins(kind, **given)
        lines = [_told(kind, str(problem["loc"][0]), problem["msg"], problem["input"], known) for problem in error.errors()]
        raise Problem(
            "; ".join(lines) + ".", "`orderflow settings` prints them all, `orderflow settings --help` says how to set them."
        ) from None
    except (OSError, UnicodeDecodeError) as error:  # the other sources are read by us, or in memory
        raise Problem(f"{Path(DOT_ENV).absolute()}: cannot be read: {_why(error)}.", "Mend the file, or remove it.") from None


def _told(kind: type[Settings], name: str, text: str, value: object, known: dict[str, Origin]) -> str:
    shown = MASK if _secret(kind.model_fields[name]) or "@" in str(value) else repr(value)  # a broker's URL may hold a password
    text = text.removeprefix("Value error, ")
    return f"{variable_of(name)} ({known[name]}): {text[:1].lower()}{text[1:]}, not {shown}"


def origins(kind: type[Settings] = Settings, /, **options: object) -> dict[str, Origin]:
    """Where the value of each setting comes from."""
    found: dict[str, Origin] = dict.fromkeys(kind.model_fields, "default")
    names: tuple[Origin, ...] = ("option", "env", "file", ".env")
    for origin, values in reversed(list(zip(names, _values(kind, options), strict=True))):
        found.update(dict.fromkeys(values.keys() & kind.model_fields.keys(), origin))
    return found


def _values(kind: type[Settings], options: dict[str, object]) -> list[dict[str, Any]]:
    return [options, EnvSettingsSource(kind)(), _NamedFiles(kind)(), DotEnvSettingsSource(kind)()]


def shown(settings: Settings) -> dict[str, object]:
    """Every setting as it may be shown: no secret is."""
    return {
        name: MASK if _secret(field) and getattr(settings, name) is not None else getattr(settings, name)
        for name, field in type(settings).model_fields.items()
    }


def variable_of(name: str) -> str:
    return PREFIX + name.upper()


def environment_with(**values: object) -> dict[str, str]:
    """The environment of a process of ours whose settings differ from our own in these."""
    return os.environ | {variable_of(name): str(value) for name, value in values.items()}


def _secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def strangers() -> list[str]:
    """Variables of ours in the environment that set nothing, misspelt or of another version: a sentence for each."""
    known = [name.upper() + ending for name in Settings.model_fields for ending in ("", FILE)]
    said = []
    for variable in sorted(name for name in os.environ if name.upper().startswith(PREFIX)):
        name = variable.upper().removeprefix(PREFIX)
        if name not in known:
            meant = [f"did you mean {PREFIX}{near}?" for near in get_close_matches(name, known, n=1)]
            said.append(f"{variable} is not a setting; {(*meant, '`orderflow settings` prints them all.')[0]}")
    return said
