"""Every command of the shell, as `--help` says it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["commands_page", "every_command"]

_BEGINS = """# Commands

Every command of `loom`, as its `--help` says it. The options of the first section, such as `--config` and `--json`, may
come before the command or after it.
"""
_WIDTH = 100


def commands_page() -> str:
    """Return the page."""
    parts = [_BEGINS]
    for path, command, context in every_command():
        name = " ".join(path)
        parts += [f"## {name}", "", "```text", str(command.get_help(context)).strip(), "```", ""]
    return "\n".join(parts)


def every_command() -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield each command that is not hidden: its path, itself, and a context to ask it in."""
    import typer

    from loom.cli.app import app

    root = typer.main.get_command(app)
    context = typer.Context(root, info_name="loom", max_content_width=_WIDTH, terminal_width=_WIDTH)
    yield ("loom",), root, context
    yield from _below(root, context, ("loom",))


def _below(group: Any, context: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    import typer

    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inside = typer.Context(command, info_name=name, parent=context, max_content_width=_WIDTH, terminal_width=_WIDTH)
        yield (*path, name), command, inside
        if hasattr(command, "list_commands"):
            yield from _below(command, inside, (*path, name))
