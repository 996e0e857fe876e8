"""The section `explorer`: how long people stay signed in to its pages."""

from __future__ import annotations

from pydantic import Field

from loom.config import Section
from loom.explorer.sources import OidcConfig, ProxyConfig

__all__ = ["ExplorerConfig"]


class ExplorerConfig(Section):
    """What the explorer is set to."""

    session_idle_s: float = Field(default=4 * 3_600.0, gt=0, le=30 * 86_400)
    """A session ends after this time without a request."""
    session_max_s: float = Field(default=24 * 3_600.0, gt=0, le=90 * 86_400)
    """A session ends after this time, whatever happens."""
    max_sessions: int = Field(default=10_000, ge=1, le=1_000_000)
    """At once; who signs in beyond that ends the session that was used longest ago."""
    proxy: ProxyConfig | None = None
    """A proxy that signs people in."""
    oidc: OidcConfig | None = None
    """Single sign-on."""
