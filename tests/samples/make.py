"""Writes the generated samples anew: `python -m tests.samples.make`. The bytes are the same on every machine."""

import gzip
import json
from pathlib import Path

from pipeline.replay.generate import generate
from tests.auditor.auditor import Auditor

SAMPLES = Path(__file__).parents[2] / "samples"
ORDERS, SEED = 20_000, 20_251_029


def lines() -> list[bytes]:
    return list(generate(ORDERS, SEED))


def main() -> None:
    said = lines()
    packed = gzip.compress(b"".join(line + b"\n" for line in said), compresslevel=9, mtime=0)
    (SAMPLES / f"orders-{ORDERS // 1_000}k.jsonl.gz").write_bytes(packed)
    expected = json.dumps(Auditor().hear_all(said).report(), indent=2)
    (SAMPLES / f"orders-{ORDERS // 1_000}k.expected.json").write_text(expected + "\n")


if __name__ == "__main__":
    main()
