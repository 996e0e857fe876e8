"""The shell kit, its other half: what a command does once it runs. Imported inside commands, as it takes its time."""

from __future__ import annotations

from loom.cli.acting import act
from loom.cli.reading import loaded, open_journal, open_readings

__all__ = ["act", "loaded", "open_journal", "open_readings"]
