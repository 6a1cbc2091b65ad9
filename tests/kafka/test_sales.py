"""Sales on a broker: sums that are told once, though workers die on the way."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.settings import variable_of
from schemas.codec import encode, parse_instant
from schemas.money import minor
from tests.agents.test_sales import brute, history
from tests.kafka.brokers import Brokers
from tests.kafka.driver import Stage, Watch, run
from tests.kafka.test_crashes import STEPS, Dying

Names = Callable[[str], str]


@pytest.mark.parametrize("step", STEPS)
def test_sales_are_those_of_brute_force_though_workers_die(
    step: str, brokers: Brokers, fresh_names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`orderflow sales` reads them from the changelog: nothing is summed twice, nothing is left out."""
    told = history(4)
    expected = brute(told)
    dying = Dying(step, range(5, 200, 23))
    group = fresh_names("app")

    async def act(stage: Stage, watch: Watch) -> None:
        await stage.write([encode(each) for each in told])
        while not watch.done:
            async with stage.worker(tmp_path / "worker", steps=dying) as working:
                await watch.until(lambda: watch.done or working.serving.done())
        async with stage.worker(tmp_path / "worker") as working:
            await watch.end(working)

    run(brokers, group, act, chunk_records=5)
    assert dying.died >= 2
    for name, value in {"broker": f"kafka://{brokers.bootstrap}", "group": group}.items():
        monkeypatch.setenv(variable_of(name), str(value))
    shown = CliRunner().invoke(app, ["sales", "--json", "--top", "200"])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    windows = {parse_instant(each["start"]): each for each in found["windows"]}
    captured = {
        start: {c: minor(Decimal(text), c) for c, text in each["captured"].items()} for start, each in windows.items() if each["captured"]
    }
    assert captured == expected.captured
    assert {start: each["orders"] for start, each in windows.items() if each["orders"]} == expected.orders
    products = {parse_instant(each["start"]): {one["sku"]: one["pieces"] for one in each["top"]} for each in found["products"]}
    assert products == expected.pieces
