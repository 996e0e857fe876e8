"""What was decided before loom was there comes in once, with its own time, and counts once its import has ended."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import JsonValue

from loom import Actor, Command, Loom
from loom.decisions import DecisionObservedEntry
from loom.errors import (
    DuplicateKindError,
    ImportMapError,
    ImportRefusedError,
    JournalFormatError,
    RunConflictError,
    UnknownActorError,
)
from loom.history import History
from loom.history.rows import NO_REASON
from loom.history.writing import Writing
from loom.precedents import EquivalenceRule
from loom.replay.selection import Selection
from tests.history.support import bank, rows, written
from tests.journal.support import as_format
from tests.on_postgres import verify

LIKE = EquivalenceRule("mortgage", attributes=("town",), outcome=("granted",))


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Loom]:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", by="robin") as opened:
        yield opened


async def entries(loom: Loom) -> list[DecisionObservedEntry]:
    found = [each.entry async for each in loom.store.read_all()]
    return [each for each in found if isinstance(each, DecisionObservedEntry)]


# --- what comes in --------------------------------------------------------------------------------


async def test_every_row_is_a_decision_with_its_source_its_claims_and_exact_values(loom: Loom, tmp_path: Path) -> None:
    given = rows(40)
    done = await loom.history.load_file(written(tmp_path / "h.csv", given), bank(), by="vera")

    assert done.written == 40
    for row, entry in zip(given, await entries(loom), strict=True):
        facts: dict[str, JsonValue] = {
            "amount": int(row["amount"]),
            "rate": str(round(Decimal(row["rate"]), 2)),
            "town": row["town"],
        }
        decision = entry.decision
        assert decision.facts == {
            name: value for name, value in facts.items() if value != ""
        }  # an empty cell is no fact
        assert decision.outcome == {"granted": row["ok"] == "yes"}
        assert decision.decided_at == datetime.fromisoformat(row["at"]).replace(tzinfo=ZoneInfo("Europe/Berlin"))
        assert (decision.policy, decision.evaluation, decision.rationale) == (None, None, NO_REASON)
        assert entry.decided_by == (row["who"] or None)
        assert (entry.source.name, entry.source.own_id) == ("bank", row["id"])
        assert entry.source.digest == done.report.file_digest
        if row["who"]:
            assert (entry.identity_source, entry.via) == ("claimed", f"import:{entry.source.digest}:{entry.source.row}")
    journals = {name: length for name, length in await loom.store.journals() if name.startswith("mortgage/")}
    assert journals == {f"mortgage/b{n}": sum(row["branch"] == f"b{n}" for row in given) for n in range(3)}
    run = await loom.runs.get(done.run_id)
    assert (run.kind, run.status, run.by, run.decisions) == ("import", "completed", "vera", 40)
    assert run.parameters["file_digest"] == done.report.file_digest
    assert run.result == {"rows": 40, "decisions": 40, "skipped": 0}
    assert verify(loom.files.journal).ok


async def test_it_is_found_explained_measured_and_compared_by_its_own_time(loom: Loom, tmp_path: Path) -> None:
    given = rows(36)
    await loom.history.load_file(written(tmp_path / "h.csv", given), bank(), by="vera")
    march = [row for row in given if row["at"].startswith("2015-03")]
    window = {"since": datetime(2015, 3, 1, tzinfo=UTC), "until": datetime(2015, 4, 1, tzinfo=UTC)}

    found = await loom.traces.find(**window)  # type: ignore[arg-type]
    assert len(found) == len(march) == 3
    assert {each.origin for each in found} == {"observed"}
    assert await loom.traces.find(**window, by_time="recorded") == ()  # type: ignore[arg-type]
    trace = await loom.traces.get(found[0].decision_id)
    assert trace.decided_by == march[-1]["who"] or trace.decided_by is None
    text = (await loom.traces.explain(found[0].decision_id)).text()
    assert "as its source claims" in text
    assert "made before loom was used; read from bank, own id L-" in text
    assert (await loom.metrics.of(**window)).decisions == 0  # type: ignore[arg-type]
    measured = await loom.metrics.of(origin="observed", **window)  # type: ignore[arg-type]
    assert measured.decisions == 3
    assert measured.denial_rate == sum(row["ok"] == "no" for row in march) / 3
    assert (await loom.metrics.of(origin="observed", by_time="recorded", **window)).decisions == 0
    audit = await loom.policies.audit()
    assert (audit.observed, audit.decisions, dict(audit.counts)) == (36, 0, {})
    assert (await loom.policies.audit(Selection(origin="observed", **window))).observed == 3  # type: ignore[arg-type]


async def test_python_rows_json_lines_and_a_select_say_the_same(loom: Loom, tmp_path: Path) -> None:
    given = rows(12)
    lines = tmp_path / "h.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in given))
    with closing(sqlite3.connect(tmp_path / "h.db")) as db:
        db.execute(f"CREATE TABLE loans ({', '.join(given[0])})")
        db.executemany(
            f"INSERT INTO loans VALUES ({', '.join('?' * len(given[0]))})", [(*row.values(),) for row in given]
        )
        db.commit()
    typed = [{**row, "amount": int(row["amount"]), "rate": float(row["rate"])} for row in given]

    await loom.history.load(typed, bank(source="a"), by="vera")
    await loom.history.load_file(lines, bank(source="b"), by="vera")
    await loom.history.load_file(
        tmp_path / "h.db", bank(source="c"), by="vera", select="SELECT * FROM loans ORDER BY rowid"
    )

    said = [
        (each.source.name, each.decision.facts, each.decision.outcome, each.decided_by) for each in await entries(loom)
    ]
    by_source = [[each[1:] for each in said if each[0] == name] for name in "abc"]
    assert by_source[0] == by_source[1] == by_source[2]
    assert len(by_source[0]) == 12


async def test_observed_decisions_are_precedents_of_their_class(loom: Loom) -> None:
    await loom.precedents.register(LIKE, by="vera")
    given = rows(30)
    await loom.history.load(given, bank(equivalence="mortgage"), by="vera")

    classes = {(each.outcome["granted"], each.support) for each in await loom.precedents.classes(limit=50)}
    counted = Counter((row["town"], row["ok"] == "yes") for row in given if row["town"])
    expected = {(granted, count) for (_, granted), count in counted.items()}
    assert classes == expected
    [member, *_] = await loom.precedents.members((await loom.precedents.classes(limit=1))[0].precedent)
    assert (member.policy, member.policy_version, member.superseded) == (None, None, None)


# --- once -----------------------------------------------------------------------------------------


async def test_the_same_row_is_skipped_and_another_one_of_the_same_id_refused_with_both_shown(loom: Loom) -> None:
    given = rows(10)
    await loom.history.load(given, bank(), by="vera")
    again = await loom.history.load([*given, *rows(12)[10:]], bank(), by="vera")
    assert (again.written, again.report.same) == (2, 10)

    changed = {**given[3], "amount": "77"}
    with pytest.raises(ImportRefusedError, match="nothing was written") as refused:
        await loom.history.load([*rows(14)[12:], changed], bank(), by="vera")
    [problem] = refused.value.report.problems  # type: ignore[attr-defined]
    assert (problem.row, problem.code) == (3, "differs")
    assert f'"amount": {given[3]["amount"]}' in problem.message
    assert '"amount": 77' in problem.message
    other = await loom.history.load([changed], bank(source="branch"), by="vera")  # another source has ids of its own
    assert other.written == 1
    assert len(await entries(loom)) == 13


async def test_two_rows_of_one_id_in_one_file_are_refused_unless_they_say_the_same(loom: Loom) -> None:
    given = rows(5)
    report = await loom.history.check([*given, given[0]], bank())
    assert (report.good, report.same, report.ok) == (5, 1, True)
    report = await loom.history.check([*given, {**given[0], "ok": "no" if given[0]["ok"] == "yes" else "yes"}], bank())
    assert [(each.row, each.code) for each in report.problems] == [(6, "twice")]
    assert "is in row 1" in report.problems[0].message


# --- unfinished -----------------------------------------------------------------------------------


async def cut(history: History, given: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Import until so many rows are written, then fail."""
    submit = Writing._submit

    async def failing(self: Writing, prepared: Any) -> None:
        if self.written == after:
            raise RuntimeError("the power went")
        await submit(self, prepared)

    with monkeypatch.context() as patched:
        patched.setattr(Writing, "_submit", failing)
        with pytest.raises(RuntimeError):
            await history.load(given, bank(equivalence="mortgage"), by="vera")


