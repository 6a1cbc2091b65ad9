"""How it runs: the composition root, the one path of a chunk, transports, stores, replay, command line."""
