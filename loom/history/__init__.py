"""History: decisions that were made before loom was in use, imported with their own time."""

from __future__ import annotations

from loom.history.history import History, Imported, ImportReport
from loom.history.map import ImportMap, load_map
from loom.history.reading import rows_in

__all__ = ["History", "ImportMap", "ImportReport", "Imported", "load_map", "rows_in"]
