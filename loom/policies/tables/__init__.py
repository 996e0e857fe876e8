"""Decision tables: policies that are data (`loom.table/1`), loaded, checked, evaluated."""

from __future__ import annotations

from loom.policies.tables.gaps import Partial
from loom.policies.tables.lint import Finding, lint
from loom.policies.tables.nearest import Change, Nearest
from loom.policies.tables.reading import load_table
from loom.policies.tables.table import Table

__all__ = ["Change", "Finding", "Nearest", "Partial", "Table", "lint", "load_table"]
