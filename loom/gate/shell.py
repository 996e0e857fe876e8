"""`loom gate`: who may propose what, how they stand, and what happened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.ext.shell import ByOption, Column, ReasonOption, Sections, Shell, command, named, who

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = ["add_to"]

_Agent = Annotated[str, typer.Argument(metavar="AGENT", help="The id of an agent.", show_default=False)]
_EVENTS = """
SELECT *, CASE event WHEN 'SIMULATION_END' THEN (
  SELECT min(began.id) FROM decision_audit_events AS began
  WHERE began.simulation_id = shown.simulation_id AND began.event = 'SIMULATION_START') END AS started_at
FROM decision_audit_events AS shown
WHERE (:run IS NULL OR simulation_id = :run) AND (:flow IS NULL OR dfid >= :flow AND dfid < :flow || x'ff')
AND (:agent IS NULL OR agent = :agent) ORDER BY id DESC LIMIT :limit
"""
_SHOWN = ("id", "recorded_at", "event", "severity", "dfid", "agent", "simulation_id", "detail_json")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="Let agents propose: contracts, standings, the audit.")
    command(group, "status", default=True)(status)
    command(group, "register")(register)
    command(group, "suspend")(suspend)
    command(group, "reinstate")(reinstate)
    command(group, "retire")(retire)
    command(group, "audit")(audit)
    app.add_typer(group, name="gate", rich_help_panel="Wings")


async def status(shell: Shell) -> None:
    """List contracts, and agents whose standing was ever changed."""
    from loom.ext.acting import loaded, open_journal
    from loom.gate import Contracts
    from loom.standings import Standings

    async with open_journal(shell) as reader:
        contracts, standings = await loaded(Contracts(reader)), await loaded(Standings(reader))
    if shell.json:
        shell.output.document(
            {
                "contracts": [{**each.model_dump(mode="json"), "hash": each.hash} for each in contracts.all()],
                "standings": [
                    {**each._asdict(), "since": each.since and each.since.isoformat()} for each in standings.all()
                ],
            }
        )
        return
    rows = [
        (
            each.contract_id,
            each.version,
            ", ".join(each.allowed_policy_types),
            _limits(each.limits, each.floors),
            each.hash[:12],
        )
        for each in contracts.all()
    ]
    if rows:
        columns = [Column("contract"), Column("version"), Column("allows", wide=True), Column("limits"), Column("hash")]
        shell.output.table(columns, rows)
    said = [(each.subject, each.standing, who(each.identity, 40), each.reason or "") for each in standings.all()]
    if said:
        shell.output.table([Column("agent"), Column("standing"), Column("by"), Column("reason", wide=True)], said)
    if not rows and not said:
        shell.output.say("No contract is registered: `loom gate register FILE --by NAME` registers one.")


async def register(
    shell: Shell,
    file: Annotated[Path, typer.Argument(help="A contract as YAML.", show_default=False)],
    by: ByOption,
    reason: Annotated[str | None, typer.Option("--reason", "-m", help="Why.", show_default=False)] = None,
) -> None:
    """Register a version of a contract."""
    from loom.gate import load_contract

    contract = load_contract(file).model_dump(mode="json")
    said = await _act(shell, "register", {"contract": contract, "by": by, "reason": reason})
    shell.answer(said, f"{said['contract_id']} {said['version']} is registered, hash {said['hash']}")


async def suspend(shell: Shell, agent: _Agent, by: ByOption, reason: ReasonOption) -> None:
    """Take an agent's standing away."""
    _print_standing(shell, await _act(shell, "suspend", {"agent": agent, "by": by, "reason": reason}))


async def reinstate(shell: Shell, agent: _Agent, by: ByOption, reason: ReasonOption) -> None:
    """Give a suspended agent its standing back; its monitors begin again with an empty window."""
    _print_standing(shell, await _act(shell, "reinstate", {"agent": agent, "by": by, "reason": reason}))


async def retire(shell: Shell, agent: _Agent, by: ByOption, reason: ReasonOption) -> None:
    """End an agent's standing for good."""
    _print_standing(shell, await _act(shell, "retire", {"agent": agent, "by": by, "reason": reason}))


async def audit(
    shell: Shell,
    run: Annotated[str | None, typer.Option("--run", "-r", help="Only this run.", show_default=False)] = None,
    flow: Annotated[str | None, typer.Option("--flow", help="Only this flow, or how it begins.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only this agent.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="At most this many.")] = 50,
) -> None:
    """Show what happened, newest last, under the names that auditors know."""
    import json

    from loom.ext.acting import open_readings
    from loom.gate import extension
    from loom.gate.audit import CONFIRM_EVENTS

    async with open_readings(shell, extension) as readings:
        wanted = {"run": run, "flow": flow, "agent": agent, "limit": limit}
        rows = await readings.queries.fetch(_EVENTS, wanted, names=("gate",))
        kept = await readings.queries.confirmed(rows, CONFIRM_EVENTS)
        found = [{name: row[name] for name in _SHOWN} for row in reversed(kept)]
    if shell.json:
        shell.output.document([{**row, "detail": json.loads(row.pop("detail_json"))} for row in found])
        return
    columns = [Column("time"), Column("event"), Column("agent"), Column("flow", "dim"), Column("what", wide=True)]
    shell.output.table(
        columns,
        [
            (row["recorded_at"][11:19], row["event"], row["agent"] or "", (row["dfid"] or "")[:8], row["detail_json"])
            for row in found
        ],
    )


async def _act(shell: Shell, word: str, arguments: dict[str, JsonValue]) -> Any:
    from loom.ext.acting import act
    from loom.gate import extension

    said, _ = await act(shell, f"gate.{word}", arguments, by=str(arguments["by"]), extensions=(extension,))
    return said


def _print_standing(shell: Shell, said: dict[str, Any]) -> None:
    shell.answer(said, f"{said['agent']} is {said['standing']} by {named(said)}: {said['reason']}")


def _limits(limits: dict[str, float], floors: dict[str, float]) -> str:
    ceilings = [f"{name} ≤ {value:g}" for name, value in limits.items()]
    return ", ".join([*ceilings, *(f"{name} ≥ {value:g}" for name, value in floors.items())])
