"""`loom routing`: how routing stands, what history changed, the kill switch, and replays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loom.ext.shell import EXIT_NO, ByOption, Column, ReasonOption, Sections, Shell, command, named

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = ["add_to"]

_Request = Annotated[str, typer.Argument(metavar="REQUEST", help="The id of a request.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="Choose agents under rails: status, timeline, kill switch, replay.")
    command(group, "status", default=True)(status)
    command(group, "timeline")(timeline)
    command(group, "mode")(mode)
    command(group, "kill")(kill)
    command(group, "rearm")(rearm)
    command(group, "replay")(replay)
    app.add_typer(group, name="routing", rich_help_panel="Wings")


async def status(shell: Shell) -> None:
    """Show what history may do, who said so, and how the kill switch stands."""
    from loom.ext.acting import open_readings
    from loom.routing import CareOptimizationConfig, extension
    from loom.routing.reading import read_status

    async with open_readings(shell, extension) as readings:
        section = shell.settings.sections.get("care_optimization")
        config = section if isinstance(section, CareOptimizationConfig) else CareOptimizationConfig()
        found = await read_status(readings.queries, config)
    _print_status(shell, found.model_dump(mode="json"))


async def timeline(
    shell: Shell,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most this many.")] = 20,
) -> None:
    """Show the choices that history changed, newest first: baseline, choice, reason, confidence, signals."""
    from loom.ext.acting import open_readings
    from loom.routing import extension
    from loom.routing.reading import read_timeline

    async with open_readings(shell, extension) as readings:
        entries = await read_timeline(readings.queries, limit=limit)
    if shell.json:
        shell.output.document([each.model_dump(mode="json") for each in entries])
    elif not entries:
        shell.output.say("History has changed no choice.")
    else:
        shell.output.say("\n\n".join(each.explained for each in entries))


async def mode(
    shell: Shell,
    mode: Annotated[Literal["disabled", "shadow", "active", "stable"], typer.Argument(help="What history may do.")],
    by: ByOption,
    reason: Annotated[str | None, typer.Option("--reason", "-m", help="Why.", show_default=False)] = None,
    version: Annotated[str | None, typer.Option("--version", help="The version to record.", show_default=False)] = None,
) -> None:
    """Say what history may do from here on: nothing, be compared, be used, or be used by default."""
    _print_status(shell, await _act(shell, "mode", {"mode": mode, "by": by, "reason": reason, "version": version}))


async def kill(shell: Shell, by: ByOption, reason: ReasonOption) -> None:
    """Stop optimisation at once: the baseline alone chooses."""
    _print_status(shell, await _act(shell, "kill", {"by": by, "reason": reason}))


async def rearm(
    shell: Shell,
    by: ByOption,
    reason: ReasonOption,
    cause: Annotated[
        str | None, typer.Option("--cause", help="What made the system stop it, where it did.", show_default=False)
    ] = None,
    request: Annotated[
        str | None,
        typer.Option(
            "--replay", metavar="REQUEST", help="The request to replay first; by default the one it stopped for."
        ),
    ] = None,
) -> None:
    """Let optimisation work again; where the system stopped it, that takes a cause and a replay that passes."""
    given = {"by": by, "reason": reason, "cause": cause, "replay": request}
    _print_status(
        shell, await _act(shell, "rearm", {name: value for name, value in given.items() if value is not None})
    )


async def replay(shell: Shell, request_id: _Request, by: ByOption) -> int:
    """Choose again what was chosen, on the same snapshot; a divergence engages the kill switch."""
    found = await _act(shell, "replay", {"request_id": request_id}, by=by)
    if shell.json:
        shell.output.document(found)
    elif found["not_replayable"]:
        shell.output.say(f"not replayable: {found['not_replayable']}")
    else:
        chosen = found["recorded"]["agent"]
        shell.output.say(
            f"chosen was {chosen}, now {found['agent']}: {'diverged' if found['diverged'] else 'the same'}"
        )
        for difference in found["differences"]:
            shell.output.say(f"  {difference}")
        if found["diverged"]:
            shell.output.say("Optimisation is halted: look into it, then `loom routing rearm --cause WHAT`.")
    return EXIT_NO if found["diverged"] or found["not_replayable"] else 0


async def _act(shell: Shell, word: str, arguments: dict[str, JsonValue], *, by: str | None = None) -> Any:
    from loom.ext.acting import act
    from loom.routing import extension

    said, _ = await act(shell, f"routing.{word}", arguments, by=by or str(arguments["by"]), extensions=(extension,))
    return said


def _print_status(shell: Shell, found: dict[str, Any]) -> None:
    if shell.json:
        shell.output.document(found)
        return
    said_by = f"by {named(found, 'set_by')}" if found["set_by"] else "not set at run time: the config's"
    because = f": {found['set_because']}" if found["set_because"] else ""
    source = " (from the config)" if found["source"] == "config" else ""
    switch = "engaged" if found["killed"] else "armed"
    if found["switch_by"]:
        by_system = found["switch_trigger"] == "system"  # entries of before say that by their trigger alone
        who = f"{found['switch_by']} (system)" if by_system else named(found, "switch_by")
        switch += f", by {who}: {found['switch_because']}"
        if found["killed"] and found["switch_condition"]:
            switch += f" ({found['switch_condition']}; `loom routing rearm` takes --cause, and replays a request)"
    rows = [
        ("mode", found["mode"]),
        ("set", f"{said_by}{source}{because}"),
        ("version", found["version"]),
        ("kill switch", switch),
        ("history chose", f"{found['decisions']:,} times"),
        ("answered outside", f"{found['answered_outside']:,} times, with the baseline"),
    ]
    shell.output.table([Column("", "dim"), Column("", wide=True, wraps=True)], rows, header=False)
