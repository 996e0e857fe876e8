"""The explorer as an extension: its section of the config, and its pages, which `loom serve` has at `/`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from loom.explorer.config import ExplorerConfig
from loom.extension import Extension, Host
from loom.replay.what_if import WhatIfProcess

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["extension"]


def _site(api: Any) -> ASGIApp:
    from loom.explorer.site import create_site

    return create_site(api)


@contextlib.asynccontextmanager
async def _start(host: Host) -> AsyncIterator[WhatIfProcess]:
    """Yield what judges for the page "What if": a process that starts with the first question."""
    async with WhatIfProcess.open(host.files.journal, background=host.background) as process:
        yield process


extension = Extension(name="explorer", sections={"explorer": ExplorerConfig}, start=_start, site=_site)
