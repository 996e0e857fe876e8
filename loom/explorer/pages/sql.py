"""SQL: questions that no page answers, asked of the views in their own language, for reading only."""

from __future__ import annotations

import io
from typing import Annotated

from fastapi import Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, JsonValue

from loom.decisions.out import write_rows
from loom.errors import AdmissionError
from loom.explorer.page import Page, View
from loom.explorer.visits import Visit, Visitor
from loom.projections import Queries
from loom.projections.statements import MOST_CHARACTERS, StatementResult, Statements

__all__ = ["page"]

page = Page(
    "sql",
    "/sql",
    title="SQL",
    about="Ask what no other page answers: one statement that reads. Nothing can be changed here.",
    place=110,
    may="audit",
)

_EXAMPLES = {
    "How many decisions of each kind, and how they ended": """\
SELECT decision_type AS kind, verdict AS result, count(*) AS decisions
FROM trace_decisions
GROUP BY 1, 2
ORDER BY 3 DESC""",
    "Who answered most requests in the last 30 days": """\
SELECT answered_by AS person, status AS answer, count(*) AS answers
FROM approvals
WHERE answered_at_us > (unixepoch('now') - 30 * 86400) * 1000000
GROUP BY 1, 2
ORDER BY 3 DESC""",
    "Decisions that went against their own rule": """\
SELECT decision_id, departure AS how, journal AS about, rationale
FROM trace_decisions
WHERE departure IS NOT NULL
ORDER BY position DESC
LIMIT 50""",
}
_Statement = Annotated[str, Query(max_length=MOST_CHARACTERS)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Example(_Shape):
    """A question, and the statement that asks it."""

    title: str
    statement: str


class Table(_Shape):
    """A table that can be read."""

    name: str
    columns: tuple[str, ...]


class SqlView(View):
    """A statement, and what it gives."""

    statement: str
    problem: str | None
    columns: tuple[str, ...]
    rows: tuple[tuple[JsonValue, ...], ...]
    more: bool
    most_rows: int
    timeout_s: float
    tables: tuple[Table, ...]
    examples: tuple[Example, ...]


class _Asking:
    """The statements of one loom: how many run at the same time is bounded for all its visitors."""

    def __init__(self) -> None:
        self._statements: Statements | None = None

    def of(self, visit: Visitor) -> Statements:
        """Return what runs statements over the views of a loom."""
        if self._statements is None:
            self._statements = Statements(visit.loom.files.views)
        return self._statements


@page.shows
async def sql(visit: Visit, q: _Statement = "") -> SqlView:
    """Run a statement."""
    queries: Queries = visit.loom.queries
    statements = queries.kept(_Asking).of(visit)
    as_of = min((each.position for each in await queries.status()), default=0)
    found: StatementResult = await statements.run(q.strip() or None)
    return SqlView(
        as_of=as_of,
        statement=q,
        problem=found.problem,
        columns=found.columns,
        rows=found.rows,
        more=found.more,
        most_rows=statements.rows,
        timeout_s=statements.timeout_s,
        tables=tuple(Table(name=name, columns=columns) for name, columns in found.tables.items()),
        examples=tuple(Example(title=title, statement=text) for title, text in _EXAMPLES.items()),
    )


@page.gives("/sql.csv")
async def file(visit: Visit, q: _Statement = "") -> Response:
    """Give the rows of a statement as a table for a spreadsheet."""
    found = await visit.loom.queries.kept(_Asking).of(visit).run(q)
    if found.problem is not None:
        raise AdmissionError(f"the statement gives no rows: {found.problem}")
    text = io.StringIO()
    names = [
        f"{name} ({number})" if name in found.columns[:number] else name for number, name in enumerate(found.columns)
    ]
    rows = [dict(zip(names, row, strict=True)) for row in found.rows]
    write_rows(text, [dict(zip(names, names, strict=True)), *rows], names, form="csv")
    headers = {"Content-Disposition": 'attachment; filename="rows.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)
