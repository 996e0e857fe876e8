"""The laws, as what an observer from outside can see: at the moment when something leaves, and at the end of a seed."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loom.journal.sqlite.verify import verify
from tests.simulation.machine import Durable
from tests.simulation.story import Sending

if TYPE_CHECKING:
    from loom.runtime import Loom
    from tests.simulation.run import Simulation

__all__ = ["check", "failed", "received", "replied", "views"]

ENDS = frozenset({"turn_completed", "turn_failed", "turn_abandoned"})


# --- when something leaves ------------------------------------------------------------------------


def received(simulation: Simulation, sending: Sending, position: int) -> None:
    """A receipt names the entry of its command, which is durable (law 4)."""
    entries = simulation.machine.disk.entries
    at = entries[position - 1] if position <= len(entries) else None
    if at is None or (at.kind, at.command_id) != ("command_received", sending.command_id):
        simulation.broken.append(f"receipt of [{sending.command_id}] names position [{position}], which has [{at}]")


def replied(simulation: Simulation, sending: Sending, reply: Any) -> None:
    """A reply is that of the end of its turn, which is durable (law 4), and always the same."""
    end = _end(simulation, f"clerk/{sending.key}", sending.command_id)
    if end is None or end.kind != "turn_completed":
        simulation.broken.append(f"reply of [{sending.command_id}] left before the end of its turn was durable")
        return
    if json.loads(end.body)["reply"] != reply:
        simulation.broken.append(f"reply of [{sending.command_id}] is [{reply}]; its journal has [{end.body!r}]")
    least, most = _known_to(simulation, end)
    if not least <= reply["notes"] <= most:
        simulation.broken.append(
            f"turn [{sending.command_id}] knew of [{reply['notes']}] notes; its journal has [{least} to {most}]"
        )


def _known_to(simulation: Simulation, end: Durable) -> tuple[int, int]:
    """Return how many notes of its actor the code of a turn has to know at its end, and how many there are for it."""
    own = simulation.machine.disk.by_turn[end.journal, end.command_id]
    before = [
        each
        for each in simulation.machine.disk.entries
        if each.journal == end.journal and each.kind == _NOTE and each.sequence < end.sequence
    ]
    return sum(each.kind == _NOTE for each in own), len(before)


_NOTE = "test.simulation.noted"


def failed(simulation: Simulation, sending: Sending, error: Exception) -> None:
    """A failure that is reported to clients is durable."""
    end = _end(simulation, f"clerk/{sending.key}", sending.command_id)
    if end is None or end.kind == "turn_completed":
        simulation.broken.append(f"client of [{sending.command_id}] got [{error}]; its journal has [{end}]")


def _end(simulation: Simulation, journal: str, command_id: str) -> Durable | None:
    turn = simulation.machine.disk.by_turn.get((journal, command_id), ())
    return next((each for each in turn if each.kind in ENDS), None)


# --- at the end -----------------------------------------------------------------------------------


def check(simulation: Simulation) -> None:
    """Hold the journal, the world and what was reported against each other."""
    _journal(simulation)
    _told(simulation)
    _turns(simulation)
    _states(simulation)
    _approvals(simulation)
    _budget(simulation)


def _journal(simulation: Simulation) -> None:
    """The chain verifies, and holds what was durable at any time, and nothing else."""
    path = simulation.machine.directory / "default" / "journal.db"
    found = verify(path, workspace="default")
    for finding in () if found.ok else found.findings:
        simulation.broken.append(f"journal is not verified: {finding.code} {finding.message}")
    with closing(sqlite3.connect(path)) as database:
        rows = [Durable(*row) for row in database.execute(simulation.machine.disk.ALL)]
    if rows != simulation.machine.disk.entries:
        simulation.broken.append("the journal does not hold what was durable")


def _told(simulation: Simulation) -> None:
    """What was reported to clients and people is in the journal (laws 4 and 8)."""
    for sending in simulation.story.sendings:
        known = sending.command_id
        if known in simulation.reported.replies:
            replied(simulation, sending, simulation.reported.replies[known])
        elif known not in simulation.reported.failures and not simulation.is_late:
            simulation.broken.append(f"client of [{known}] has no answer")
        if known in simulation.reported.receipts:
            received(simulation, sending, simulation.reported.receipts[known])


def _turns(simulation: Simulation) -> None:
    """Each command is received once and has one end; a completed turn did what its program says, once."""
    disk, world = simulation.machine.disk, simulation.world
    sent = Counter[str]()
    received_from = Counter[str]()
    effects = Counter[str]()
    for (journal, command_id), entries in disk.by_turn.items():
        if not journal.startswith("clerk/") or command_id is None:
            continue
        kinds = Counter(each.kind for each in entries)
        if kinds["command_received"] != 1:
            simulation.broken.append(f"[{journal}#{command_id}] was received [{kinds['command_received']}] times")
            continue
        first = json.loads(next(each for each in entries if each.kind == "command_received").body)
        if first["command_type"] == "Poke":
            continue
        ends = [each.kind for each in entries if each.kind in ENDS]
        if simulation.is_late and not ends:
            continue
        if len(ends) != 1:
            simulation.broken.append(f"[{journal}#{command_id}] has the ends {ends}; expected one")
            continue
        if first["causation_id"] is not None:
            received_from[first["causation_id"]] += 1
        for each in entries:
            if each.kind == "effect_performed":
                effects[json.loads(each.body)["key"]] += 1
        if first["command_type"] == "Work" and ends == ["turn_completed"]:
            program = _steps(first["payload"]["program"])
            _completed(simulation, f"{journal}#{command_id}", program, entries)
            sent[str(command_id)] = sum(each["verb"] in ("ask", "tell") for each in program)
    for turn, times in sent.items():
        if received_from[turn] > times:
            simulation.broken.append(f"turn [{turn}] asked and told [{times}] times; [{received_from[turn]}] came")
    for key, times in effects.items():
        if times != 1 or not world.effects[key]:
            simulation.broken.append(f"effect [{key}] is recorded [{times}] times and happened [{world.effects[key]}]")
    for key in world.once:
        if world.effects[key] > 1:
            simulation.broken.append(f"effect [{key}], which is not repeatable, happened [{world.effects[key]}] times")


def _completed(simulation: Simulation, turn: str, program: list[dict[str, Any]], entries: list[Durable]) -> None:
    """A turn that has completed has each step of its program on record once."""
    expected, found = Counter[str](), Counter[str]()
    for step in program:
        if step["verb"] in _KINDS:
            expected[_KINDS[step["verb"]]] += 1
    for each in entries:
        if each.kind in _RECORDED:
            found[each.kind] += 1
    if expected != found:
        simulation.broken.append(f"turn [{turn}] has [{dict(found)}] on record; its program says [{dict(expected)}]")


_KINDS = {
    "fetch": "context_gathered",
    "retry": "context_gathered",
    "note": _NOTE,
    "effect": "effect_performed",
    "once": "effect_performed",
    "decide": "decision",
    "approve": "approval_requested",
    "tell": "told",
    "model": "model_called",
}
_RECORDED = frozenset(_KINDS.values())


def _steps(program: list[Any]) -> list[dict[str, Any]]:
    """Return the steps of a program as it is journaled; those of programs that it sends are not its own."""
    found: list[dict[str, Any]] = []
    for each in program:
        found += [each] if isinstance(each, dict) else [step for branch in each for step in branch]
    return found


def _states(simulation: Simulation) -> None:
    """The state of each actor is the fold of its journal, made here once more."""
    folded: dict[str, dict[str, Any]] = {}
    for each in simulation.machine.disk.entries:
        state = folded.setdefault(each.journal, {"notes": [], "effects": [], "decisions": 0})
        if each.kind == _NOTE:
            state["notes"].append(json.loads(each.body)["text"])
        elif each.kind == "effect_performed":
            state["effects"].append(json.loads(each.body)["key"])
        elif each.kind == "decision":
            state["decisions"] += 1
    for journal, shown in simulation.shown.items():
        if folded.get(journal) != shown:
            simulation.broken.append(f"state of [{journal}] is [{shown}]; its journal gives [{folded.get(journal)}]")


def _approvals(simulation: Simulation) -> None:
    """A request has one answer at most; one that was reported to a person stays; only a person grants (law 6)."""
    answers: dict[str, dict[str, Any]] = {}
    for each in simulation.machine.disk.entries:
        if each.kind == "approval_answered":
            body = json.loads(each.body)
            if body["approval_id"] in answers:
                simulation.broken.append(f"approval [{body['approval_id']}] has two answers")
            answers[body["approval_id"]] = body
            if body["granted"] and body["by"] not in ("ann", "bob"):
                simulation.broken.append(f"approval [{body['approval_id']}] was granted by [{body['by']}]")
    for approval_id, granted in simulation.reported.answers.items():
        if approval_id not in answers or answers[approval_id]["granted"] != granted:
            simulation.broken.append(f"the answer [{granted}] to approval [{approval_id}] is lost")


def _budget(simulation: Simulation) -> None:
    """No more was reserved or billed than the budgets allow; nothing is settled twice, or without a reservation."""
    story, world = simulation.story, simulation.world
    committed = _spent(simulation, "budget", calls=story.max_calls, usd=story.max_usd)
    if world.billed_micro_usd > committed:
        simulation.broken.append(f"critics billed [{world.billed_micro_usd}]; the budget counts [{committed}]")
    _spent(simulation, "model_spend", calls=10**9, usd=story.max_model_usd)
    enriched = Counter[str]()
    for each in simulation.machine.disk.entries:
        if each.kind == "enrichment":
            enriched[json.loads(each.body)["decision_id"]] += 1
    for decision_id, times in enriched.items():
        if times > 1:
            simulation.broken.append(f"decision [{decision_id}] was enriched [{times}] times")


def _spent(simulation: Simulation, kind: str, *, calls: int, usd: float) -> int:
    """Hold a budget against its limits after each entry, and return what it counts in the end."""
    reserved: dict[str, tuple[str, int]] = {}
    settled: dict[str, int] = {}
    for each in simulation.machine.disk.entries:
        if each.kind not in (f"{kind}_reserved", f"{kind}_settled"):
            continue
        body = json.loads(each.body)
        reservation = body["reservation_id"]
        if each.kind == f"{kind}_reserved":
            reserved[reservation] = (body["day"], body["worst_case_micro_usd"])
        else:
            if reservation in settled or reservation not in reserved:
                simulation.broken.append(f"reservation [{reservation}] is settled twice, or never was")
            settled[reservation] = body["cost_micro_usd"]
        _within(simulation, reserved, settled, calls, usd)
    open_ones = reserved.keys() - settled.keys()
    if open_ones and kind == "budget":  # what calls of models left is settled before the next such call
        simulation.broken.append(f"[{len(open_ones)}] reservations of [{kind}] are not settled")
    return sum(settled.get(each, worst) for each, (_, worst) in reserved.items())


def _within(
    simulation: Simulation, reserved: dict[str, tuple[str, int]], settled: dict[str, int], calls: int, usd: float
) -> None:
    days = Counter[str]()
    costs = Counter[str]()
    for reservation, (day, worst) in reserved.items():
        days[day] += 1
        costs[day] += settled.get(reservation, worst)
    for day, count in days.items():
        if count > calls or costs[day] > usd * 1_000_000:
            simulation.broken.append(f"day [{day}] has [{count}] calls for [{costs[day]}]; allowed [{calls}], [{usd}]")


# --- views ----------------------------------------------------------------------------------------


async def views(simulation: Simulation, loom: Loom) -> None:
    """Views that followed the journal are those that are rebuilt from it (law 1)."""
    path = loom.files.views
    before = _dump(path)
    await loom.rebuild()
    after = _dump(path)
    for table in before.keys() | after.keys():
        if before.get(table) != after.get(table):
            simulation.broken.append(f"view [{table}] differs from the rebuilt one: {_differs(before, after, table)}")


def _dump(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        words = [f"{name}_" for name, sql in database.execute("SELECT name, sql FROM sqlite_schema") if _is_words(sql)]
        return {
            name: sorted(map(repr, database.execute(f"SELECT * FROM {name}")))
            for name in tables
            if name not in _NO_VIEWS and not name.startswith(("sqlite_", *words))
        }


def _is_words(sql: str | None) -> bool:
    """Tell whether a table is an index of words, whose own tables depend on the order in which it was made."""
    return sql is not None and sql.startswith("CREATE VIRTUAL")


_NO_VIEWS = frozenset({"snapshots"})


def _differs(before: dict[str, list[Any]], after: dict[str, list[Any]], table: str) -> str:
    old, new = set(before.get(table, ())), set(after.get(table, ()))
    return f"only before {sorted(old - new)[:2]}, only after {sorted(new - old)[:2]}"[:600]
