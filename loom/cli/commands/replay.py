"""`loom replay`: the states of an actor, whether its code still does the same, and decisions judged again."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import EXIT_NO, EXIT_UNSURE, command
from loom.cli.commands.judging import judge
from loom.cli.commands.rerunning import rerun
from loom.cli.helping import Sections
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import as_json, compact, moment, one_line, plain, shortened

if TYPE_CHECKING:
    from rich.text import Text

    from loom.replay import Replay

__all__ = ["add_to", "drive_again"]

_HELP = """Show the states of an actor, or judge decisions again under another version.

`loom replay TYPE/KEY` is short for `loom replay state TYPE/KEY`."""
_STYLES = {"same": "green", "diverged": "red", "not_replayable": "yellow"}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(cls=_StateUnlessNamed, help=_HELP)
    command(group, "state")(replay)
    command(group, "judge")(judge)
    command(group, "run")(rerun)
    app.add_typer(group, name="replay", rich_help_panel="Check")


class _StateUnlessNamed(Sections):
    """Takes `loom replay TYPE/KEY` for `loom replay state TYPE/KEY`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command in front where none is named."""
        if args and args[0] not in ("--help", "-h") and not any(each in self.commands for each in args):
            args = ["state", *args]
        return super().parse_args(ctx, args)


async def replay(
    shell: Shell,
    journal: Annotated[str, typer.Argument(metavar="TYPE/KEY", help="The actor's journal.", show_default=False)],
    at: Annotated[int | None, typer.Option("--at", min=1, help="Only the state after this sequence.")] = None,
    until: Annotated[int | None, typer.Option(min=1, help="States up to this sequence.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Replay each finished turn and compare: does the code still do the same?")
    ] = False,
) -> int | None:
    """Show what an actor's state was after each entry of its journal, or at one.

    Nothing is fetched, performed or written. The actor's module must be listed in the config.
    """
    from loom.cli.reading import open_readings
    from loom.cli.rehearsing import replaying

    shell.allow_imports()
    async with open_readings(shell) as readings, replaying(readings, shell) as again:
        if verify:
            return await drive_again(shell, again, journal)
        if at is not None:
            await _state_at(shell, again, journal, at)
        else:
            await _states(shell, again, journal, until)
    return None


async def _state_at(shell: Shell, again: Replay, journal: str, at: int) -> None:
    state = plain(await again.state(journal, until=at))
    shell.answer({"journal": journal, "sequence": at, "state": state}, as_json(state))


async def _states(shell: Shell, again: Replay, journal: str, until: int | None) -> None:
    """Print the state after each entry; if it did not change, say so and do not repeat it."""
    rows: list[list[str | Text]] = []
    before: Any = object()
    async for after in again.states(journal, until=until):
        state, recorded = plain(after.state), after.recorded
        if shell.json:
            line = {"sequence": recorded.sequence, "kind": recorded.kind, "state": state, "changed": state != before}
            shell.output.line(line)
        shown = compact(state) if state != before else "·"
        rows.append([str(recorded.sequence), moment(recorded.recorded_at), one_line(recorded.kind, 28), shown])
        before = state
    if not rows:
        await again.state(journal)  # says that there is no such journal
    if not shell.json:
        columns = [Column("#", right=True), Column("time (UTC)", "dim"), Column("kind", "cyan")]
        shell.output.table([*columns, Column("state after it", wide=True, wraps=True)], rows)


async def drive_again(shell: Shell, again: Replay, journal: str) -> int | None:
    """Replay the finished turns of a journal, and print the results.

    Exit code 3 says that none diverged because none could be replayed.
    """
    from rich.text import Text

    found = [each async for each in again.verify(journal)]
    if shell.json:
        shell.output.document([each.model_dump(mode="json") for each in found])
    elif not found:
        shell.output.say(f"[{journal}] has no finished turn to replay.")
    else:
        short = shortened(each.command_id for each in found)
        rows: list[list[str | Text]] = [
            [
                short[each.command_id],
                Text(each.verdict.replace("_", " "), style=_STYLES[each.verdict]),
                one_line(each.reason or ""),
            ]
            for each in found
        ]
        shell.output.table([Column("turn", "cyan"), Column("verdict"), Column("why", wide=True, wraps=True)], rows)
        verdicts = sorted(each.verdict for each in found)
        shell.output.say(
            ", ".join(f"{len(list(same))} {verdict.replace('_', ' ')}" for verdict, same in itertools.groupby(verdicts))
        )
    if any(each.verdict == "diverged" for each in found):
        return EXIT_NO
    return None if not found or any(each.verdict == "same" for each in found) else EXIT_UNSURE
