"""The log: partitions, offsets, transactions. In this process, or Kafka."""
