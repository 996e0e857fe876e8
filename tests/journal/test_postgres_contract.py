"""The PostgreSQL store keeps the contract of all journal stores."""

from __future__ import annotations

from tests.contracts.journal_store import JournalStoreContract


class TestPostgresStore(JournalStoreContract):
    """Runs the contract in a PostgreSQL schema of its own for each test."""
