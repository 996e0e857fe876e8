"""What all tests share.

Hypothesis tries the same examples every time; `--hypothesis-profile=explore` looks for new ones.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=1_000, print_blob=True)
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _fresh_logging() -> Iterator[None]:
    """Put the logging of the process back as it was: it is global, and what tests the shell sets it up."""
    root, loom = logging.getLogger(), logging.getLogger("loom")
    handlers, levels = root.handlers[:], (root.level, loom.level)
    structlog.reset_defaults()
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    loom.setLevel(levels[1])
    structlog.reset_defaults()
