"""The code in the pages runs: examples as they stand, tests under pytest, commands through the command line."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agents.fraud import read_rules
from agents.fraud.written import read_rule
from pipeline.cli.app import app
from tests.docs.blocks import Block, blocks
from tests.docs.generated import ROOT, pages

PYTHON = [block for page in pages() for block in blocks(page, "python")]
CONSOLE = [page for page in pages() if any(blocks(page, "console"))]
PLUGIN = 'pytest_plugins = ["pipeline.testing.plugin"]'


def is_test(block: Block) -> bool:
    return "def test_" in block.text


@pytest.mark.parametrize("block", [block for block in PYTHON if not is_test(block)], ids=str)
def test_an_example_runs(block: Block) -> None:
    """What a reader copies does what the page says; its assertions hold."""
    exec(compile(block.text, str(block), "exec"), {"__name__": "example"})  # noqa: S102  # it is our own text


def test_the_tests_of_the_pages_pass(tmp_path: Path) -> None:
    """Under pytest, with warnings as errors, the fixture enabled as each of these pages says."""
    tests = [block for block in PYTHON if is_test(block)]
    (tmp_path / "conftest.py").write_text(PLUGIN + "\n")
    for number, test in enumerate(tests):
        assert any(PLUGIN in block.text for block in PYTHON if block.page == test.page), test
        (tmp_path / f"test_{number}_{test.page.stem.lower()}.py").write_text(test.text)
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "pytest",
        "-q",
        "--strict-markers",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("page", CONSOLE, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page: Path, elsewhere: Path) -> None:
    """One after the other, beside the samples: each ends with exit code 0; what is made by make is a target of it."""
    (elsewhere / "samples").symlink_to(ROOT / "samples")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for block in blocks(page, "console"):
        for line in block.text.splitlines():
            prompt, name, *arguments = shlex.split(line)
            assert prompt == "$", f"{block}: {line}"
            if name == "make":
                assert arguments[0] in targets, f"{block}: {line}"
                continue
            assert name == "orderflow", f"{block}: {line}"
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, f"{block}: {line}\n{result.output}"
    assert len(list(elsewhere.iterdir())) > 1 or "replay" not in page.name


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_the_demo_ends_as_the_readme_shows(elsewhere: Path) -> None:
    """Line by line, in that order; the readme leaves some out."""
    (shown,) = blocks(ROOT / "README.md", "text")
    printed = iter(squeezed(CliRunner().invoke(app, ["demo"]).output))
    missing = [line for line in squeezed(shown.text) if line not in printed]
    assert missing == []
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("block", [block for page in pages() for block in blocks(page, "json")], ids=str)
def test_json_is_json(block: Block) -> None:
    """An ellipsis stands for what is left out, within strings only; a changed rule is one that is taken."""
    said = json.loads(block.text)
    assert isinstance(said, dict)
    if said.get("event_type") == "FraudRuleChanged":
        read_rule(said["payload"]["rule_id"], said["payload"]["version"], said["payload"]["rule"])


@pytest.mark.parametrize("block", [block for page in pages() for block in blocks(page, "toml")], ids=str)
def test_rules_are_taken_as_they_are_written(block: Block) -> None:
    """Every example of a rules file is one."""
    assert read_rules(block.text).rules


@pytest.mark.parametrize("block", [block for page in pages() for block in blocks(page, "sh")], ids=str)
def test_a_command_that_needs_a_broker_exists(block: Block) -> None:
    """With every option that it is given; the tests with a broker run them. What is exported is a setting (test_names)."""
    for command in (shlex.split(line, comments=True) for line in block.text.splitlines()):
        if command and command[0] != "export":
            assert command[0] == "orderflow", command
            names = [word for word in command[1:] if not word.startswith("-")]
            shown = CliRunner().invoke(app, [*names[: 2 if names[0] == "topics" else 1], "--help"])
            assert shown.exit_code == 0, command
            assert all(word in shown.output for word in command if word.startswith("--")), command


def test_blocks_say_what_they_are() -> None:
    """So that each kind is run or compared; a picture in letters needs no language."""
    languages = {block.language for page in pages() for block in blocks(page)}
    assert languages <= {"python", "console", "sh", "text", "json", "mermaid", "toml"}
