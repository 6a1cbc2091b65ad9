"""Fraud in event time: rules are data, and every alert says what it saw."""

from agents.fraud.agent import fraud
from agents.fraud.rules import RuleSet
from agents.fraud.written import RuleError, line_of, read_rules

__all__ = ["RuleError", "RuleSet", "fraud", "line_of", "read_rules"]
