"""The cycle collector of a process that runs chunks."""

import gc

YOUNG_OBJECTS = 100_000
"""Between two looks for cycles: a chunk makes many objects and no cycles, and looking at them all costs a tenth of the run."""


def rarely_collect() -> None:
    """Call it when all is imported, which is here to stay."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
