"""How deeply properties are searched: quickly while one works, thoroughly and repeatably in continuous integration."""

from hypothesis import settings

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=500, deadline=None, derandomize=True, print_blob=True)
settings.load_profile("dev")
