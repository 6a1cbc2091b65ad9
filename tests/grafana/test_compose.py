"""The compose stack as far as it can be known without running it."""

import re
from pathlib import Path

import pytest

from pipeline.settings import PREFIX, Settings
from tests.grafana.tools import ROOT, ran

COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ONE_SHOT = {"topics", "samples"}


@pytest.fixture(scope="module")
def services() -> dict[str, str]:
    """The text of each service, with all that it takes from others."""
    whole = ran("docker-compose", "docker-compose", "-f", str(ROOT / "docker-compose.yml"), "config")
    body = re.split(r"^(?:services|volumes|secrets|version|networks):.*\n", whole, flags=re.MULTILINE)
    found = next(part for part in body if "  worker-1:\n" in part and "image:" in part)
    parts = re.split(r"^  ([\w-]+):\n", found, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_all_that_is_promised_is_there(services: dict[str, str]) -> None:
    """Kafka, its topics, two workers, Prometheus, Grafana, a console, and something to see."""
    assert services.keys() == {"kafka", "topics", "worker-1", "worker-2", "prometheus", "grafana", "console", "samples"}


def test_versions_are_pinned(services: dict[str, str]) -> None:
    """To the last digit; ours is built here, from a pinned base. The broker is that of the tests."""
    images = {re.findall(r"image: (\S+)", text)[0] for text in services.values()} - {"orderflow:local"}
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images), images
    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    (broker,) = re.findall(r"<kafka.version>(.+)</kafka.version>", (ROOT / "tests" / "kafka" / "pom.xml").read_text())
    assert f"apache/kafka:{broker}" in images


def test_all_that_runs_on_is_checked_for_its_health(services: dict[str, str]) -> None:
    """What ends by itself is waited for instead."""
    assert {name for name, text in services.items() if "healthcheck:" not in text} == ONE_SHOT
    for name in services.keys() - {"kafka", "topics", "prometheus", "samples"}:
        assert "depends_on:" in services[name], name
    waited = services["samples"]
    assert {name for name in services if f"      {name}:\n        condition: service_healthy" in waited} >= {
        "worker-1",
        "worker-2",
        "grafana",
    }


def test_nobody_is_root_nor_seen_from_outside(services: dict[str, str]) -> None:
    """Ours writes to its own folder only; ports are those of this machine; secrets come by file."""
    assert "USER orderflow" in DOCKERFILE
    for name, text in services.items():
        assert "cap_drop:\n    - ALL" in text, name
        assert "no-new-privileges:true" in text, name
        assert ("read_only: true" in text) is (name not in {"kafka", "console"}), name
        assert "published:" not in text, name  # as it writes one that has no address
        assert text.count("/tcp") == text.count("- 127.0.0.1:"), name
    assert not re.findall(r"PASSWORD(?!__FILE)\w*:", COMPOSE)


def test_settings_that_are_set_exist() -> None:
    """A misspelt one would set nothing."""
    named = {name.removeprefix(PREFIX).lower() for name in re.findall(rf"{PREFIX}[A-Z_]+", COMPOSE + DOCKERFILE)}
    assert named <= Settings.model_fields.keys()


def test_every_file_that_is_mounted_exists() -> None:
    """Docker makes an empty folder of one that does not."""
    mounted = re.findall(r"- (\./[^:]+):/|\"(\./[^:]+):/", COMPOSE)
    assert mounted
    assert [name for pair in mounted for name in pair if name and not (ROOT / name).exists()] == []


def test_prometheus_asks_the_workers_that_there_are(services: dict[str, str]) -> None:
    """By the names that the stack gives them."""
    targets = re.findall(r'"([\w-]+):8080"', (ROOT / "grafana" / "prometheus.yml").read_text())
    assert sorted(targets) == sorted(name for name in services if name.startswith("worker"))


def test_the_image_is_made_of_what_the_package_needs() -> None:
    """What is not named in .dockerignore stays outside."""
    kept = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    packages = re.findall(r'include = \["(.+)"\]', Path(ROOT / "pyproject.toml").read_text())[0].replace("*", "").split('", "')
    assert kept == {"LICENSE", "README.md", "pyproject.toml", "requirements.lock", *packages}
