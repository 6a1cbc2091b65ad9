"""The house rules hold in every file, and each rule finds the fault that it is for."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.house import rules
from tests.house.rules import MOST_LINES, RULES, Rule
from tests.house.tree import ROOMS, ROOT, File, files, ignored

FOLDERS = {".ci", "agents", "bench", "docs", "grafana", "pipeline", "samples", "schemas", "tables", "tests"}
"""All that a stranger sees on opening the tree. A new one is a decision: it is added here."""

MODULES = {"faust-streaming": "faust", "mode-streaming": "mode"}
"""Packages whose module has another name."""

TREE = tuple(files())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_holds_everywhere(rule: Rule) -> None:
    """No file of ours breaks a house rule."""
    faults = [str(fault) for file in TREE for fault in rule(file)]
    assert not faults, "\n".join([rule.__doc__ or "", *faults])


def test_the_top_level_is_the_plan_of_the_house() -> None:
    """The four rooms are there, and no folder that nobody decided on."""
    folders = {file.path.partition("/")[0] for file in TREE if "/" in file.path}
    assert {room.rstrip("/") for room in ROOMS} <= folders <= FOLDERS


def strangers(sources: tuple[File, ...], requirements: list[str]) -> set[str]:
    """Modules that the rooms import and that come neither with Python, nor from us, nor from a package that we name."""
    named = {MODULES.get(name, name.replace("-", "_")) for name in (re.split(r"[^\w-]", each)[0] for each in requirements)}
    known = {*named, *sys.stdlib_module_names, *(room.rstrip("/") for room in ROOMS)}
    python = [file for file in sources if file.is_python and file.path.startswith(ROOMS)]
    return {name.partition(".")[0] for file in python for name in rules.imported(file.module).values()} - known


def test_what_is_imported_is_a_named_dependency() -> None:
    """A package that only comes along with another may go with it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert strangers(TREE, project["dependencies"]) == set()


def test_an_unnamed_dependency_is_found() -> None:
    """A library that nobody named is seen, however it is imported."""
    sources = (File("pipeline/a.py", "import orjson, yarl.x\nfrom mode.utils import y\nfrom faust import App\nfrom six import moves"),)
    assert strangers(sources, ["faust-streaming==1", "orjson>=3"]) == {"yarl", "mode", "six"}


BROKEN: tuple[tuple[Rule, str, str], ...] = (
    (rules.too_long, "agents/a.py", "a = 1\n" * (MOST_LINES + 1)),
    (rules.away_from_home, "pipeline/a.py", "import time\nnow = time.time()"),
    (rules.away_from_home, "pipeline/a.py", "from time import time as clock\nnow = clock"),
    (rules.away_from_home, "pipeline/a.py", "import datetime as dt\nnow = dt.datetime.now(dt.UTC)"),
    (rules.away_from_home, "tests/a.py", "from datetime import UTC, datetime\nnow = datetime.now(UTC)"),
    (rules.away_from_home, "pipeline/a.py", "import os\nhome = os.environ['HOME']"),
    (rules.away_from_home, "pipeline/a.py", "from os import getenv\nhome = getenv('HOME')"),
    (rules.away_from_home, "pipeline/a.py", "print('here')"),
    (rules.away_from_home, "pipeline/a.py", "import sys\nsys.stdout.write('here')"),
    (rules.away_from_home, "agents/a.py", "rules = open('rules.toml')"),
    (rules.away_from_home, "schemas/a.py", "from pathlib import Path\nrules = Path('rules.toml').read_text()"),
    (rules.away_from_home, "schemas/a.py", "def major(minor: int) -> float: ..."),
    (rules.away_from_home, "tables/a.py", "total = float('1.10')"),
    (rules.away_from_home, "agents/a.py", "LIMIT = 1000.0"),
    (rules.away_from_home, "tables/a.py", "total = total_minor / 100"),
    (rules.away_from_home, "tables/a.py", "total /= 100"),
    (rules.away_from_home, "agents/a.py", "import uuid\nname = uuid.uuid4()"),
    (rules.unseeded, "pipeline/a.py", "import random\nchoice = random.random()"),
    (rules.unseeded, "tests/a.py", "from random import shuffle\nshuffle([1, 2])"),
    (rules.unseeded, "tests/a.py", "from random import Random\nchance = Random()"),
    (rules.untold_test, "tests/test_a.py", "def test_a() -> None: ..."),
    (rules.untold_test, "tests/test_a.py", 'async def test_a() -> None:\n    """money is kept."""'),
    (rules.untold_test, "tests/test_a.py", 'class TestA:\n    def test_a(self) -> None:\n        """Money is never lost"""'),
    (rules.untold_test, "tests/test_a.py", 'def test_a() -> None:\n    """Money."""'),
    (rules.untold_module, "agents/a.py", "a = 1\n"),
    (rules.untold_module, "agents/__init__.py", ""),
    (rules.silenced, "agents/a.py", "a = b  # type: ignore"),
    (rules.silenced, "agents/a.py", "a = b  # type: ignore[attr-defined]"),
    (rules.silenced, "agents/a.py", "a = b  # type: ignore  # the library has no types"),
    (rules.silenced, "agents/a.py", "a = b  # noqa"),
    (rules.silenced, "agents/a.py", "a = b  # noqa  # the hours of a day"),
    (rules.silenced, "agents/a.py", "a = b  # noqa: S101"),
    (rules.silenced, "agents/a.py", "a = b  # noqa: S101, PLR2004"),
    (rules.silenced, "agents/a.py", "# ruff: noqa: S101\na = b"),
    (rules.silenced, "agents/a.py", "# mypy: ignore-errors\na = b"),
    (rules.unfinished, "docs/a.md", "TO" + "DO: the rest"),
    (rules.unfinished, "agents/a.py", "a = 1  # FIX" + "ME"),
    (rules.machine_path, "docs/a.md", "See /ho" + "me/jo/notes"),
    (rules.machine_path, "Makefile", "PYTHON=/ro" + "ot/python3"),
    (rules.registry_host, "requirements.lock", "--index-url https://pypi" + ".org/simple"),
)


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_a_planted_fault_is_found(rule: Rule, path: str, text: str) -> None:
    """Each rule finds the fault that it is for, under any name."""
    assert list(rule(File(path, text)))