async def test_what_has_not_ended_stands_outside_until_it_is_resumed(
    loom: Loom, monkeypatch: pytest.MonkeyPatch
) -> None:
    await loom.precedents.register(LIKE, by="vera")
    given, mapped = rows(20), bank(equivalence="mortgage")
    await cut(loom.history, given, monkeypatch, after=7)

    found = await loom.traces.find(limit=50)
    assert [each.status for each in found] == ["open"] * 7
    assert "import unfinished" in (await loom.traces.explain(found[0].decision_id)).text()
    assert await loom.precedents.classes() == ()
    assert (await loom.metrics.of(origin="observed")).decisions == 0
    assert (await loom.policies.audit()).observed == 0
    [unfinished] = await loom.history.unfinished()
    with pytest.raises(ImportRefusedError, match="has not ended"):
        await loom.history.load(given, mapped, by="vera")
    with pytest.raises(RunConflictError, match="is an import that has not ended"):
        await loom.runs.end(unfinished.run_id, by="vera")
    with pytest.raises(ImportRefusedError, match="there is no unfinished import"):
        await loom.history.load(given[:3], mapped, by="vera", resume=True)

    done = await loom.history.load(given, mapped, by="wim", resume=True)

    assert (done.run_id, done.written, done.report.same) == (unfinished.run_id, 13, 7)
    found = await loom.traces.find(limit=50)
    assert [each.status for each in found] == ["settled"] * 20
    assert [each.source.row for each in await entries(loom)] == list(range(1, 21))
    assert sum(each.support for each in await loom.precedents.classes()) == sum(bool(row["town"]) for row in given)
    assert (await loom.metrics.of(origin="observed")).decisions == 20
    run = await loom.runs.get(done.run_id)
    assert (run.status, run.ended_by, run.result) == ("completed", "wim", {"rows": 20, "decisions": 20, "skipped": 0})


