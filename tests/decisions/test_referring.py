"""A decision refers to the steps of its turn: what is written and read, and what is said of a step that is gone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from loom.decisions import ApprovalGiven, Decision, DecisionJournalEntry
from loom.decisions.conduct import departure_of, verdict_of
from loom.decisions.decision import ApprovalReference, PolicyReference, References
from loom.decisions.entries import ContextGatheredEntry
from loom.decisions.rows import decision_parts, written_decision
from loom.journal import KINDS, Entry, Recorded, draft
from loom.journal.entry import StepReference, UnknownEntry
from loom.journal.sqlite import SqliteStore
from loom.lineage import Lineage
from loom.policies.evaluation import Evaluation
from loom.projections import Projector, Queries, Views
from tests.on_postgres import verify
from tests.projections.journals import MOMENT, answer, command, decision, open_store, request, write
from tests.projections.reading import Asked, asked

JOURNAL = "discount-agent/acme"
GATHERED = ContextGatheredEntry(
    system="crm",
    entity="account",
    query="acme",
    result={"industry": "healthcare"},
    retrieved_at=MOMENT,
    duration_ms=1.5,
)
LEFT_OUT: dict[str, Any] = {
    "rationale_author": "developer",
    "reasoning": [],
    "inputs": [],
    "alternatives": [],
    "facts": None,
    "evaluation": None,
    "outcome": {},
    "precedents": [],
    "precedent_class": None,
    "is_exception": False,
    "exception_reason": None,
    "approvals": [],
    "context": {},
    "confidence": None,
    "parent_decision_id": None,
    "causation_id": None,
    "run_id": None,
    "origin": "original",
    "replayed_from": None,
}


@pytest_asyncio.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Asked]:
    async with asked(tmp_path) as there:
        yield there


async def steps(store: SqliteStore) -> tuple[Recorded, Recorded]:
    """Journal a look-up and an answer in an open turn, and return them."""
    for each in (command(), GATHERED, request("acme"), answer("acme", comment="They are worth it.")):
        await write(store, JOURNAL, each, command_id="t")
    recorded = [each async for each in store.read(JOURNAL)]
    return recorded[1], recorded[3]


def referring(looked_up: Recorded, answered: Recorded) -> DecisionJournalEntry:
    answer_to = ApprovalReference(*answered.reference, "vp_sales", True, True)
    refers = References(inputs=(looked_up.reference,), approvals=(answer_to,))
    return DecisionJournalEntry(decision=decision("acme", refers=refers))


async def decide(store: SqliteStore, entry: Entry) -> None:
    await write(store, JOURNAL, entry, command_id="t")


def test_what_is_at_its_default_is_left_out_and_its_defaults_are_fixed() -> None:
    said = Decision(
        decision_id="a" * 64,
        decision_type="one",
        rationale="because",
        policy=PolicyReference(name="p", version="policy_v1_00000000", hash="0" * 64),
        evaluation=Evaluation(effect="allow", rule="small", why="it is"),
    )
    entry = DecisionJournalEntry(decision=said)

    body = draft(entry).body

    assert json.loads(body)["decision"].keys() == {"decision_id", "decision_type", "rationale", "policy", "evaluation"}
    assert KINDS.decode("decision", 6, body) == entry
    recorded = said.model_dump(mode="json")
    assert {name: recorded[name] for name in LEFT_OUT} | {"evaluation": None} == LEFT_OUT
    optional = {name for name, field in Decision.model_fields.items() if not field.is_required()}
    assert optional - LEFT_OUT.keys() == {"policy", "decided_at", "refers", "sealed_class"}
    assert json.loads(body)["decision"]["evaluation"] == {"effect": "allow", "rule": "small", "why": "it is"}
    assert said.evaluation is not None
    assert said.evaluation.model_dump(mode="json") == {
        "effect": "allow",
        "rule": "small",
        "why": "it is",
        "why_not": [],
        "tier": None,
        "is_exception": False,
        "exception_reason": None,
        "details": {},
    }


def test_a_body_of_an_earlier_schema_stays_what_it_was_and_a_newer_one_is_kept() -> None:
    before = DecisionJournalEntry(decision=decision("acme", inputs=(GATHERED.as_input(),)))
    body = before.model_dump_json().encode()

    for schema in range(1, DecisionJournalEntry.schema_version):
        assert KINDS.decode("decision", schema, body) == before
    newer = KINDS.decode("decision", DecisionJournalEntry.schema_version + 1, body)
    assert isinstance(newer, UnknownEntry)
    assert newer.problem == "newer_schema"


def test_a_list_is_referred_to_whole_or_not_at_all() -> None:
    refers = References(inputs=(StepReference(2, "0" * 64),))

    with pytest.raises(ValidationError, match="refers to steps and repeats some"):
        DecisionJournalEntry(decision=decision("acme", refers=refers, inputs=(GATHERED.as_input(),)))


async def test_a_decision_is_written_with_references_and_read_with_what_they_say(loom: Asked) -> None:
    looked_up, answered = await steps(loom.store)
    await decide(loom.store, referring(looked_up, answered))
    given = ApprovalGiven(
        approval_id=answer("acme").approval_id,
        approver="vp_sales",
        granted=True,
        by="maria",
        identity_source="claimed",
        answered_at=answered.recorded_at,
        comment="They are worth it.",
    )

    [raw] = [each async for each in loom.store.read(JOURNAL, after=4)]
    trace = await loom.traces.get(decision("acme").decision_id)

    assert isinstance(raw.entry, DecisionJournalEntry)
    assert (raw.entry.decision.inputs, raw.entry.decision.approvals) == ((), ())
    assert trace.context == trace.decision.inputs == (GATHERED.as_input(),)
    assert trace.decision.approvals == (given,)
    assert trace.decision.refers == raw.entry.decision.refers
    assert "healthcare" in (await loom.traces.explain(decision("acme").decision_id)).text()
    [found] = await loom.traces.find(with_body=True)
    assert getattr(found, "decision", None) == trace.decision
    assert found.verdict == verdict_of(trace.decision) == verdict_of(raw.entry.decision) == "granted"


@pytest.mark.parametrize("by", ["ada", None])
@pytest.mark.parametrize("outcome", [{}, {"granted": True}, {"granted": False}])
def test_what_a_decision_came_to_is_the_same_by_its_references(by: str | None, outcome: dict[str, bool]) -> None:
    none = {"precedent_class": None}
    for given in (True, False):
        answered = ApprovalReference(4, "0" * 64, "vp_sales", given, by is not None)
        inline = ApprovalGiven(approval_id="a", approver="vp_sales", granted=given, by=by, answered_at=MOMENT)
        referred = decision("acme", outcome=outcome, refers=References(approvals=(answered,)), **none)
        before = decision("acme", outcome=outcome, approvals=(inline,), **none)
        assert (verdict_of(referred), departure_of(referred)) == (verdict_of(before), departure_of(before))


async def test_parts_are_joined_where_they_are_asked_for(loom: Asked) -> None:
    looked_up, answered = await steps(loom.store)
    await decide(loom.store, referring(looked_up, answered))
    names = ("decision_id", "inputs", "approvals", "origin", "reasoning")

    apart = (await decision_parts(loom.store, [5], names))[5].values
    joined = (await decision_parts(loom.store, [5], names, joined=("inputs", "approvals")))[5].values

    assert apart is not None
    assert joined is not None
    assert apart[1:] == ([], [], "original", [])
    assert joined[1] == [GATHERED.as_input().model_dump(mode="json")]
    assert joined[2][0]["by"] == "maria"
    await loom.queries.fetch("SELECT 1 FROM trace_decisions", names=("traces",))
    graph = await Lineage(loom.queries).graph((await loom.traces.find())[0].decision_id)
    assert "crm account acme" in [node.label for node in graph.nodes]


async def test_a_whole_body_says_what_it_leaves_out(loom: Asked) -> None:
    await write(loom.store, JOURNAL, DecisionJournalEntry(decision=decision("acme")))

    written = written_decision((await loom.store.at([1]))[1])

    assert written is not None
    assert written.keys() == LEFT_OUT.keys() | {"decision_id", "decision_type", "rationale", "policy"}


async def test_what_is_gone_is_said_to_be_gone(loom: Asked) -> None:
    looked_up, answered = await steps(loom.store)
    await decide(loom.store, referring(looked_up, answered))
    [recorded] = [each async for each in loom.store.read(JOURNAL, after=4)]

    recorded.join({(JOURNAL, each.sequence): replace(each, body=None, salt=None) for each in (looked_up, answered)})

    assert isinstance(recorded.entry, DecisionJournalEntry)
    [gone], [given] = recorded.entry.decision.inputs, recorded.entry.decision.approvals
    assert (gone.source, gone.system, gone.entity, gone.result) == ("gone", "(gone)", "entry 2", None)
    assert (given.approver, given.granted, given.by) == ("vp_sales", True, "(gone)")


async def test_another_entry_than_the_one_referred_to_counts_as_gone_and_is_found(tmp_path: Path) -> None:
    async with asked(tmp_path) as loom:
        looked_up, answered = await steps(loom.store)
        other = referring(looked_up, answered)
        refers = References(
            inputs=(StepReference(2, "0" * 64), StepReference(9, "1" * 64)),
            approvals=(ApprovalReference(3, "2" * 64, "vp_sales", True, True),),
        )
        await decide(loom.store, other)
        await decide(loom.store, DecisionJournalEntry(decision=decision("other", refers=refers)))

        trace = await loom.traces.get(decision("other").decision_id)
        assert [each.source for each in trace.decision.inputs] == ["gone", "gone"]
        assert (
            "entry 9 of its journal, which is pruned or missing"
            in (await loom.traces.explain(trace.decision_id)).text()
        )
        assert trace.decision.approvals == ()

    found = verify(tmp_path / "journal.db")
    assert [(each.code, each.position) for each in found.findings if each.code == "STRAY_REFERENCE"] == [
        ("STRAY_REFERENCE", 6)
    ] * 3
    assert not found.ok


class Looked:
    """Writes down what decisions rest on, as a projection of a user's would."""

    name = "looked"
    version = 1
    kinds = frozenset({"decision"})
    schema = "CREATE TABLE looked (position INTEGER PRIMARY KEY, inputs TEXT NOT NULL, by TEXT) STRICT;"
    tables = ("looked",)

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        assert isinstance(recorded.entry, DecisionJournalEntry)
        said = recorded.entry.decision
        systems = json.dumps([(each.system, each.result) for each in said.inputs])
        view.execute("INSERT INTO looked VALUES (?, ?, ?)", (recorded.position, systems, said.approvals[0].by))


async def looked(store: SqliteStore, views: Views) -> list[tuple[Any, ...]]:
    projector = Projector(store, views, [Looked()], batch=2)
    await projector.start()
    try:
        rows = await Queries(views, projector).fetch("SELECT inputs, by FROM looked", names=("looked",))
        return [tuple(row) for row in rows]
    finally:
        await projector.close()
        await views.close()


async def test_a_projection_is_handed_joined_decisions_also_after_a_restart_in_the_middle_of_a_turn(
    tmp_path: Path,
) -> None:
    store = await open_store(tmp_path)
    looked_up, answered = await steps(store)
    assert await looked(store, Views(store.files.views)) == []
    await decide(store, referring(looked_up, answered))

    again = await looked(store, Views(store.files.views))

    assert again == [('[["crm", {"industry": "healthcare"}]]', "maria")]
    store.files.views.unlink()
    assert await looked(store, Views(store.files.views)) == again
    await store.close()
