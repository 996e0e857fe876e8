"""`loom policies`: list known versions, show one, and choose the one that new turns pin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import command
from loom.cli.commands import auditing, tables
from loom.cli.commands.approvals import ByOption
from loom.cli.helping import Sections
from loom.cli.listing import Cell, cell, fields, listing
from loom.cli.output import Column, Output
from loom.cli.shell import Shell
from loom.text import compact, moment, named, one_line, safe, who

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = ["add_to"]

_Version = Annotated[
    str, typer.Argument(metavar="VERSION", help="A version id, a hash, or how one begins.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="List, show and adopt policy versions.")
    command(group, "list", default=True)(policies)
    command(group, "show")(show)
    command(group, "adopt")(adopt)
    tables.add_to(group)
    auditing.add_to(group)
    app.add_typer(group, name="policies", rich_help_panel="Answer")


async def policies(
    shell: Shell, name: Annotated[str | None, typer.Option("--name", help="Only versions of this policy.")] = None
) -> None:
    """List policy versions by name, oldest first; new turns pin the one that is adopted."""
    found = [each for each in await _load(shell) if name in (None, each["name"])]
    listing(shell, found, lambda: _cells(shell.output), nothing="No policy versions.")


async def show(
    shell: Shell,
    version: Annotated[
        str,
        typer.Argument(
            metavar="VERSION", help="A version, or a policy's name for its adopted version.", show_default=False
        ),
    ],
) -> None:
    """Show one policy version: parameters, facts, rule, who registered it and why."""
    from loom.errors import PolicyNotRegisteredError

    known = await _load(shell)
    named = [each for each in known if each["name"] == version]
    chosen = [each for each in named if each["adopted"]] or named[-1:]
    if not chosen:
        chosen = [each for each in known if version in (each["version"], each["hash"])] or _beginning(known, version)
    if len(chosen) != 1:
        names = ", ".join(each["version"] for each in chosen or known) or "none"
        raise PolicyNotRegisteredError(
            f"policy version [{version}] {'is ambiguous; it may be' if chosen else 'is not registered; known are'} "
            f"[{names}]: name one of these"
        )
    if shell.json:
        shell.output.document(chosen[0])
    else:
        _print(shell.output, chosen[0])


async def adopt(
    shell: Shell,
    version: _Version,
    by: ByOption,
    reason: Annotated[str | None, typer.Option("--reason", "-m", help="Why this version.")] = None,
    effective_from: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Since when it was in use before this adoption, for audits: ISO 8601 with a zone."
        ),
    ] = None,
) -> None:
    """Make a registered version the one that new turns pin, in your own name."""
    from loom.cli.acting import act

    given: dict[str, JsonValue] = {"version": version, "by": by, "reason": reason}
    if effective_from is not None:  # an older running loom does not know this argument
        given["effective_from"] = effective_from
    adopted, _ = await act(shell, "policies.adopt", given, by=by)
    assert isinstance(adopted, dict)  # noqa: S101 - a version as JSON
    shell.answer(adopted, f"adopted {adopted['version']} of {adopted['name']}: new turns pin it", style="green")


async def _load(shell: Shell) -> list[dict[str, Any]]:
    from loom.cli.reading import loaded, open_journal
    from loom.operations import policy_as_json
    from loom.policies.registry import PolicyRegistry

    async with open_journal(shell) as reader:
        registry = await loaded(PolicyRegistry(reader))
    return [
        policy_as_json(version, registry.adoption(name))
        for name in registry.names()
        for version in registry.versions(name)
    ]


def _beginning(known: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    from loom.errors import LoomError
    from loom.policies.canonical import parse_version

    try:
        wanted = parse_version(text)
    except LoomError:
        return []
    return [each for each in known if wanted.matches(number=each["number"], full_hash=each["hash"])]


def _cells(output: Output) -> list[Cell[dict[str, Any]]]:
    return [
        cell("policy", lambda each: str(each["name"])),
        cell("version", lambda each: str(each["version"]), "cyan"),
        cell("adopted", _adopted, "green"),
        cell("rule", lambda each: "yes" if each["has_rule"] else "none"),
        cell("registered (UTC)", lambda each: output.moment(each["registered_at"]), "dim"),
        cell("by", lambda each: who(named(each), 16)),
        cell("reason", lambda each: one_line(each["reason"] or "-"), wide=True, wraps=True),
    ]


def _adopted(each: dict[str, Any]) -> str:
    """Return in one word who adopted a version."""
    adoption = each["adoption"]
    if adoption is None:
        return "-"
    return "by its code" if adoption["trigger"] == "code" else f"by {who(named(adoption), 16)}"


def _deed(said: dict[str, Any], at: str) -> str:
    """Return when something was done, in whose name and why."""
    code = "by code, in the name of" if said["trigger"] == "code" else "by"
    since = f", who says it was in use since {said['effective_from']}" if said.get("effective_from") else ""
    return f"{moment(at)} UTC {code} {named(said)}{since}" + (f": {said['reason']}" if said["reason"] else "")


def _print(output: Output, each: dict[str, Any]) -> None:
    document, about = each["document"], each["about"]
    adopted = "new turns pin it" if each["adopted"] else "not adopted"
    output.say(f"{each['name']}, version {each['version']} ({adopted})", style="bold")
    rows = [
        ("hash", each["hash"]),
        ("registered", _deed(each, each["registered_at"])),
    ]
    if each["adoption"]:
        rows.append(("adopted", _deed(each["adoption"], each["adoption"]["at"])))
    parameters: Any = document.get("parameters")
    if parameters:
        values: Any = _values(parameters)
        rows += [(f"parameter {name}", compact(value)) for name, value in values.items()]
    facts: Any = document.get("facts")
    if facts:
        rows.append(("facts", ", ".join(sorted(facts.get("fields", facts)))))
    rows += [(name, compact(value)) for name, value in about.items() if name != "source" and value]
    fields(output, rows)
    if document.get("language") == "table":
        _print_rows(output, document)
        return
    source = about.get("source")
    if not each["has_rule"]:
        output.say("It has no rule: its actor decides by itself, and audits say no_rule.", style="dim")
    elif isinstance(source, str):
        output.say()
        output.say(safe(source.rstrip()))


def _values(parameters: Any) -> Any:
    """Return the values of the parameters: of a rule in Python, or of a table."""
    from loom.policies.canonical import untagged

    if "values" in parameters:
        return untagged(parameters["values"])
    return {name: parameter["value"] for name, parameter in parameters.items()}


def _print_rows(output: Output, document: Any) -> None:
    """Print the rules of a table in the order in which they are tried."""
    from loom.policies.difference import conditions_in_words

    otherwise = [document["otherwise"]] if document["otherwise"] else []
    columns = [
        Column("rule", "cyan"),
        Column("if", wide=True, wraps=True),
        Column("then"),
        Column("because", wide=True),
    ]
    rows = [
        [
            row["name"],
            conditions_in_words(row["when"]),
            row["effect"].replace("_", " ") + (f", {row['tier']}" if row.get("tier") else ""),
            one_line(row["why"]),
        ]
        for row in [*document["limits"], *document["rules"], *otherwise]
    ]
    output.say()
    output.table(columns, rows)
