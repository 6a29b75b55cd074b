"""Settings for all tests."""

import pytest
from hypothesis import settings

# A run gives the same answer every time, and a slow machine is no failure.
settings.register_profile("automatch", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("automatch")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The flag that writes golden texts anew."""
    parser.addoption("--overwrite-golden", action="store_true", help="write the golden texts of the screens anew")