async def test_what_is_abandoned_is_marked_for_good_and_its_ids_stay_taken(
    loom: Loom, monkeypatch: pytest.MonkeyPatch
) -> None:
    await loom.precedents.register(LIKE, by="vera")
    given, mapped = rows(9), bank(equivalence="mortgage")
    await cut(loom.history, given, monkeypatch, after=4)
    [unfinished] = await loom.history.unfinished()

    await loom.history.abandon(unfinished.run_id, by="vera", reason="the wrong file")

    assert [each.status for each in await loom.traces.find(limit=50)] == ["abandoned"] * 4
    assert await loom.precedents.classes() == ()
    report = await loom.history.check(given, mapped)
    assert [each.code for each in report.problems] == ["abandoned"] * 4
    await loom.history.load(given, {**mapped, "source": "bank-2"}, by="vera")
    assert sum(each.support for each in await loom.precedents.classes()) == sum(bool(row["town"]) for row in given)


# --- nobody commands it ---------------------------------------------------------------------------


class Ask(Command[str]):
    pass


class Mortgage(Actor):
    async def execute(self, command: Ask) -> str:
        return "yes"


async def test_no_command_may_be_sent_to_a_type_that_was_imported(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    async with Loom.open(url, by="robin") as loom:
        await loom.history.load(rows(3), bank(), by="vera")
        with pytest.raises(DuplicateKindError, match="is that of imported decisions"):
            await loom.actor(Mortgage, "b1").ask(Ask())
        with pytest.raises(DuplicateKindError):
            await loom.actor(Mortgage, "new").ask(Ask())
        with pytest.raises(UnknownActorError):
            await loom.actors.cell("mortgage/b1")
    with pytest.raises(DuplicateKindError):  # nor by one that is opened later
        async with Loom.open(url, actors=[Mortgage], by="robin"):
            pass


async def test_an_import_into_the_type_of_an_actor_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    async with Loom.open(url, actors=[Mortgage], by="robin") as loom:
        with pytest.raises(ImportMapError, match="is that of an actor"):
            await loom.history.check(rows(1), bank())
        await loom.actor(Mortgage, "b1").ask(Ask())
    async with Loom.open(url, by="robin") as loom:
        with pytest.raises(ImportMapError, match="have entries of actors"):
            await loom.history.check(rows(1), bank())


async def test_a_journal_of_an_older_format_says_that_it_is_to_be_upgraded(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", by="robin"):
        pass
    as_format(tmp_path / "journal.db", 2)
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", by="robin") as loom:
        with pytest.raises(JournalFormatError, match="loom upgrade"):
            await loom.history.check(rows(1), bank())
