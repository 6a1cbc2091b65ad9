"""Which partition a key belongs to: the default of Kafka's Java clients, so that every service agrees."""

from functools import lru_cache

from aiokafka.partitioner import murmur2


def partition_of(key: bytes, partitions: int) -> int:
    """murmur2, positive, modulo."""
    return 0 if partitions == 1 else _positive_hash(key) % partitions


@lru_cache(maxsize=1 << 16)
def _positive_hash(key: bytes) -> int:
    """Remembered: in Python it costs as much as decoding an event, and a key comes often, in topics of several sizes."""
    return int(murmur2(key) & 0x7FFFFFFF)
