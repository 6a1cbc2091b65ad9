"""What is decided: one file (or folder) per agent, pure."""
