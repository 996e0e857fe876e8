"""The workspace that the tools read."""

from __future__ import annotations

from tests.cli.conftest import filled

__all__ = ["filled"]
