"""`loom import`: import decisions that were made before loom was in use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.approvals import ByOption
from loom.cli.shell import Shell
from loom.text import one_line

if TYPE_CHECKING:
    from loom.history import ImportReport

__all__ = ["add_to"]

_LONGEST = 600


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "import", panel="History")(import_file)


async def import_file(
    shell: Shell,
    by: ByOption,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="CSV, JSON lines, or an SQLite file.", show_default=False)
    ] = None,
    map_file: Annotated[
        Path | None, typer.Option("--map", metavar="MAP", help="Which column is what, in YAML.", show_default=False)
    ] = None,
    select: Annotated[str | None, typer.Option(metavar="SQL", help="One SELECT, for an SQLite file.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would import, or why it cannot.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Finish an import of this file that was cut short.")] = False,
    abandon: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Abandon an unfinished import; this cannot be undone.", show_default=False),
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", "-m", help="Why it is abandoned.")] = None,
    log: Annotated[
        Literal["opa"] | None, typer.Option("--from", help="The file is a decision log of Open Policy Agent.")
    ] = None,
    policy_path: Annotated[
        str | None, typer.Option("--path", metavar="PATH", help="With --from opa: only events of this path.")
    ] = None,
) -> int | None:
    """Import decisions that were made before loom was in use, in your own name. No loom may run meanwhile.

    All rows are checked before one is written. Exit code 1: some cannot be imported, and nothing was written.
    """
    from loom.cli.acting import open_loom, without_code
    from loom.errors import ImportRefusedError

    if (abandon is None) == (file is None) or (file is not None and map_file is None):
        raise typer.BadParameter("name a FILE and its --map, or the import to --abandon")
    if policy_path is not None and log is None:
        raise typer.BadParameter("only a decision log has paths: expected --from opa", param_hint="--path")
    place = shell.place if abandon is None else shell.existing
    async with open_loom(without_code(place), by=by) as loom:
        if abandon is not None:
            run = await loom.history.abandon(abandon, by=by, reason=reason)
            said = f"import {run.run_id} is abandoned: the decisions that it wrote stay, and are marked"
            shell.answer(run.model_dump(mode="json"), said)
            return None
        assert file is not None and map_file is not None  # noqa: S101, PT018 - see above
        rows = loom.history.rows(file, map_file, select=select, log=log, policy_path=policy_path)
        try:
            with shell.output.progress("importing") as tell:
                if dry_run:
                    return _say(shell, await loom.history.check(rows, map_file, progress=tell))
                done = await loom.history.load(rows, map_file, by=by, resume=resume, progress=tell)
        except ImportRefusedError as refused:
            if refused.report is None:
                raise
            return _say(shell, refused.report)  # type: ignore[arg-type]
    if shell.json:
        shell.output.document(done.model_dump(mode="json"))
        return None
    _say(shell, done.report)
    shell.output.say(f"import {done.run_id}: {done.written:,} decisions written", style="green")
    return None


def _say(shell: Shell, report: ImportReport) -> int | None:
    """Print what the rows would import, or why they cannot; return 1 if they cannot."""
    if shell.json:
        shell.output.document({**report.model_dump(mode="json"), "ok": report.ok})
        return None if report.ok else EXIT_NO
    for line in report.lines():
        shell.output.say(one_line(line, _LONGEST))
    if not report.ok:
        shell.output.say("Nothing was written.", style="red")
        return EXIT_NO
    return None
