"""The seeded shop: the same bytes everywhere, every order to the end of its story, every kind of trouble on the way."""

import gzip
import json
from collections import Counter
from decimal import Decimal
from itertools import islice

import pytest

from pipeline.replay.generate import STORIES, generate, story_of
from tests.auditor.auditor import Auditor
from tests.auditor.reading import Bad, read
from tests.samples import make

FEW, SEED = 3_000, 7


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return list(generate(FEW, SEED))


@pytest.fixture(scope="module")
def heard(lines: list[bytes]) -> Auditor:
    return Auditor().hear_all(lines)


@pytest.fixture(scope="module")
def bundled() -> list[bytes]:
    return make.lines()


def test_the_same_seed_gives_the_same_bytes(lines: list[bytes]) -> None:
    """Orders and seed decide every byte; another seed tells another history."""
    assert list(generate(FEW, SEED)) == lines
    assert list(generate(FEW, SEED + 1)) != lines


def test_the_bundled_file_is_what_the_generator_says_today(bundled: list[bytes]) -> None:
    """samples/orders-20k.jsonl.gz can be made again, byte for byte."""
    packed = (make.SAMPLES / "orders-20k.jsonl.gz").read_bytes()
    assert gzip.decompress(packed).splitlines() == bundled
    assert packed[4:8] == bytes(4), "the header's time is zero"


def test_the_bundled_expectation_is_the_auditors(bundled: list[bytes]) -> None:
    """samples/orders-20k.expected.json is the prediction for the bundled file."""
    expected = json.loads((make.SAMPLES / "orders-20k.expected.json").read_text())
    assert Auditor().hear_all(bundled).report() == expected


def test_every_order_ends_where_its_story_says(heard: Auditor) -> None:
    """The story is the last part of the order id; its end is in STORIES."""
    orders = heard.orders()
    assert len(orders) == FEW
    assert {i: o.status for i, o in orders.items()} == {i: STORIES[story_of(i)] for i in orders}


@pytest.mark.parametrize("seed", [11, 12])
def test_another_shop_ends_where_its_stories_say(seed: int) -> None:
    """No seed is chosen for its luck."""
    orders = Auditor().hear_all(generate(FEW // 3, seed)).orders()
    assert {i: o.status for i, o in orders.items()} == {i: STORIES[story_of(i)] for i in orders}
    assert len(orders) == FEW // 3


def test_every_story_is_told(heard: Auditor) -> None:
    """No story is so rare that three thousand orders lack it."""
    assert {story_of(order_id) for order_id in heard.orders()} == set(STORIES)


def test_most_orders_are_completed(heard: Auditor) -> None:
    """About four of five, as in a real shop."""
    assert 0.77 < heard.report()["orders"]["COMPLETED"] / FEW < 0.83


def test_no_order_is_left_waiting_or_stuck(heard: Auditor) -> None:
    """The last order comes so late that every deadline before it has passed."""
    assert heard.report()["parked"] == 0
    assert not any(order.stuck or order.open() for order in heard.orders().values())


def test_money_balances_in_every_currency(heard: Auditor) -> None:
    """Five currencies with zero, two and three digits; nothing unbalanced in any."""
    money = heard.report()["money"]
    assert set(money) == {"USD", "EUR", "GBP", "JPY", "BHD"}
    assert all(Decimal(line["unbalanced"]) == 0 for line in money.values())


def test_trouble_comes_in_the_promised_measure(lines: list[bytes], heard: Auditor) -> None:
    """About 1 line of 100 comes twice and 1 of 200 is a dead letter, of every reason that recorded files can hold."""
    report = heard.report()
    assert 0.007 < report["duplicates"] / len(lines) < 0.013
    assert 0.003 < sum(report["dead_letters"].values()) / len(lines) < 0.008
    assert set(report["dead_letters"]) == {"malformed", "invalid", "unsupported_version", "illegal_transition", "orphaned"}


def test_every_form_that_fits_in_a_line_occurs(lines: list[bytes]) -> None:
    """Nine of ten lines are canonical, the rest in the five foreign forms; samples/stories/foreign-forms.jsonl has the one with headers."""
    forms: Counter[str] = Counter()
    for line in lines:
        told = json.loads(line) if line.endswith(b"}") else []
        if "specversion" in told:
            forms["cloudevents"] += 1
        elif "eventId" in told:
            forms["camelCase"] += 1
        elif "data" in told:
            forms["bus"] += 1
        elif "payload" in told:
            forms["canonical" if "event_version" in told else "older"] += 1
        elif "event_id" in told:
            forms["flat"] += 1
    assert set(forms) == {"canonical", "older", "camelCase", "cloudevents", "bus", "flat"}
    assert 0.88 < forms["canonical"] / len(lines) < 0.92
    assert min(forms.values()) > 0.01 * len(lines)


def test_one_order_of_twenty_is_of_version_1(lines: list[bytes]) -> None:
    """In canonical form, in dollars, and without saying so."""
    old = sum(b'"event_type":"OrderCreated"' in line and b'"event_version":1' in line for line in lines)
    assert 0.04 < old / FEW < 0.06


def test_lines_come_late_and_it_changes_nothing(lines: list[bytes], heard: Auditor) -> None:
    """About 1 line of 100 is up to 20 s late; sorted by event time, the file ends in the same report."""
    times = [_time(line) for line in lines]
    greatest, late = 0, 0
    for at in times:
        late += 1_500 < greatest - at <= 20_000
        greatest = max(greatest, at)
    assert 0.005 < late / len(lines) < 0.02
    in_order = [line for _, _, line in sorted(zip(times, range(len(lines)), lines, strict=True))]
    assert Auditor().hear_all(in_order).report() == heard.report()


def _time(line: bytes) -> int:
    try:
        return read(line).at
    except Bad:
        return 0


def test_any_size_is_made_as_it_is_read() -> None:
    """The first lines of a shop of a thousand million orders come at once."""
    assert len(list(islice(generate(10**9, 1), 100))) == 100
    assert len(list(generate(1, 1))) >= 5
    assert list(generate(0, 1)) == []
