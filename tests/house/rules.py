"""The house rules that no linter knows. Each takes a file and gives its faults."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from tests.house.tree import PURE, ROOMS, TESTS, Fault, File

Rule: TypeAlias = Callable[[File], Iterator[Fault]]

MOST_LINES = 500
FEWEST_WORDS = 3


class Ban(NamedTuple):
    """Names that may be used in one home only; a name ending in a dot stands for all below it."""

    what: str
    names: tuple[str, ...]
    where: tuple[str, ...]
    home: tuple[str, ...] = ()


BANS = (
    Ban(
        "the wall clock",
        ("time.time", "time.time_ns", *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")), "datetime.date.today"),
        where=(*ROOMS, *TESTS),
        home=("pipeline/clock.py",),
    ),
    Ban("the environment", ("os.environ", "os.environb", "os.getenv", "os.putenv"), where=ROOMS, home=("pipeline/settings.py",)),
    Ban("printing", ("print", "pprint.", "rich.print", "sys.stdout", "sys.stderr"), where=ROOMS, home=("pipeline/cli/",)),
    Ban("a file", ("open", "io.open", "input", "pathlib.", "tempfile.", "shutil."), where=PURE),
    Ban("a binary fraction", ("float",), where=PURE),
    Ban("chance", ("uuid.uuid1", "uuid.uuid4", "secrets.", "os.urandom"), where=PURE),
)
SEEDED = ("random.Random",)


def too_long(file: File) -> Iterator[Fault]:
    """A file is read in one sitting."""
    lines = file.text.count("\n")
    if file.path.startswith((*ROOMS, *TESTS)) and file.is_python and lines > MOST_LINES:
        yield file.fault(lines, f"{lines} lines, {MOST_LINES} at most")


def away_from_home(file: File) -> Iterator[Fault]:
    """Clock, environment, printing: each has one home; files, binary fractions and chance have none where one only decides."""
    if not file.is_python:
        return
    bans = [ban for ban in BANS if file.path.startswith(ban.where) and not (ban.home and file.path.startswith(ban.home))]
    for line, name in used(file.module):
        for ban in bans:
            if any(name == banned or (banned.endswith(".") and f"{name}.".startswith(banned)) for banned in ban.names):
                yield file.fault(line, f"{name} is {ban.what}; its home: {', '.join(ban.home) or 'none here'}")
    if file.path.startswith(PURE):
        for node in ast.walk(file.module):
            if isinstance(node, ast.Constant) and isinstance(node.value, float):
                yield file.fault(node.lineno, f"{node.value} is a binary fraction; write an int or a Decimal")
            elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
                yield file.fault(node.lineno, "/ makes a binary fraction of two ints; write // or divmod")


def unseeded(file: File) -> Iterator[Fault]:
    """Chance comes from a generator that was given its seed, so that a failure can be repeated."""
    if not (file.is_python and file.path.startswith((*ROOMS, *TESTS))):
        return
    names = imported(file.module)
    for line, name in used(file.module):
        if name.startswith("random.") and not name.startswith(SEEDED):
            yield file.fault(line, f"{name} has no seed; use random.Random(seed)")
    for node in ast.walk(file.module):
        if isinstance(node, ast.Call) and not node.args and dotted(node.func, names) in SEEDED:
            yield file.fault(node.lineno, "random.Random() without a seed")


def untold_test(file: File) -> Iterator[Fault]:
    """Every test states its rule: the first line of its docstring is a sentence."""
    if not (file.is_python and file.path.startswith(TESTS)):
        return
    for node in ast.walk(file.module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            first = (ast.get_docstring(node) or "").partition("\n")[0]
            words = first.split()
            if len(words) < FEWEST_WORDS or not first.endswith((".", "?", "!")) or (words[0].isalpha() and words[0].islower()):
                yield file.fault(node.lineno, f"{node.name} does not state its rule in a sentence")


def untold_module(file: File) -> Iterator[Fault]:
    """Every file says in its first line what is in it; only a folder of tests may be without."""
    if not (file.is_python and file.path.startswith((*ROOMS, *TESTS))) or (file.path.startswith(TESTS) and not file.text):
        return
    if not ast.get_docstring(file.module):
        yield file.fault(1, "no docstring")


def silenced(file: File) -> Iterator[Fault]:
    """A checker is silenced for one finding on one line, and the reason stands beside it."""
    if not file.is_python:
        return
    for token in tokenize.generate_tokens(io.StringIO(file.text).readline):
        if token.type != tokenize.COMMENT:
            continue
        if re.match(r"#\s*(ruff|flake8|mypy):", token.string):
            yield file.fault(token.start[0], "a whole file silenced")
        marks = re.findall(r"#\s*(?:type:\s*ignore|noqa)\b", token.string)
        coded = re.findall(r"#\s*(?:type:\s*ignore\[[a-z, -]+\]|noqa:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)", token.string)
        reason = re.sub(r"#\s*(?:type:\s*ignore(\[[^]]*\])?|noqa(:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?)", "", token.string)
        if len(marks) != len(coded):
            yield file.fault(token.start[0], "silenced without a code")
        elif marks and not re.search(r"[a-z]{2}", reason):
            yield file.fault(token.start[0], "silenced without a reason")


def unfinished(file: File) -> Iterator[Fault]:
    """What is left to do is written down elsewhere."""
    yield from lines_with(file, r"\b(T[O]DO|F[I]XME|H[A]CK)\b", "left for later")


def machine_path(file: File) -> Iterator[Fault]:
    """No file knows whose machine it was written on."""
    yield from lines_with(file, r"(?<![\w.~>)}*-])/(?:work|root|home)/", "a path of one machine")


def registry_host(file: File) -> Iterator[Fault]:
    """Packages are named; where they come from is the business of the machine that installs them."""
    hosts = r"pypi[.]org|pythonhosted[.]org|crates[.]io|npmjs[.](?:org|com)|repo1?[.]maven[.]|proxy[.]golang[.]org|deb[.]debian[.]org"
    yield from lines_with(file, hosts, "a package registry's host")


RULES: tuple[Rule, ...] = (
    too_long,
    away_from_home,
    unseeded,
    untold_test,
    untold_module,
    silenced,
    unfinished,
    machine_path,
    registry_host,
)


def lines_with(file: File, pattern: str, text: str) -> Iterator[Fault]:
    for number, line in enumerate(file.text.splitlines(), start=1):
        if found := re.search(pattern, line):
            yield file.fault(number, f"{text}: {found[0]}")


def imported(module: ast.Module) -> dict[str, str]:
    """What each local name stands for: `from datetime import datetime as d` gives {"d": "datetime.datetime"}."""
    names: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name of an expression such as `dt.now` that starts at an import; empty for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value, names)):
        return f"{owner}.{node.attr}"
    return ""


def used(module: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, full name) of every import that is read, under whatever name, and of every plain name, which may be a builtin."""
    names = imported(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            plain = node.id if isinstance(node, ast.Name) else ""
            if name := dotted(node, names) or plain:
                yield node.lineno, name
