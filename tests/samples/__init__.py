"""The sample files hold what they promise."""
