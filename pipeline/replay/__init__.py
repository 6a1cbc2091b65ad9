"""Files in, report out: replaying recorded events, and making them."""
