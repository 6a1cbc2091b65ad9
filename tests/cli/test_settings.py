"""Settings: where they come from, what is refused, what is never shown."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from agents.orders import Timeouts
from pipeline.engine.options import HOUR_MS
from pipeline.problem import Problem
from pipeline.settings import MASK, Settings, load, origins, shown, strangers, variable_of


class WithSecret(Settings):
    """As a setting of a later day."""

    token: SecretStr | None = None
    pin: SecretStr | None = Field(None, min_length=8)


@pytest.fixture(autouse=True)
def nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours, and a folder without .env."""
    for name in WithSecret.model_fields:
        for ending in ("", "_FILE"):
            monkeypatch.delenv(variable_of(name) + ending, raising=False)
    monkeypatch.chdir(tmp_path)


def test_without_anything_all_settings_have_their_defaults() -> None:
    """A default is a default, and says so."""
    assert load() == Settings()
    assert set(origins().values()) == {"default"}


def test_an_option_goes_before_the_environment_before_a_file_before_dot_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four sources, in this order; each is told."""
    seen = []
    (tmp_path / ".env").write_text("ORDERFLOW_GROUP=from-dotenv\nORDERFLOW_SAGA=choreographed\nOTHER=1\n")
    seen.append((load().group, origins()["group"]))
    (tmp_path / "group").write_text("from-file\n")
    monkeypatch.setenv("ORDERFLOW_GROUP_FILE", str(tmp_path / "group"))
    seen.append((load().group, origins()["group"]))
    monkeypatch.setenv("ORDERFLOW_GROUP", "from-env")
    seen.append((load().group, origins()["group"]))
    seen.append((load(group="from-option").group, origins(group="from-option")["group"]))
    assert seen == [("from-dotenv", ".env"), ("from-file", "file"), ("from-env", "env"), ("from-option", "option")]
    assert origins()["saga"] == ".env"


def test_an_option_that_was_not_given_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """None leaves the choice to the other sources, and so does an empty variable."""
    monkeypatch.setenv("ORDERFLOW_SAGA", "choreographed")
    monkeypatch.setenv("ORDERFLOW_SERVICES", "")
    assert load(saga=None).saga == "choreographed"
    assert load().services == "recorded"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ORDERFLOW_SERVICES", "nobody"),
        ("ORDERFLOW_LATENESS_SECONDS", "-1"),
        ("ORDERFLOW_LATENESS_SECONDS", "soon"),
        ("ORDERFLOW_GROUP", "a/b"),
        ("ORDERFLOW_CHUNK_RECORDS", "0"),
        ("ORDERFLOW_LOG_LEVEL", "loud"),
        *((variable_of(name), str(365 * 86_400 + 1)) for name in Settings.model_fields if name.endswith("_timeout_seconds")),
    ],
)
def test_a_bad_setting_is_named_with_its_source_and_value(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """Which setting, from where, what of it, and what to do."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(Problem) as caught:
        load()
    assert caught.value.what.startswith(f"{variable} (env): ")
    assert repr(value) in caught.value.what
    assert "orderflow settings" in caught.value.remedy


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that cannot be read is an error, never an empty secret."""
    monkeypatch.setenv("ORDERFLOW_TOKEN_FILE", "gone")
    with pytest.raises(Problem, match="ORDERFLOW_TOKEN_FILE: cannot read gone"):
        load(WithSecret)


def test_a_dot_env_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Its whole path, because nobody named it."""
    (tmp_path / ".env").write_bytes(b"ORDERFLOW_SAGA=\xff\n")
    with pytest.raises(Problem) as caught:
        load()
    assert caught.value.what == f"{tmp_path / '.env'}: cannot be read: not UTF-8 text."


def test_a_secret_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the list of settings nor in what is said about a bad one."""
    (tmp_path / "token").write_text("hunter2\n")
    monkeypatch.setenv("ORDERFLOW_TOKEN_FILE", str(tmp_path / "token"))
    settings = load(WithSecret)
    assert isinstance(settings, WithSecret)
    assert settings.token is not None
    assert settings.token.get_secret_value() == "hunter2"
    assert (shown(settings)["token"], shown(settings)["pin"]) == (MASK, None)
    monkeypatch.setenv("ORDERFLOW_PIN", "1234")
    with pytest.raises(Problem) as caught:
        load(WithSecret)
    assert "ORDERFLOW_PIN (env)" in caught.value.what
    assert "1234" not in str(caught.value)


def test_a_misspelt_variable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of ours that sets nothing is told, with the nearest that would; all the others are other people's."""
    monkeypatch.setenv("ORDERFLOW_LATENES_SECONDS", "3")
    monkeypatch.setenv("ORDERFLOW_SAGA_FILE", "x")
    monkeypatch.setenv("orderflow_group", "x")
    monkeypatch.setenv("OTHER_SAGA", "x")
    assert strangers() == ["ORDERFLOW_LATENES_SECONDS is not a setting; did you mean ORDERFLOW_LATENESS_SECONDS?"]


def test_settings_become_limits_and_deadlines_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set in seconds and days is used in milliseconds."""
    monkeypatch.setenv("ORDERFLOW_LATENESS_SECONDS", "7")
    monkeypatch.setenv("ORDERFLOW_PAYMENT_TIMEOUT_SECONDS", "9")
    settings = load()
    assert (settings.options().lateness_ms, settings.timeouts().payment_ms) == (7_000, 9_000)
    assert settings.options().jump_ms == 30 * 24 * HOUR_MS


def test_the_defaults_are_those_of_the_agents() -> None:
    """Deadlines are written down twice: here in seconds, there in milliseconds; they agree."""
    assert load().timeouts() == Timeouts()


@pytest.mark.parametrize("url", ["memory://", "kafka://a", "kafka://a:1,b.example:2", "kafka://[::1]:9092"])
def test_a_broker_is_one_server_or_more(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """By name or address, with a port or without."""
    monkeypatch.setenv("ORDERFLOW_BROKER", url)
    assert load().broker == url


@pytest.mark.parametrize("url", ["kafka://", "kafka://,a", "kafka://a:b", "kafka://a:1/x", "localhost:9092", "kafka://user:hunter2@a:1"])
def test_another_broker_is_refused_and_no_password_in_it_told(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Who logs in has settings of its own, from files."""
    monkeypatch.setenv("ORDERFLOW_BROKER", url)
    with pytest.raises(Problem, match="kafka://HOST:PORT") as refused:
        load()
    assert "hunter2" not in str(refused.value)
