"""Sums per window: what is added up, and what a summary of too many products may miss."""

from collections import Counter
from functools import reduce
from operator import add

from hypothesis import given
from hypothesis import strategies as st

from tables.sales import MOST_PRODUCTS, Products, Sales

AT = 1_735_689_600_000
amounts = st.dictionaries(st.sampled_from(["USD", "EUR", "JPY"]), st.integers(-1_000, 1_000), max_size=3)
counts = st.integers(0, 5)
steps = st.builds(Sales, st.just(AT), counts, counts, counts, counts, counts, amounts, amounts)
skewed = st.lists(st.tuples(st.integers(0, 400).map(lambda n: f"SKU{n * n // 400}"), st.integers(1, 9)), max_size=900)


@given(st.lists(steps, min_size=1, max_size=8), st.integers(0, 8))
def test_sums_do_not_depend_on_how_they_were_split(added: list[Sales], cut: int) -> None:
    """One partition after the other, or all at once: every field is the sum of that field."""
    whole = reduce(add, added, Sales())
    assert reduce(add, added[:cut], Sales()) + reduce(add, added[cut:], Sales(AT)) == whole
    assert whole.orders == sum(each.orders for each in added)
    assert whole.cancelled == sum(each.cancelled for each in added)
    for currency in ("USD", "EUR", "JPY"):
        captured, refunded = (sum(getattr(each, name).get(currency, 0) for each in added) for name in ("captured", "refunded"))
        assert whole.revenue.get(currency, 0) == captured - refunded


def test_the_most_wanted_come_first() -> None:
    """Of the same number, in the order of the SKUs."""
    assert Products(AT, {"B": 2, "A": 2, "C": 9, "D": 1}).top(3) == [("C", 9), ("A", 2), ("B", 2)]


@given(st.lists(skewed, min_size=1, max_size=3))
def test_counts_of_many_products_miss_no_more_than_they_say(parts: list[list[tuple[str, int]]]) -> None:
    """Against exact counts, over several partitions: never too high, never more than `below` too low, and that is bounded."""
    exact: Counter[str] = Counter()
    rows: list[Products] = []
    for part in parts:
        row = Products()
        for sku, pieces in part:
            exact[sku] += pieces
            row += Products(AT, {sku: pieces})
        rows.append(row)
    found = reduce(add, rows)
    assert len(found.pieces) <= MOST_PRODUCTS
    assert all(exact[sku] - found.below <= found.pieces.get(sku, 0) <= exact[sku] for sku in exact)
    assert found.below <= exact.total() // (MOST_PRODUCTS + 1)
    if len(exact) <= MOST_PRODUCTS:
        assert found.pieces == dict(exact)
