"""Links lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.docs.generated import ROOT, pages

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"```.*?```", re.DOTALL)


def anchor(heading: str) -> str:
    """As GitHub makes them."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_files_lead_somewhere(page: Path) -> None:
    """To a file of ours, and to a heading that is there."""
    for link in _LINK.findall(_CODE.sub("", page.read_text())):
        if link.startswith("https://"):
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not heading or heading in {anchor(each) for each in _HEADING.findall(target.read_text())}, link


def test_every_page_can_be_found_from_the_readme() -> None:
    """A page that nothing leads to is read by nobody."""
    found, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page not in found:
            found.add(page)
            names = {link.partition("#")[0] for link in _LINK.findall(page.read_text()) if not link.startswith("https://")}
            todo += [target for name in names if name.endswith(".md") and (target := (page.parent / name).resolve()).exists()]
    assert set(pages()) == found


def test_files_named_in_code_spans_exist() -> None:
    """`pipeline/worker/hooks.py` is where the page says."""
    spans = {
        name for page in pages() for name in re.findall(r"`((?:agents|pipeline|schemas|tables|tests|samples)/[\w./-]+)`", page.read_text())
    }
    assert {name for name in spans if not (ROOT / name).exists()} == set()
