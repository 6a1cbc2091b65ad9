"""Benchmarks: the same work on other stream processors and on ours, as commands."""
