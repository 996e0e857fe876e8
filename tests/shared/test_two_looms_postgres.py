"""Two looms in processes of their own over one workspace in PostgreSQL: `make cluster-test` runs them."""

from __future__ import annotations

import pytest

from tests.shared.two_looms import TwoLooms


@pytest.mark.reliability
class TestTwoLoomsOnPostgres(TwoLooms):
    """Runs them in a PostgreSQL schema of its own for each test."""
