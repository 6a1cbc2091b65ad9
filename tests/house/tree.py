"""The project's own files: what is in the tree and not named in .gitignore."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PURE = ("schemas/", "tables/", "agents/")
ROOMS = (*PURE, "pipeline/")
TESTS = ("tests/",)


class Fault(NamedTuple):
    """What is wrong, and where one goes to mend it."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class File:
    """A text file; the path is relative to the root, with slashes."""

    path: str
    text: str

    @property
    def is_python(self) -> bool:
        return self.path.endswith(".py")

    @cached_property
    def module(self) -> ast.Module:
        return ast.parse(self.text)

    def fault(self, line: int, text: str) -> Fault:
        return Fault(self.path, line, text)


def ignored(names: str) -> tuple[str, ...]:
    """The patterns of a .gitignore of plain names. Raises ValueError for a pattern that is more than a name."""
    patterns = tuple(line.rstrip("/") for line in names.splitlines() if line and not line.startswith("#"))
    if crooked := [pattern for pattern in patterns if "/" in pattern or pattern.startswith("!")]:
        raise ValueError(f".gitignore holds names only, so that this can be read: {', '.join(crooked)}")
    return patterns


def files(root: Path = ROOT) -> Iterator[File]:
    """Every text file of ours, in order of path."""
    skipped = (".git", *ignored((root / ".gitignore").read_text()))
    yield from _files(root, root, skipped)


def _files(root: Path, folder: Path, skipped: tuple[str, ...]) -> Iterator[File]:
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or any(fnmatch(path.name, pattern) for pattern in skipped):
            continue
        if path.is_dir():
            yield from _files(root, path, skipped)
        else:
            try:
                yield File(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
            except UnicodeDecodeError:
                continue  # pictures and archives have no text to judge
