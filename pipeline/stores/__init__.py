"""Where state is kept: an ordered map of bytes with atomic batches, in RocksDB or in memory."""
