"""`loom archive`: seal journals at rest into one file; verify, read, replay and prune them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.approvals import ByOption, ReasonOption
from loom.cli.helping import Sections
from loom.cli.listing import cell, listing
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import as_json, moment, one_line, parse_moment, plain

if TYPE_CHECKING:
    from datetime import datetime

    from loom.archive import Archive

__all__ = ["add_to"]

_File = Annotated[Path, typer.Argument(metavar="FILE", help="An archive.", show_default=False)]
_Override = Annotated[
    str | None,
    typer.Option(
        "--override-retention",
        metavar="WHY",
        show_default=False,
        help="Also what retention keeps, for this reason: it is journaled in your name.",
    ),
]
_Journal = Annotated[str, typer.Argument(metavar="TYPE/KEY", help="A journal of it.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="Seal journals at rest into a file; verify, read, replay and prune.")
    command(group, "seal", default=True)(seal)
    command(group, "verify")(verify)
    command(group, "show")(show)
    command(group, "replay")(replay)
    command(group, "prune")(prune)
    app.add_typer(group, name="archive", rich_help_panel="Check")


async def seal(
    shell: Shell,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            show_default="what retention says",
            help="Journals without an entry for this long: 365d, 12h; or since a date.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Into this new file; by default named after workspace and day, here."),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who does it; by default the user of the machine.")] = None,
    override: _Override = None,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Seal each body for the people whom it concerns; takes the vault.")
    ] = False,
) -> int | None:
    """Seal actor journals without an entry for that long into a file, with what is needed to understand them.

    Journals that `retention:` of the config keeps are left out. Nothing is removed from the journal file:
    `loom archive prune` does that, on request. Exit code 1: there are no such journals.
    """
    from datetime import UTC, datetime

    from loom.archive import Retention, check_override
    from loom.archive import seal as seal_into
    from loom.cli.acting import act
    from loom.cli.reading import open_journal
    from loom.cli.serving import person
    from loom.errors import ConfigError

    now = datetime.now(UTC)
    retention = Retention.of(shell.place.config.retention)
    if override is not None:
        check_override(override)  # before the archive exists: the journal does not know that file yet
    try:
        before = now - retention.shortest if older_than is None else parse_moment(older_than, now=now)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"[{older_than}] is no age; expected one such as [365d], or a date: name one") from error
    if encrypt:
        return await _encrypted(shell, out or Path(f"{shell.place.name}-{now:%Y-%m-%d}.loom.zip"), before, by, override)
    async with open_journal(shell) as reader:
        workspace = await reader.workspace() or shell.place.name
        path = out or Path(f"{workspace}-{now:%Y-%m-%d}.loom.zip")
        with shell.output.progress("sealing") as tell:
            sealed = await seal_into(
                reader,
                path,
                workspace=workspace,
                until=await reader.tail(),
                before=before,
                by=person(by),
                now=now,
                retention=retention if override is None else None,
                progress=tell,
            )
    if sealed is None:
        return _none(shell, before, override)
    manifest = sealed.manifest
    chosen = [each for each in manifest.journals if not each.context]
    arguments: dict[str, Any] = {"file": str(path.absolute()), "by": manifest.by, "override": override}
    answer, _ = await act(shell, "archives.add", arguments, by=manifest.by)
    said: Any = answer
    if shell.json:
        shell.output.document({**said, "file": str(path), "left": dict(sealed.left)})
        return None
    journals = "1 journal" if len(chosen) == 1 else f"{len(chosen)} journals"
    shell.output.say(f"{journals}, {manifest.entries} entries in all, in {path}", style="bold")
    for why, count in sorted(sealed.left.items()):
        shell.output.say(f"{count} left: {why}", style="dim")
    shell.output.say(f"digest {sealed.digest}", style="dim")
    return None


async def _encrypted(shell: Shell, path: Path, before: datetime, by: str | None, override: str | None) -> int | None:
    """Seal through the loom that runs, or one that is opened for a moment: it has the keys."""
    from loom.cli.acting import act
    from loom.cli.serving import person

    name = person(by)
    arguments: dict[str, Any] = {
        "file": _in_full(path),
        "before": before.isoformat(),
        "by": name,
        "override": override,
    }
    said: Any = (await act(shell, "archives.encrypt", arguments, by=name))[0]
    if said is None:
        return _none(shell, before, override)
    if shell.json:
        shell.output.document({**said, "file": str(path)})
        return None
    journals = "1 journal" if said["journals"] == 1 else f"{said['journals']} journals"
    shell.output.say(f"{journals}, {said['entries']} entries in all, encrypted, in {path}", style="bold")
    for why, count in sorted(said["left"].items()):
        shell.output.say(f"{count} left: {why}", style="dim")
    shell.output.say(f"digest {said['digest']}", style="dim")
    return None


def _none(shell: Shell, before: datetime, override: str | None) -> int:
    if shell.json:
        shell.output.document(None)
    shell.output.note(
        f"no journal of an actor has been at rest since {moment(before)}"
        + ("" if override is not None else ", or for longer than retention keeps it: see [retention] in the config")
    )
    return EXIT_NO


def _in_full(path: Path) -> str:
    return str(path.absolute())


async def verify(shell: Shell, file: _File) -> int | None:
    """Verify an archive from its own bytes, and against the journal it came from if that is available.

    Exit code 1: something was found.
    """
    import asyncio

    from loom.archive import Archive

    with Archive(file) as archive:
        with shell.output.progress("verifying"):
            found = await asyncio.to_thread(archive.verify)
        compared, wrong = await _compared(shell, archive)
        findings = [*found.findings, *wrong]
        if shell.json:
            listed = [asdict(each) for each in findings]
            shell.output.document(
                {**asdict(found), "findings": listed, "ok": not findings, "compared": compared, "file": str(file)}
            )
            return EXIT_NO if findings else None
        verdict, *_ = found.lines()
        shell.output.say(
            verdict if not wrong else f"NOT VERIFIED: {len(findings)} findings",
            style="bold red" if findings else "bold green",
        )
        manifest = archive.manifest
        shell.output.say(
            f"workspace {manifest.workspace}, sealed {moment(manifest.sealed_at)} by {manifest.by} (claimed)"
        )
        shell.output.say(f"digest {found.digest}", style="dim")
        shell.output.say(_SAID[compared], style="dim")
        for each in findings:
            shell.output.say(one_line(f"{each.code.replace('_', ' ').lower()}: {each.message}"), style="red")
    return EXIT_NO if findings else None


_SAID = {
    "known": "the journal it came from is available, knows this archive, and agrees with it",
    "same": "the journal it came from is available and agrees with it; it has no record of this archive",
    "absent": "the journal it came from is not available: only the digest shows that the archive was not made again",
    "differs": "the journal it came from does not agree with it",
}


async def show(
    shell: Shell,
    file: _File,
    journal: Annotated[
        str | None, typer.Argument(metavar="[TYPE/KEY]", help="A journal of it.", show_default=False)
    ] = None,
) -> int | None:
    """List the journals of an archive, or the entries of one. With --json, entries are JSON lines."""
    from loom.archive import Archive

    with Archive(file) as archive:
        if journal is not None:
            return await _entries(shell, archive, journal)
        listed = archive.manifest.journals
        listing(
            shell,
            listed,
            lambda: [
                cell("journal", lambda each: each.journal, "cyan"),
                cell("entries", lambda each: str(each.entries), right=True),
                cell("first (UTC)", lambda each: moment(each.first_at), "dim"),
                cell("last (UTC)", lambda each: moment(each.last_at), "dim"),
                cell("head", lambda each: each.head[:12]),
                cell("", lambda each: "context" if each.context else ""),
            ],
            nothing="No journals.",
        )
    return None


async def replay(
    shell: Shell,
    file: _File,
    journal: _Journal,
    at: Annotated[int | None, typer.Option("--at", min=1, help="The state after this sequence.")] = None,
    check: Annotated[
        bool, typer.Option("--verify", help="Replay each finished turn and compare: does the code still do the same?")
    ] = False,
) -> int | None:
    """Show what an actor's state was, from the archive alone. The actor's module must be listed in the config."""
    from loom.archive import Archive
    from loom.cli.commands.replay import drive_again
    from loom.cli.rehearsing import replaying_archive

    shell.allow_imports()
    with Archive(file) as archive:
        async with replaying_archive(archive, shell) as again:
            if check:
                return await drive_again(shell, again, journal)
            state = await again.state(journal, until=at)
            last = at or dict(await archive.journals(limit=2**31))[journal]
    shell.answer({"journal": journal, "sequence": last, "state": plain(state)}, as_json(plain(state)))
    return None


async def prune(
    shell: Shell,
    file: _File,
    by: ByOption,
    reason: ReasonOption,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Confirm: this cannot be undone.")] = False,
    override: _Override = None,
) -> int | None:
    """Remove the bodies of the archived journals from the journal, after the archive was verified against it.

    Hashes stay and the chain verifies. From then on only the archive holds the bodies, and views that are rebuilt do
    not contain them. An actor whose journal was pruned takes no commands any more.
    """
    from loom.cli.acting import act
    from loom.errors import ConfigError

    if not yes:
        raise ConfigError(
            f"what [{file}] holds would be in it alone, and its actors would take no commands any more; "
            "expected --yes: add it to confirm"
        )
    arguments: dict[str, Any] = {"file": str(file.absolute()), "by": by, "reason": reason, "override": override}
    answer, _ = await act(shell, "archives.prune", arguments, by=by)
    said: Any = answer
    if shell.json:
        shell.output.document(said)
        return None if said["journals"] else EXIT_NO
    count = len(said["journals"])
    shell.output.say(f"{count} {'journal is' if count == 1 else 'journals are'} pruned")
    for name, why in said["left"].items():
        if why != "context":
            shell.output.say(f"{name} was left: {why}", style="dim")
    return None if said["journals"] else EXIT_NO


async def _compared(shell: Shell, archive: Archive) -> tuple[str, list[Any]]:
    """Return how an archive relates to the journal that is available, and what was found."""
    from loom.archive.register import ArchivesKnown
    from loom.cli.reading import loaded, open_journal
    from loom.errors import ConfigError, JournalNotFoundError

    try:
        async with open_journal(shell) as reader:
            if await reader.workspace() != archive.workspace:
                return "absent", []
            wrong = await archive.compare(reader)
            known = await loaded(ArchivesKnown(reader))
    except (ConfigError, JournalNotFoundError):
        return "absent", []
    return ("differs" if wrong else "same" if known.get(archive.digest) is None else "known"), wrong


async def _entries(shell: Shell, archive: Archive, journal: str) -> int | None:
    from loom.operations.summaries import summary_of

    rows = []
    async for recorded in archive.read(journal):
        if shell.json:
            shell.output.line(recorded.as_json())
        rows.append(
            (str(recorded.sequence), moment(recorded.recorded_at), one_line(recorded.kind, 28), summary_of(recorded))
        )
    if not rows:
        shell.output.note(f"there is no journal [{journal}] in it: see `loom archive show`")
        return EXIT_NO
    if not shell.json:
        columns = [Column("#", right=True), Column("time (UTC)", "dim"), Column("kind", "cyan")]
        shell.output.table([*columns, Column("what it says", wide=True, wraps=True)], rows)
    return None
