"""Matching looks at shapes only: networks of these tests are built without memory."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def on_meta() -> Iterator[None]:
    """Build modules on the meta device; a test that needs values asks for the cpu itself."""
    with torch.device("meta"):
        yield
