"""Fraud rules, against references that know no panes."""
