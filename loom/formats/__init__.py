"""Formats of other people: a journal and its decisions as other programs read them.

Each module writes one format from what the journal holds, and adds nothing to it. docs/formats.md says, field by
field, what each format gets, and what is left out.
"""

from __future__ import annotations

from loom.formats.reading import DecisionsRead, LeftOut
from loom.formats.writing import FORMATS, SIGNED, FormatName, Written, write_format

__all__ = [
    "FORMATS",
    "SIGNED",
    "DecisionsRead",
    "FormatName",
    "LeftOut",
    "Written",
    "write_format",
]
