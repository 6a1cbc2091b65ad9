"""The demo's shop: what its expectation promises can be told from the lines alone, as far as the stand-ins have no say in it."""

import json
import tomllib
from typing import Any

import pytest

from tests.auditor.auditor import Auditor
from tests.auditor.reading import Bad, Said, read
from tests.samples.make import SAMPLES

LINES = (SAMPLES / "demo.jsonl").read_bytes().splitlines()
LEVELS: dict[str, int] = tomllib.loads((SAMPLES / "stock.toml").read_text())["levels"]


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    told: dict[str, Any] = json.loads((SAMPLES / "demo.expected.json").read_text())
    return told


def test_the_counts_of_the_lines_need_no_service(expected: dict[str, Any]) -> None:
    """Records, duplicates and dead letters are the same whoever answers the commands."""
    report = Auditor().hear_all(LINES).report()
    for name in ("records", "events", "applied", "duplicates", "ignored", "parked", "dead_letters"):
        assert report[name] == expected[name], name
    authorised = {currency: line["authorised"] for currency, line in report["money"].items()}
    assert authorised == {currency: line["authorised"] for currency, line in expected["money"].items()}


def test_each_order_has_one_reason_to_end_as_it_does(expected: dict[str, Any]) -> None:
    """Cancelled are: totals ending in .13, what the carrier fails, what is out of stock, what the customer cancels; the rest completes."""
    orders = {said.order_id: said for said in _said() if said.kind == "OrderCreated"}
    cancelled = {said.order_id for said in _said() if said.kind == "OrderCancelled"}
    declined = {order_id for order_id, said in orders.items() if str(said.payload["total"]).endswith(".13")}
    unshippable = {order_id for order_id, said in orders.items() if "NOSHIP" in _skus(said)}
    rare = [order_id for order_id, said in orders.items() if "RARE" in _skus(said)]
    short = set(rare[LEVELS["RARE"] :])
    reasons = [cancelled, declined, unshippable, short]
    assert all(reasons)
    assert sum(map(len, reasons)) == len(set().union(*reasons)) == expected["orders"]["CANCELLED"]
    assert len(orders) - expected["orders"]["CANCELLED"] == expected["orders"]["COMPLETED"]


def test_everything_ordered_has_a_level() -> None:
    """Stock knows every SKU of the demo, and only RARE runs out."""
    wanted: dict[str, int] = {}
    for said in {said.event_id: said for said in _said() if said.kind == "OrderCreated"}.values():
        for line in said.payload["items"]:
            wanted[line["sku"]] = wanted.get(line["sku"], 0) + line["quantity"]
    assert set(wanted) <= set(LEVELS)
    assert {sku for sku, quantity in wanted.items() if quantity > LEVELS[sku]} == {"RARE"}


def _said() -> list[Said]:
    said = []
    for line in LINES:
        try:
            said.append(read(line))
        except Bad:
            continue
    return said


def _skus(said: Said) -> set[str]:
    return {line["sku"] for line in said.payload["items"]}
