"""`loom verify`: what is in the journal file, whether it is consistent, and what can no longer be checked."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import one_line

if TYPE_CHECKING:
    from rich.text import Text

    from loom.journal.findings import Finding, Verification
    from loom.projections.verifying import ViewFinding, ViewsVerification
    from loom.proof.verifying import Evidence
    from loom.workspace import Workspace

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "verify", panel="Check")(verify)


async def verify(
    shell: Shell,
    views: Annotated[
        bool, typer.Option("--views", help="Also fold the journal again, and compare the views with it row by row.")
    ] = False,
    root: Annotated[
        list[str] | None,
        typer.Option(metavar="SIZE:HEX", help="A root that was written down earlier; repeatable.", show_default=False),
    ] = None,
) -> int | None:
    """Verify the journal: every hash, the order, the schema, the indexes, and the heads recorded outside it.

    It prints the root of all entries, one hash. Keep it elsewhere: with `--root` a later run compares it. Checkpoints
    in the journal and in the anchors of the config are compared, too.
    With `--views` also the views: every row of every table, with a loom running or not. Exits with 1 if anything was
    found that is not declared; an unanchored tail is reported and is no fault.
    """
    from loom.journal.findings import CODES, DECLARED
    from loom.journal.roots import Root
    from loom.journal.verifying import verify_journal
    from loom.proof.verifying import with_evidence

    place, roots = shell.existing, [Root.parse(each) for each in root or ()]
    found = await _evidence(place)
    with shell.output.progress("verifying") as tell:
        result = await verify_journal(
            place.files,
            workspace=place.name,
            roots=roots,
            anchored=found.anchored,
            signed=found.signed,
            progress=tell,
        )
    result = with_evidence(result, found)
    compared = await _compared(shell) if views else None
    ok = result.ok and (compared is None or compared.ok)
    if shell.json:
        more = {} if compared is None else {"views": {**asdict(compared), "ok": compared.ok}}
        document = {**asdict(result), "ok": ok, "unanchored": result.unanchored, **_plain(found), **more}
        shell.output.document(document)
        return None if ok else EXIT_NO
    _print(shell, result, meanings=CODES, declared=DECLARED)
    _print_evidence(shell, found)
    if compared is not None:
        shell.output.say()
        _print_views(shell, compared)
    return None if ok else EXIT_NO


async def _evidence(place: Workspace) -> Evidence:
    """Return the checkpoints that the journal is held against; what cannot be read is a finding, as elsewhere."""
    from loom.journal.places import reader_of
    from loom.proof.verifying import evidence_of

    reader = reader_of(place.files)
    try:
        return await evidence_of(reader, place.name, place.files, place.config)
    finally:
        await reader.close()


def _plain(found: Evidence) -> dict[str, Any]:
    anchors = [{**each._asdict(), "at": each.at and each.at.isoformat()} for each in found.anchors]
    return {"origin": found.origin, "checkpoint": found.newest, "anchors": anchors}


def _print_evidence(shell: Shell, found: Evidence) -> None:
    if found.newest:
        shell.output.say(f"checkpoint of {found.newest} entries, log {found.origin}", style="dim")
    for each in found.anchors:
        when = "" if each.at is None else f", written down {shell.output.moment(each.at)}"
        said = one_line(each.problem, 200) if each.problem else f"checkpoint of {each.size} entries{when}"
        shell.output.say(f"anchor {each.name}: {said}", style="yellow" if each.problem else "dim")


async def _compared(shell: Shell) -> ViewsVerification:
    from loom.extension import installed
    from loom.projections.verifying import verify_views
    from loom.workspace import own_projections

    brought = [projection for each in installed().values() for projection in each.projections]
    with shell.output.progress("folding the journal again") as tell:
        return await verify_views(shell.existing.files, [*own_projections(), *brought], progress=tell)


def _print(shell: Shell, result: Verification, *, meanings: dict[str, str], declared: frozenset[str]) -> None:
    from rich.text import Text

    output = shell.output
    verdict, *_ = result.lines()
    output.say(one_line(verdict), style="bold green" if result.ok else "bold red")
    output.say(f"{result.path}, workspace {result.workspace or 'unknown'}", style="dim")
    if result.root is not None:
        output.say(f"root {result.size}:{result.root}", style="dim")
    if not result.findings:
        return
    output.say()

    def row(each: Finding) -> list[str | Text]:
        expected = each.code in declared
        where = "-" if each.position is None else str(each.position)
        said = each.message if each.journal is None else f"{each.journal} {each.sequence}: {each.message}"
        return [Text(each.code.replace("_", " ").lower(), style="yellow" if expected else "red"), where, one_line(said)]

    columns = [Column("finding"), Column("position", right=True), Column("what", wide=True, wraps=True)]
    output.table(columns, [row(each) for each in result.findings])
    output.say()
    for code in sorted({each.code for each in result.findings}):
        output.say(f"{code.replace('_', ' ').lower()}: {meanings.get(code, '')}", style="dim")
    hidden = sum(result.counts.values()) - len(result.findings)
    if hidden:
        output.say(f"and {hidden} more of these", style="dim")


def _print_views(shell: Shell, compared: ViewsVerification) -> None:
    from rich.text import Text

    from loom.projections.verifying import VIEW_CODES, VIEW_DECLARED

    output = shell.output
    output.say(one_line(compared.verdict()), style="bold green" if compared.ok else "bold red")
    output.say(compared.path, style="dim")
    if not compared.findings:
        return
    output.say()

    def row(each: ViewFinding) -> list[str | Text]:
        style = "yellow" if each.code in VIEW_DECLARED else "red"
        return [Text(each.code.replace("_", " ").lower(), style=style), one_line(each.message)]

    output.table([Column("finding"), Column("what", wide=True, wraps=True)], [row(each) for each in compared.findings])
    output.say()
    for code in sorted(compared.counts):
        output.say(f"{code.replace('_', ' ').lower()}: {VIEW_CODES[code]}", style="dim")
    if hidden := sum(compared.counts.values()) - len(compared.findings):
        output.say(f"and {hidden} more of these", style="dim")
    if not compared.ok:
        output.say("Delete the views file while no loom runs: the next one rebuilds it from the journal.")
