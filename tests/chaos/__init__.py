"""A cluster under faults, and a checker that shares nothing with the engine: `make chaos`."""
