"""Law 9: a view can hide but not invent, whatever is listed, summed up, suggested, reported or compared.

Somebody who can write the views file, and nothing else, invents a row, or changes a column of all rows, in any table of
any projection there is. Each answer is then what it was, or less of it, or refused; nothing that was invented is in it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from loom import Loom
from loom.config import LoomConfig
from loom.decisions.metrics import GroupBy
from loom.errors import LoomError
from loom.extension import installed
from loom.gate.audit import CONFIRM_EVENTS
from loom.gate.shell import _EVENTS as GATE_EVENTS
from loom.projections.sql import quoted
from loom.reports.reading import read_report
from tests.golden.reading import ACTORS, GOLDEN, copied
from tests.projections.every import every_projection

pytestmark = pytest.mark.sqlite("copies of golden files, one for each change of its views")

ASKED = {
    "retention": ("metrics", "reports", "gate audit", "decisions", "precedents", "turns"),
    "evolution": ("metrics", "patterns", "approvals"),
}
"""One golden journal with monitors, the gate and a run; one with exceptions, approvals and what came of them."""
Question = Callable[[Loom], Awaitable[Any]]


async def metrics(loom: Loom) -> Any:
    async with loom.metrics.over() as figures:
        by = [await figures.by(group) for group in get_args(GroupBy)]
        return await figures.of(), by, await figures.departures()


async def reports(loom: Loom) -> Any:
    runs = [recorded.entry.run_id async for recorded in loom.store.read_all() if recorded.kind == "run_started"]  # type: ignore[attr-defined]
    return [await read_report(loom.queries, run_id) for run_id in runs]


async def patterns(loom: Loom) -> Any:
    return [await loom.suggestions.patterns(each) for each in loom.policies.names()]


async def gate_audit(loom: Loom) -> Any:
    wanted = {"run": None, "flow": None, "agent": None, "limit": 60}
    rows = await loom.queries.fetch(GATE_EVENTS, wanted, names=("gate",))
    return [dict(row) for row in await loom.queries.confirmed(rows, CONFIRM_EVENTS)]


QUESTIONS: Mapping[str, Question] = {
    "metrics": metrics,
    "patterns": patterns,
    "reports": reports,
    "gate audit": gate_audit,
    "decisions": lambda loom: loom.traces.find(limit=60),
    "precedents": lambda loom: loom.precedents.find(limit=60),
    "turns": lambda loom: loom.turns.unfinished(),
    "approvals": lambda loom: loom.approvals.list(limit=60),
}

SUMS = ("metrics", "patterns", "reports")
"""What counts all there is; lists end after so many, and invented rows may push true ones out."""


@pytest.fixture(params=[path for path in GOLDEN if path.name in ASKED], ids=lambda path: path.name)
async def loom(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Loom]:
    journal = copied(request.param, tmp_path / request.param.name)
    config = LoomConfig(data=journal.parent.parent)
    async with Loom.open(
        config,
        workspace=journal.parent.name,
        actors=ACTORS,
        by="robin",
        resume=False,
        extensions=list(installed().values()),
    ) as loom:
        await loom.reached()
        yield loom


@pytest.mark.parametrize("projection", [each.name for each in every_projection()])
async def test_a_view_may_hide_but_not_invent(loom: Loom, projection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    fetch = loom.queries.fetch

    async def noted(statement: str, parameters: Any = (), *, names: Any, consistent: bool = True) -> Any:
        read.update(names)
        return await fetch(statement, parameters, names=names, consistent=consistent)

    monkeypatch.setattr(loom.queries, "fetch", noted)
    asked, truth = {}, {}
    for name in ASKED[loom.files.directory.parent.name]:
        read.clear()
        ask = QUESTIONS[name]
        truth[name] = plain(await ask(loom))
        if projection in read and leaves(truth[name]):
            asked[name] = ask
    known = {name: frozenset(leaves(answer)) for name, answer in truth.items()}
    assert truth["metrics"][0]["decisions"] > 0
    [tables] = [each.tables for each in every_projection() if each.name == projection]
    with contextlib.closing(sqlite3.connect(loom.files.views, timeout=10, isolation_level=None)) as views:
        for change, undo in forgeries(views, tables):
            for name, ask in asked.items():
                try:
                    answer = plain(await ask(loom))
                except LoomError:
                    continue  # refused
                if change.startswith("invented") and name in SUMS:
                    assert answer == truth[name], f"{name}: {change}"
                else:
                    invented = set(leaves(answer)) - known[name]
                    hidden = len(json.dumps(answer)) < len(json.dumps(truth[name]))
                    assert not invented or hidden, f"{name}: {change}: {invented}"
                    assert "forged" not in json.dumps(answer), f"{name}: {change}"
            undo()


def forgeries(views: sqlite3.Connection, tables: tuple[str, ...]) -> Iterator[tuple[str, Callable[[], None]]]:
    """Change one table after the other: twice as many rows, each column of all rows; yield how, and how to undo it."""
    for table in tables:
        of_type, sql = views.execute("SELECT type, sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        if of_type == "view" or sql.startswith("CREATE VIRTUAL"):
            continue
        info = views.execute(OWN, (table,)).fetchall()
        named, columns = quoted(table), ", ".join(quoted(name) for name, _, _ in info)
        kept = views.execute(f"SELECT {columns} FROM {named}").fetchall()
        if not kept:
            continue

        def undo(named: str = named, columns: str = columns, kept: list[Any] = kept) -> None:
            views.execute("BEGIN IMMEDIATE")
            views.execute(f"DELETE FROM {named}")
            views.executemany(f"INSERT INTO {named} ({columns}) VALUES ({', '.join('?' * len(kept[0]))})", kept)
            views.execute("COMMIT")

        more = [[other(each, *of) for each, of in zip(row, info, strict=True)] for row in kept]
        views.executemany(f"INSERT OR IGNORE INTO {named} ({columns}) VALUES ({', '.join('?' * len(info))})", more)
        yield f"invented in {table}", undo
        for name, kind, _ in info:
            column = quoted(name)
            forged = {"TEXT": f"'forged' || {column}", "BLOB": f"CAST('forged' || hex({column}) AS BLOB)"}
            value = forged.get(kind, f"CASE WHEN {column} IN (0, 1) THEN 1 - {column} ELSE {column} + 1000003 END")
            views.execute(f"UPDATE OR IGNORE {named} SET {column} = coalesce({value}, {column})")
            yield f"changed {table} in {name}", undo


OWN = "SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden = 0"
IDS = ("decision_id", "approval_id", "run_id", "dfid")
"""What an invented row calls itself by, where that is not its key."""


def other(value: Any, name: str, kind: str, pk: int) -> Any:
    """Return another value for a column by which a row is known, and the same for others."""
    if not pk and name not in IDS:
        return value
    if isinstance(value, int | float):
        return value + 1_000_003
    return f"forged {value}" if kind == "TEXT" else value


def plain(answer: Any) -> Any:
    """Return an answer as plain JSON."""
    if isinstance(answer, BaseModel):
        return answer.model_dump(mode="json")
    if hasattr(answer, "_asdict"):
        return plain(answer._asdict())
    if isinstance(answer, Mapping):
        return {str(name): plain(value) for name, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [plain(each) for each in answer]
    return answer if isinstance(answer, int | float | str | None) else str(answer)


def leaves(answer: Any) -> list[Any]:
    """Return all plain values in an answer."""
    if isinstance(answer, dict):
        return [leaf for each in answer.values() for leaf in leaves(each)]
    return [leaf for each in answer for leaf in leaves(each)] if isinstance(answer, list) else [answer]
