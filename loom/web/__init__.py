"""The edge to HTTP: what a workspace holds and does, for programs that have a key. Needs the extra `server`."""

from __future__ import annotations

__all__: list[str] = []
