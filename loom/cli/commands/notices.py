"""`loom notices`: how far the endpoints are, and dead letters, which a person may have sent again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.approvals import ByOption
from loom.cli.helping import Sections
from loom.cli.output import Column
from loom.cli.shell import Shell
from loom.text import one_line

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="Follow the webhooks that say that something happened.")
    command(group, "list", default=True)(list_notices)
    command(group, "retry")(retry)
    app.add_typer(group, name="notices", rich_help_panel="Check")


async def list_notices(shell: Shell) -> int | None:
    """Show how far each endpoint is, and the notices that were given up. Exit code 1: there are such dead letters."""
    from loom.cli.reading import loaded, open_journal
    from loom.notices.config import NoticesConfig
    from loom.notices.register import NoticesRegister

    async with open_journal(shell) as reader:
        register = await loaded(NoticesRegister(reader))
        tail = await reader.tail()
    section = shell.existing.config.sections.get("notices")
    configured = set(section.endpoints) if isinstance(section, NoticesConfig) else set()
    known = {each.name: each for each in register.endpoints}
    if shell.json:
        plain = [{**each._asdict(), "at": each.at.isoformat()} for each in register.dead]
        shell.output.document(
            {
                "position": tail,
                "endpoints": [
                    {
                        **each._asdict(),
                        "last_at": each.last_at and each.last_at.isoformat(),
                        "configured": each.name in configured,
                    }
                    for each in known.values()
                ],
                "waiting": sorted(configured - set(known)),
                "dead": plain,
            }
        )
    elif not known and not configured:
        shell.output.say("No endpoint is set up: `notices:` in the config names some.")
    else:
        rows = [
            (
                name,
                "-" if (each := known.get(name)) is None else f"{each.delivered:,}",
                "-" if each is None or each.last_at is None else shell.output.moment(each.last_at),
                "-" if each is None else f"{each.dead:,}",
                "" if name in configured else "not in the config any more",
            )
            for name in sorted({*known, *configured})
        ]
        numbers = (Column("delivered", right=True), Column("last (UTC)"), Column("dead", right=True))
        shell.output.table([Column("endpoint", "cyan"), *numbers, Column("")], rows)
        if register.dead:
            shell.output.say()
            shell.output.say("Given up", style="bold red")
            shell.output.table(
                [Column("id", "cyan"), Column("endpoint"), Column("type"), Column("why", wide=True)],
                [
                    (each.notice_id, each.endpoint, each.notice_type, one_line(_why(each), 200))
                    for each in register.dead
                ],
            )
            shell.output.note("`loom notices retry ID --by YOU` sends one again, `--all` all of them")
    return EXIT_NO if register.dead else None


def _why(letter: Any) -> str:
    again = "" if letter.retried_by is None else f"; to be sent again, by {letter.retried_by}"
    return f"{letter.problem}, after {letter.attempts} tries{again}"


async def retry(
    shell: Shell,
    by: ByOption,
    notice_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A dead letter, or how its id begins.", show_default=False)
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
) -> None:
    """Have a dead letter sent again, by the loom that runs or the next one; its subject's later ones went before it."""
    from loom.cli.acting import act
    from loom.notices.extension import extension

    if (notice_id is None) != all:
        raise typer.BadParameter("what is sent again? expected ID, or --all")
    said: Any
    said, _ = await act(shell, "notices.retry", {"id": notice_id, "by": by}, by=by, extensions=(extension,))
    shell.answer(said, f"{len(said)} to be sent again")
