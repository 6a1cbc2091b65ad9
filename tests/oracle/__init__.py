"""What we compute, held against what Apache Kafka Streams computes from the same events."""
