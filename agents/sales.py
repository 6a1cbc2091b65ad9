"""The agents that sum up what becomes of orders, per window of event time: they hear nothing, and watch the orders' rows."""

from agents.agent import Agent, AnyAgent, Deadline, Decision, Watch
from schemas.message import Due, Envelope
from tables.orders import ORDERS
from tables.sales import KEPT_MS, PRODUCTS, SALES, Products, Sales, sold, wanted


def _forget(_row: Sales | Products, _heard: Envelope[Due]) -> Decision:
    return ()


def _until(row: Sales | Products) -> Deadline | None:
    return None if row.start < 0 else Deadline(row.start + KEPT_MS, "kept")


def sales() -> tuple[AnyAgent, ...]:
    """They take part in the orders' own chunks: nothing is re-keyed for them, and they add what the saga has done, once."""
    return (
        Agent(name="sales", hears=(Due,), table=SALES, decide=_forget, due=_until, watches=Watch(ORDERS, sold)),
        Agent(name="products", hears=(Due,), table=PRODUCTS, decide=_forget, due=_until, watches=Watch(ORDERS, wanted)),
    )
