"""The explorer: pages where people look, answer and ask. Needs the extra `server`."""

from __future__ import annotations

__all__: list[str] = []
