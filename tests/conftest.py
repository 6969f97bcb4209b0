"""Settings of all tests."""

from hypothesis import settings

# No test is about time, so none fails for it.
settings.register_profile("tightfit", deadline=None)
settings.load_profile("tightfit")
