"""What the documentation says of itself: the parts that are made from the code. `python -m tests.docs.generated` writes them anew."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from agents.orders.worlds import state_diagram
from pipeline.metrics import METRICS
from pipeline.settings import Settings, variable_of
from schemas.codec.synonyms import SAME_FIELD, SAME_FIELD_OF, camel
from schemas.topics import TOPICS

ROOT = Path(__file__).parents[2]
_PART = re.compile(r"(?P<before><!-- made from the code: (?P<name>[a-z ]+) -->\n)\n?(?P<text>.*?)\n?(?P<after><!-- end -->)", re.DOTALL)


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A Markdown table."""
    return "".join("| " + " | ".join(row) + " |\n" for row in (head, ("---",) * len(head), *rows))


def code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def topics() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for topic in TOPICS:
            notes = ["services also key it otherwise"] * (not topic.trusted_key) + ["compacted"] * topic.compacted
            yield f"`{topic.name}`", topic.key.replace("_", " ") or "as the original", str(topic.partitions), ", ".join(notes)

    return table(("topic", "key", "partitions", "note"), rows())


def types() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for topic in TOPICS:
            for kind in topic.carries:
                fields = msgspec.structs.fields(kind)
                needed, others = (tuple(f.name for f in fields if f.required is needed) for needed in (True, False))
                yield f"`{kind.wire.name}`", str(kind.wire.version), f"`{topic.name}`", code(needed), code(others), code(kind.wire.also)

    return table(("type", "version", "topic", "needed", "may be left out", "also written as"), rows())


def field_names() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for field, names in SAME_FIELD.items():
            yield "any", f"`{field}`", code((*names, *(camel(name) for name in (field, *names) if camel(name) != name)))
        for (kind, field), names in SAME_FIELD_OF.items():
            yield f"`{kind.__name__}`", f"`{field}`", code((*names, *(camel(name) for name in (field, *names) if camel(name) != name)))

    return table(("in", "field", "also read"), rows())


def settings() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for name, field in Settings.model_fields.items():
            default = "" if field.default is None else f"`{field.default}`"
            yield f"`{variable_of(name)}`", default, field.description or ""

    return table(("variable", "default", "what it is"), rows())


def metrics() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for metric in METRICS:
            yield f"`{metric.name}`", metric.kind, code(metric.labels), metric.help

    return table(("metric", "kind", "labels", "what it is"), rows())


def diagram() -> str:
    return f"```mermaid\n{state_diagram()}```\n"


DIAGRAM = "state diagram"
PARTS: dict[str, Callable[[], str]] = {
    "topics": topics,
    "types": types,
    "field names": field_names,
    "settings": settings,
    "metrics": metrics,
    DIAGRAM: diagram,
}


def parts(path: Path) -> dict[str, str]:
    """The parts of one file that are made from the code, as they stand there."""
    return {part["name"]: part["text"] for part in _PART.finditer(path.read_text())}


def pages() -> list[Path]:
    """Every page that is written for readers."""
    return [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def written(name: str) -> list[str]:
    """The part of this name as it stands in the pages; in one of them, it should be."""
    return [text for page in pages() for part, text in parts(page).items() if part == name]


def write() -> None:
    for page in pages():
        before = page.read_text()
        after = _PART.sub(lambda part: f"{part['before']}\n{PARTS[part['name']]()}\n{part['after']}", before)
        if after != before:
            page.write_text(after)


if __name__ == "__main__":
    write()
