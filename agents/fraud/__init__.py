"""Fraud in event time: rules are data, and every alert says what it saw."""

from agents.fraud.agent import fraud
from agents.fraud.rules import RuleError, RuleSet, line_of, read_rules

__all__ = ["RuleError", "RuleSet", "fraud", "line_of", "read_rules"]
