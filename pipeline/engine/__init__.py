"""The one path that every agent goes through, a chunk at a time, whatever the transport, the store and the clock."""
