"""Tasks inside a Faust app: Faust keeps the life cycle, the assignment and the recovery; the engine keeps the records."""
