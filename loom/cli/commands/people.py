"""`loom people`: who holds which role, who is absent, and who was invited."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import command
from loom.cli.commands.approvals import ByOption, ReasonOption
from loom.cli.helping import Sections
from loom.cli.listing import cell, fields, listing
from loom.cli.shell import Shell
from loom.identity import Access
from loom.text import moment, one_line

if TYPE_CHECKING:
    from loom.people import People, Person

__all__ = ["add_to"]

_NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A person: see `loom people`.", show_default=False)]
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="Say who may answer: persons, their roles, absences and invitations.")
    command(group, "list", default=True)(people)
    command(group, "show")(show)
    command(group, "add")(add)
    command(group, "role")(role)
    command(group, "identity")(identity)
    command(group, "absent")(absent)
    command(group, "back")(back)
    command(group, "left")(left)
    command(group, "invite")(invite)
    command(group, "invitations")(invitations)
    command(group, "withdraw")(withdraw)
    app.add_typer(group, name="people", rich_help_panel="Answer")


async def people(shell: Shell) -> None:
    """List the persons of the directory, with their roles and absences."""
    found, now = await _loaded(shell), datetime.now(UTC)
    if shell.json:
        shell.output.document(found.as_json())
        return
    listing(
        shell,
        found.all(),
        lambda: (
            cell("person", lambda each: each.name, "cyan"),
            cell("roles", lambda each: ", ".join(each.roles) or "-", wide=True, wraps=True),
            cell("now", lambda each: _state(each, now)),
            cell("known by", lambda each: ", ".join(each.identities) or "any source of the name", wraps=True),
        ),
        nothing="No directory: any name may answer. `loom people add NAME --role ROLE --by YOU` begins one.",
    )
    if found.all():
        shell.output.note(f"kept in the {found.kept_in}, version {found.version}")


async def show(shell: Shell, name: _NameArgument) -> None:
    """Show a person: roles, identities and absences."""
    person = (await _loaded(shell)).get(name)
    if shell.json:
        shell.output.document(person.as_json())
        return
    away = [
        f"{moment(each.since)} to {moment(each.until)}{f', {each.delegate} answers' if each.delegate else ''}"
        for each in person.absences
    ]
    fields(
        shell.output,
        [
            ("person", person.name),
            ("roles", ", ".join(person.roles) or "-"),
            ("known by", ", ".join(person.identities) or "any source that establishes the name"),
            ("absent", "; ".join(away) or "-"),
        ],
    )


async def add(
    shell: Shell,
    name: _NameArgument,
    by: ByOption,
    role: Annotated[list[str] | None, typer.Option("--role", help="A role that they hold; more than once.")] = None,
    identity: Annotated[
        list[str] | None,
        typer.Option("--identity", help="An identity of theirs, as oidc:ISSUER/SUBJECT; more than once."),
    ] = None,
) -> None:
    """Add a person, with roles and identities. No one gives themselves a role."""
    said = await _act(shell, "add", {"name": name, "by": by}, by, begins=True)
    for each in role or ():
        said = await _act(shell, "give", {"name": name, "role": each, "by": by}, by)
    for each in identity or ():
        said = await _act(shell, "recognise", {"name": name, "identity": each, "by": by}, by)
    shell.answer(said, f"{said['name']}: {', '.join(said['roles']) or 'no role'}")


async def role(
    shell: Shell,
    name: _NameArgument,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The role.", show_default=False)],
    by: ByOption,
    take: Annotated[bool, typer.Option("--take", help="Take it from them.")] = False,
) -> None:
    """Give a person a role, or take it."""
    said = await _act(shell, "take" if take else "give", {"name": name, "role": role, "by": by}, by)
    shell.answer(said, f"{said['name']}: {', '.join(said['roles']) or 'no role'}")


async def identity(
    shell: Shell,
    name: _NameArgument,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="As answers name it: api_key:ID, oidc:ISSUER/SUBJECT, …")
    ],
    by: ByOption,
    remove: Annotated[bool, typer.Option("--remove", help="It is not theirs any more.")] = False,
) -> None:
    """Say by which identity a person is known. From the first one on, only listed ones count."""
    given = {"name": name, "identity": source, "by": by}
    said = await _act(shell, "disown" if remove else "recognise", given, by)
    shell.answer(said, f"{said['name']}: known by {', '.join(said['identities']) or 'any source of the name'}")


async def absent(
    shell: Shell,
    name: _NameArgument,
    until: Annotated[datetime, typer.Option("--until", formats=_FORMATS, help="Until then (UTC).")],
    by: ByOption,
    since: Annotated[
        datetime | None, typer.Option("--since", formats=_FORMATS, help="From then on (UTC); by default now.")
    ] = None,
    delegate: Annotated[str | None, typer.Option("--delegate", help="Who answers in their place.")] = None,
) -> None:
    """Say that a person is absent, and who answers in their place."""
    begin = datetime.now(UTC) if since is None else since.replace(tzinfo=UTC)
    given = {"name": name, "by": by, "delegate": delegate}
    times = {"since": begin.isoformat(), "until": until.replace(tzinfo=UTC).isoformat()}
    said = await _act(shell, "absent", {**given, **times}, by)
    instead = f"; {said['absences'][-1]['delegate']} answers" if said["absences"][-1]["delegate"] else ""
    shell.answer(said, f"{said['name']} is absent until {moment(until.replace(tzinfo=UTC))}{instead}")


async def back(shell: Shell, name: _NameArgument, by: ByOption) -> None:
    """Say that a person is back; absences to come are dropped, too."""
    said = await _act(shell, "back", {"name": name, "by": by}, by)
    shell.answer(said, f"{said['name']} is back")


async def left(shell: Shell, name: _NameArgument, by: ByOption, reason: ReasonOption) -> None:
    """Say that a person has left: their roles, identities and invitations end."""
    said = await _act(shell, "leave", {"name": name, "by": by, "reason": reason}, by)
    shell.answer(said, f"{said['name']} has left")


async def invite(
    shell: Shell,
    name: _NameArgument,
    by: ByOption,
    access: Annotated[Access, typer.Option("--access", help="What they may do.")] = "approver",
) -> None:
    """Make a link by which a person signs in to the pages, once, within 24 hours; it is shown only now."""
    said = await _act(shell, "invite", {"name": name, "access": access, "by": by}, by, begins=True)
    if shell.json:
        shell.output.document(said)
        return
    shell.output.say(f"{_address(shell)}{said['path']}")
    shell.output.note(f"for {said['name']}, {access}; it opens once, until {one_line(str(said['expires_at']))}")


async def invitations(shell: Shell) -> None:
    """List the invitations, without their secrets."""
    found, now = await _loaded(shell), datetime.now(UTC)
    listing(
        shell,
        found.invitations.all(),
        lambda: (
            cell("id", lambda each: each.invitation_id, "cyan"),
            cell("for", lambda each: each.name),
            cell("may", lambda each: each.access),
            cell("state", lambda each: "ended" if each.state == "open" and each.expires_at <= now else each.state),
            cell("until", lambda each: moment(each.expires_at)),
            cell("by", lambda each: each.by, wide=True),
        ),
        nothing="No invitations: `loom people invite NAME --by YOU` makes one.",
        document=lambda each: each.as_json(),
    )


async def withdraw(
    shell: Shell,
    invitation: Annotated[str, typer.Argument(metavar="ID", help="See `loom people invitations`.")],
    by: ByOption,
    reason: ReasonOption,
) -> None:
    """Withdraw an invitation; the sessions that it opened end."""
    said = await _act(shell, "withdraw", {"id": invitation, "by": by, "reason": reason}, by)
    shell.answer(said, f"invitation {said['invitation_id']} is withdrawn")


async def _loaded(shell: Shell) -> People:
    from loom.cli.reading import loaded, open_journal
    from loom.people import People, PeopleConfig

    section = shell.settings.sections.get("people")
    config = section if isinstance(section, PeopleConfig) else None
    async with open_journal(shell) as reader:
        return await loaded(People(reader, now=lambda: datetime.now(UTC), config=config))


def _address(shell: Shell) -> str:
    from loom.web.config import WebConfig

    section = shell.settings.sections.get("web")
    config = section if isinstance(section, WebConfig) else WebConfig()
    return f"http://{config.host}:{config.port}"


def _state(person: Person, now: datetime) -> str:
    if person.has_left:
        return "has left"
    away = person.absent_at(now)
    if away is None:
        return "present"
    return f"absent until {moment(away.until)}" + (f", {away.delegate} answers" if away.delegate else "")


async def _act(shell: Shell, word: str, arguments: dict[str, Any], by: str, *, begins: bool = False) -> Any:
    from loom.cli.acting import act

    said, _ = await act(shell, f"people.{word}", arguments, by=by, begins=begins)
    return said
