"""The commands of `loom`, put together."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from loom.cli.command import Common, ConfigOption, DebugOption, JournalOption, JsonOption, WorkspaceOption
from loom.cli.commands import (
    actors,
    approvals,
    archive,
    budget,
    checking,
    checkpoint,
    contradicting,
    copy,
    costs,
    decisions,
    demo,
    docs,
    doctor,
    drift,
    enriching,
    export,
    graph,
    importing,
    init,
    journal,
    metrics,
    notices,
    outcomes,
    oversight,
    people,
    policies,
    precedents,
    prove,
    replay,
    retention,
    run,
    runs,
    subjects,
    suggestions,
    turns,
    upgrade,
    verify,
    views,
    witness,
)
from loom.cli.helping import FrontDoor

__all__ = ["app", "main"]

_EPILOG = (
    "Without options, the loom is that of the nearest loom.config.yaml from here upwards, else ./loom-data/default. "
    "Ids may be shortened as long as they name one thing.\n\n"
    "Exit codes: 0 yes, or done; 1 the answer is no, or something was found; "
    "2 wrong usage, or the machine, the config or the journal stands in the way; 130 interrupted."
)


class _Loom(FrontDoor):
    first = (
        *("demo", "docs", "init", "run"),
        *("decisions", "why"),
        *("approvals", "approve", "policies"),
        *("replay", "drift", "verify"),
    )


app = typer.Typer(
    name="loom",
    cls=_Loom,
    epilog=_EPILOG,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)

for part in (
    demo,
    docs,
    init,
    run,
    importing,
    outcomes,
    enriching,
    journal,
    decisions,
    precedents,
    runs,
    graph,
    approvals,
    contradicting,
    turns,
    actors,
    subjects,
    policies,
    suggestions,
    metrics,
    oversight,
    people,
    notices,
    budget,
    costs,
    replay,
    drift,
    verify,
    checkpoint,
    witness,
    checking,
    upgrade,
    copy,
    doctor,
    views,
    export,
    prove,
    archive,
    retention,
):
    part.add_to(app)

for point in entry_points(group="loom.commands"):  # of extensions: see loom.extension
    try:
        point.load()(app)
    except Exception as error:
        sys.stderr.write(f"commands [{point.name}] of [{point.value}] cannot be loaded [{error!r}]; left out\n")


def _print_version(*, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"loom {version('loom-journal')}")
        raise typer.Exit


def _print_all(context: typer.Context, *, wanted: bool) -> None:
    if wanted:
        typer.echo(context.get_help())
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    config: ConfigOption = None,
    journal: JournalOption = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Show all commands, as --help does.", callback=_print_all, is_eager=True)
    ] = False,
) -> None:
    """An actor runtime that remembers why: run it, read it back, answer what it asks."""
    context.obj = Common(config, journal, workspace, json, debug)


def main() -> None:
    """Run the shell."""
    app()
