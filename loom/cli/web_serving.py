"""Serving workspaces over HTTP from a command: the API and the pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from loom.errors import ConfigError

if TYPE_CHECKING:
    from loom.extension import Extension
    from loom.runtime import Loom
    from loom.web.config import WebConfig

__all__ = ["serve_workspaces", "served_extensions"]


def served_extensions() -> tuple[Extension, ...]:
    """Return the extensions that a served loom has: those with routes or pages, and the API itself."""
    from loom.extension import installed
    from loom.web.extension import extension as web

    return (*(each for each in installed().values() if each.routes is not None or each.site is not None), web)


async def serve_workspaces(
    opens: Mapping[str, Callable[[], Loom]],
    config: WebConfig,
    *,
    host: str | None = None,
    port: int | None = None,
    listening: Callable[[str, int], None],
    waits: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM; raise `ConfigError` where the extra is missing or the port is taken.

    Where opening a workspace `waits` for another process, nothing listens until it is open.
    """
    try:
        from loom.web.app import create_app
        from loom.web.serving import serve
    except ImportError as error:
        raise ConfigError(
            f"the API needs a package that is not there [{error.name}]; expected the extra [server]: "
            "pip install 'loom-journal[server]'"
        ) from error
    await serve(
        create_app(opens, config),
        host=host or config.host,
        port=config.port if port is None else port,
        config=config,
        listening=listening,
        waits=waits,
    )
