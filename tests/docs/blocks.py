"""The code blocks of a page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.docs.generated import ROOT

_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """One fenced block, and where it is."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, language: str = "") -> Iterator[Block]:
    """The blocks of one language, or all."""
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        if language in {"", found["language"]}:
            yield Block(page, text.count("\n", 0, found.start()) + 1, found["language"], found["text"])