SOUND = (
    ("pipeline/clock.py", '"""Now."""\nimport time\nnow = time.time'),
    ("pipeline/settings.py", '"""The environment."""\nimport os\nhome = os.environ["HOME"]'),
    ("pipeline/cli/table.py", '"""Tables."""\nprint("here")'),
    ("pipeline/a.py", '"""Seconds."""\nimport time\nSECOND = 1.0\nbegan = time.monotonic()\nbegan.time()'),
    ("agents/a.py", '"""Limits."""\nfrom decimal import Decimal\nLIMIT = Decimal("1000.0")\nlimit.open()'),
    ("tables/a.py", '"""Totals."""\nwhole = total_minor // 100'),
    ("pipeline/a.py", '"""Rates."""\nrate = records / seconds'),
    ("tests/a.py", '"""Chance."""\nfrom random import Random\nchance = Random(7)\nchance.random()'),
    ("tests/a.py", '"""Chance."""\nfrom random import Random\ndef toss(random: Random) -> int:\n    return random.getrandbits(1)'),
    ("tests/test_a.py", '"""Money."""\ndef test_a() -> None:\n    """Money is kept.\n\n    Always.\n    """'),
    ("tests/test_a.py", '"""Money."""\ndef test_a() -> None:\n    """`minor` keeps digits."""'),
    ("tests/test_a.py", '"""Money."""\ndef test_a() -> None:\n    """samples/a.json can be read again."""'),
    ("tests/a/__init__.py", ""),
    ("agents/a.py", '"""A."""\na = b  # type: ignore[attr-defined]  # the library has no types'),
    ("agents/a.py", '"""A."""\na = b  # noqa: S101, PLR2004 - hours of a day'),
    ("agents/a.py", '"""A."""\na = b  # type: ignore[misc]  # noqa: N818  # reads as what it says'),
    ("docs/a.md", "See docs/work/home/ and ./work/ of the client."),
)


@pytest.mark.parametrize(("path", "text"), SOUND)
def test_what_is_sound_is_left_alone(path: str, text: str) -> None:
    """No rule finds fault with the homes themselves, nor with what only looks alike."""
    file = File(path, text)
    assert [str(fault) for rule in RULES for fault in rule(file)] == []


def test_every_rule_has_a_planted_fault() -> None:
    """A rule that was never seen to find anything proves nothing."""
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_every_home_exists() -> None:
    """A home that has moved would leave its rule open."""
    homes = {home for ban in rules.BANS for home in ban.home}
    assert {home for home in homes if not (ROOT / home).exists()} == set()


def test_ignored_names_are_no_files_of_ours(tmp_path: Path) -> None:
    """What .gitignore names is not judged, and neither is what has no text."""
    (tmp_path / ".gitignore").write_text("# made\n.venv/\n*.egg-info/\n")
    for name in (".venv/a.py", "of.egg-info/a.txt", ".git/config", "agents/a.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a = 1\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert [file.path for file in files(tmp_path)] == [".gitignore", "agents/a.py"]


@pytest.mark.parametrize("pattern", ["docs/build", "!kept"])
def test_a_crooked_ignore_pattern_is_refused(pattern: str) -> None:
    """A pattern that this reader does not understand is an error, never a silent miss."""
    with pytest.raises(ValueError, match="names only"):
        ignored(pattern)
