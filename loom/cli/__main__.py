"""`python -m loom.cli` is `loom`."""

from __future__ import annotations

from loom.cli import main

main()
