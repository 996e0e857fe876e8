"""What the tests of journals share."""

from __future__ import annotations

import pytest

from tests.journal.faulty import Faults, faulty


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """What SQLite does to writers: nothing, until a test plans a fault."""
    return faulty(monkeypatch)
