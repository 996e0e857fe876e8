"""The explorer as an extension: its section of the config, and its pages, which `loom serve` has at `/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loom.explorer.config import ExplorerConfig
from loom.extension import Extension

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["extension"]


def _site(api: Any) -> ASGIApp:
    from loom.explorer.site import create_site

    return create_site(api)


extension = Extension(name="explorer", sections={"explorer": ExplorerConfig}, site=_site)
