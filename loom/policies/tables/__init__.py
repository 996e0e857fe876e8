"""Decision tables: policies that are data (`loom.table/1`), loaded, checked, evaluated."""

from __future__ import annotations

from loom.policies.tables.lint import Finding, lint
from loom.policies.tables.table import Table, load_table

__all__ = ["Finding", "Table", "lint", "load_table"]
