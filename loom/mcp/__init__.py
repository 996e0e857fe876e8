"""A server of the Model Context Protocol: a model reads a journal, and cannot answer for a person.

Its tools read. The only one that leads to an answer opens a page of the explorer, where a person signs in. Everything
from the journal comes fenced, as data of others. The server itself is in `loom.mcp.server` and `loom.mcp.http`, which
need the extra `mcp`.
"""

from __future__ import annotations

from loom.mcp.access import KEY_VARIABLE, READING_ROLES, KeyRefusedError, reading_key
from loom.mcp.fence import fenced
from loom.mcp.tools import Opened, Tools

__all__ = ["KEY_VARIABLE", "READING_ROLES", "KeyRefusedError", "Opened", "Tools", "fenced", "reading_key"]
