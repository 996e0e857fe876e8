"""`loom subjects`: list whose data is sealed and who is erased or held; show what concerns a person."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands import pruning
from loom.cli.commands.approvals import ByOption, ReasonOption
from loom.cli.helping import Sections
from loom.cli.listing import cell, listing
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import as_json, moment, one_line

if TYPE_CHECKING:
    from loom.journal.entry import Recorded
    from loom.sealing import Erasures

__all__ = ["add_to"]

_Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="Whose.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="People whose data is sealed: list, show, export, erase, hold.")
    command(group, "list", default=True)(list_subjects)
    command(group, "show")(show)
    command(group, "export")(export)
    command(group, "erase")(erase)
    command(group, "hold")(hold)
    pruning.add_to(group)
    app.add_typer(group, name="subjects", rich_help_panel="Answer")


async def list_subjects(
    shell: Shell,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="At most this many.")] = 1_000,
) -> None:
    """List whose data is sealed, who is erased and who is held. All journals are read; no key is needed."""
    from loom.cli.reading import loaded, open_journal
    from loom.sealing import Erasures, count_subjects

    async with open_journal(shell) as reader:
        erasures = await loaded(Erasures(reader))
        found = await count_subjects(reader)
    names = sorted({*found, *erasures.held(), *(each.entry.subject for each in erasures.every())})
    listed: list[dict[str, Any]] = []
    for name in names[:limit]:
        mine = found.get(name)
        last = None if mine is None or mine.last is None else mine.last.recorded_at
        listed.append(
            {
                "subject": name,
                "state": _state(erasures, name, None if mine is None else mine.generation),
                "values": 0 if mine is None else mine.values,
                "entries": 0 if mine is None else mine.entries,
                "journals": [] if mine is None else sorted(mine.journals),
                "last": None if last is None else last.isoformat(),
            }
        )
    listing(
        shell,
        listed,
        lambda: [
            cell("subject", lambda each: str(each["subject"]), "cyan"),
            cell("state", lambda each: str(each["state"])),
            cell("sealed", lambda each: f"{each['values']:,}", right=True),
            cell("entries", lambda each: f"{each['entries']:,}", right=True),
            cell("last (UTC)", lambda each: moment(each["last"]) if each["last"] else "–", "dim"),
            cell("in", lambda each: one_line(", ".join(each["journals"]), 200) or "–", wide=True),
        ],
        nothing="Nothing is sealed.",
    )


async def show(shell: Shell, subject: _Subject) -> int | None:
    """Show every entry that concerns a person, over all journals; what is sealed stays so. Exit code 1: none."""
    from loom.cli.reading import loaded, open_journal
    from loom.operations.summaries import summary_of
    from loom.sealing import Erasures, check_subject, concerning

    check_subject(subject)
    async with open_journal(shell) as reader:
        erasures = await loaded(Erasures(reader))
        found = [recorded async for recorded in concerning(reader, subject)]
    if not found:
        if shell.json:
            shell.output.document([])
        shell.output.note(f"no entry concerns [{subject}]: see `loom subjects`")
        return EXIT_NO
    if shell.json:
        for each in found:
            said = each.as_json()
            shell.output.line({**said, "body": erasures.shown(said["body"])})
        return None
    shell.output.say(f"{subject}: {_words(erasures, subject)}", style="bold")
    columns = [
        Column("position", right=True),
        Column("time (UTC)", "dim"),
        Column("journal"),
        Column("kind", "cyan"),
        Column("what it says", wide=True, wraps=True),
    ]
    rows = [
        (
            str(each.position),
            moment(each.recorded_at),
            each.journal,
            one_line(each.kind, 28),
            summary_of(_redacted(each, erasures)),
        )
        for each in found
    ]
    shell.output.table(columns, rows)
    return None


async def export(
    shell: Shell,
    subject: _Subject,
    by: ByOption,
    reason: ReasonOption,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Into this new file, for its owner only; by default here.")
    ] = None,
) -> None:
    """Export every entry that concerns a person, opened, as one JSON document. The export is journaled first."""
    from loom.cli.opened_out import opened_out

    said = await _act(shell, "export", subject, by, reason)
    text = as_json(said)
    with opened_out(out) as stream:
        stream.write(text + "\n")
    if out is not None:
        shell.output.note(f"{len(said['entries']):,} entries that concern [{subject}] are in {out}")


async def erase(
    shell: Shell,
    subject: _Subject,
    by: ByOption,
    reason: ReasonOption,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Confirm: this cannot be undone.")] = False,
) -> None:
    """Destroy the keys of a person: sealed values cannot be opened any more. It cannot be undone.

    The command returns once the keys are destroyed. A person on hold is not erased.
    """
    from loom.errors import ConfigError

    if not yes:
        raise ConfigError(
            f"the values sealed for [{subject}] could never be opened again; expected --yes: add it to confirm"
        )
    said = await _act(shell, "erase", subject, by, reason)
    if shell.json:
        shell.output.document(said)
    else:
        before = (
            " already" if said["before"] else ": its keys are destroyed, and sealed values cannot be opened any more"
        )
        shell.output.say(f"{subject} is erased{before}")


async def hold(
    shell: Shell,
    subject: _Subject,
    by: ByOption,
    reason: ReasonOption,
    lift: Annotated[bool, typer.Option("--lift", help="Lift the hold instead.")] = False,
) -> None:
    """Hold a person: nothing sealed for them is erased, and no journal of theirs pruned, until the hold is lifted."""
    said = await _act(shell, "lift" if lift else "hold", subject, by, reason)
    if shell.json:
        shell.output.document(said)
    elif lift:
        shell.output.say(f"{subject} is held no longer" if said["before"] else f"{subject} was not held")
    else:
        shell.output.say(f"{subject} is held{' already' if said['before'] else ''}")


async def _act(shell: Shell, word: str, subject: str, by: str, reason: str) -> Any:
    from loom.cli.acting import act

    said, _ = await act(shell, f"subjects.{word}", {"subject": subject, "by": by, "reason": reason}, by=by)
    return said


def _redacted(recorded: Recorded, erasures: Erasures) -> Recorded:
    """Return an entry with `sealed` or `erased` in the place of sealed and erased values."""
    if recorded.body is None:
        return recorded
    body = json.dumps(erasures.shown(recorded.body_json()), ensure_ascii=False).encode()
    return replace(recorded, body=body, _entry=None)


def _state(erasures: Erasures, subject: str, newest: int | None) -> str:
    if subject in erasures.held():
        return "held"
    ended = erasures.ended(subject)
    if ended is None or (newest is not None and newest > ended):
        return "sealed"
    return "erased" if erasures.is_carried_out(subject) else "being erased"


def _words(erasures: Erasures, subject: str) -> str:
    erased, held = erasures.get(subject), erasures.held().get(subject)
    words = [] if erased is None else [f"erased by {erased.identity}: {erased.reason}"]
    if held is not None:
        words.append(f"held by {held.identity}: {held.reason}")
    return "; ".join(words) or "neither erased nor held"
