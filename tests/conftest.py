"""Settings for all tests."""

from hypothesis import settings

# A run gives the same answer every time, and a slow machine is no failure.
settings.register_profile("automatch", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("automatch")
