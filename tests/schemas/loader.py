"""The sample files, one event each: schemas/samples/<type>.v<version>.<form>.json."""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from schemas.codec import Decoded, Headers, decode

ROOM = Path(__file__).parents[2] / "schemas"
BINARY = "cloudevents-binary"


class Sample(NamedTuple):
    """One file, as a Kafka record would bring it."""

    type: str
    version: int
    form: str
    raw: bytes
    headers: Headers

    def decoded(self) -> Decoded:
        return decode(self.raw, self.headers)

    def members(self) -> dict[str, Any]:
        members: dict[str, Any] = msgspec.json.decode(self.raw)
        return members


def _load(path: Path) -> Sample:
    kind, version, form = path.stem.split(".")
    raw, headers = path.read_bytes(), ()
    if form != BINARY:
        return Sample(kind, int(version[1:]), form, raw, headers)
    record = msgspec.json.decode(raw)
    said = tuple((name, text.encode()) for name, text in record["headers"].items())
    return Sample(kind, int(version[1:]), form, msgspec.json.encode(record["value"]), said)


SAMPLES = tuple(_load(path) for path in sorted((ROOM / "samples").glob("*.json")))


def named(sample: Sample) -> str:
    """How a failing test names the file."""
    return f"{sample.type}.v{sample.version}.{sample.form}"


def sample(kind: str, form: str = "canonical", version: int | None = None) -> Sample:
    """The newest sample of that type and form, or the one of that version."""
    found = [one for one in SAMPLES if one.type == kind and one.form == form and version in {None, one.version}]
    return max(found, key=lambda one: one.version)
