"""The section `web`: where the API listens, for which workspaces, and within which bounds."""

from __future__ import annotations

from pydantic import Field

from loom.config import Section

__all__ = ["WebConfig"]


class WebConfig(Section):
    """What the API is set to. It listens on the loopback unless somebody says otherwise."""

    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65_535)
    workspaces: tuple[str, ...] = ()
    """Those that are served; by default the config's own."""
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    max_body_bytes: int = Field(default=1_048_576, ge=1_024, le=16_777_216)
    requests_per_minute: int = Field(default=6_000, ge=1, le=10_000_000)
    """Of one key."""
    drain_s: float = Field(default=10.0, ge=0, le=600)
