"""The shell kit: what the commands of a wing are made of.

A package offers a function that takes the Typer app under the entry-point group `loom.commands`. The shell imports that
module at each start, whatever is asked of it: keep its imports to this kit, and import the wing inside the commands.
"""

from __future__ import annotations

from loom.cli.command import EXIT_NO, EXIT_OK, command
from loom.cli.commands.approvals import ByOption, ReasonOption
from loom.cli.helping import Sections
from loom.cli.listing import Cell, cell, fields, listing, rows_of
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import named, one_line, who

__all__ = [
    "EXIT_NO",
    "EXIT_OK",
    "ByOption",
    "Cell",
    "Column",
    "ReasonOption",
    "Sections",
    "Shell",
    "cell",
    "command",
    "fields",
    "listing",
    "named",
    "one_line",
    "rows_of",
    "who",
]
