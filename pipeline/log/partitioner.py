"""Which partition a key belongs to: the default of Kafka's Java clients, so that every service agrees."""

from functools import lru_cache

from aiokafka.partitioner import murmur2


@lru_cache(maxsize=1 << 16)
def partition_of(key: bytes, partitions: int) -> int:
    """murmur2, positive, modulo; remembered, because in Python a hash costs more than an event's decoding."""
    return 0 if partitions == 1 else int(murmur2(key) & 0x7FFFFFFF) % partitions
