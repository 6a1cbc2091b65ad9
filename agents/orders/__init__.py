"""The order saga: facts of orders, payments, stock, shipping and fraud in; commands, compensations and the order's own facts out."""

from agents.orders.agent import ORDERS, Style, saga
from agents.orders.life import life
from agents.orders.timeouts import Timeouts

__all__ = ["ORDERS", "Style", "Timeouts", "life", "saga"]
