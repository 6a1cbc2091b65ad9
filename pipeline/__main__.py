"""`python -m pipeline` is `orderflow`."""

from pipeline.cli import main

main()
