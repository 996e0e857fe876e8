"""Judging again: the recorded facts under another version, case by case, with nothing made up and nothing touched."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Command, Loom
from loom.decisions import DecisionJournalEntry
from loom.errors import PolicyMismatchError, PolicyNotRegisteredError
from loom.journal import Append, draft
from loom.policies.tables import Table
from loom.replay import Selection
from tests.projections.tampering import tamper
from tests.sqlite_files import connected

TABLE = {
    "format": "loom.table/1",
    "name": "discount",
    "facts": {"percent": {"type": "integer"}, "industry": {"type": "string"}},
    "parameters": {"limit": {"type": "integer", "value": 10, "min": 0, "max": 50}},
    "limits": [{"name": "ceiling", "when": [["percent", ">", 60]], "effect": "deny", "why": "never"}],
    "rules": [
        {"name": "within", "when": [["percent", "<=", {"param": "limit"}]], "effect": "allow", "why": "small"},
        {
            "name": "health",
            "when": [["industry", "=", "health"]],
            "effect": "require_approval",
            "tier": "vp",
            "why": "a good cause",
        },
    ],
    "otherwise": {"name": "else", "effect": "deny", "why": "too much"},
}
V1 = Table.of(TABLE)
V2 = V1.with_params(limit=20)
V3 = Table.of({**TABLE, "facts": {**TABLE["facts"], "arr": {"type": "integer"}}})  # type: ignore[dict-item]


class Ask(Command[str]):
    facts: dict[str, Any]
    looks: bool = True


class Seller(Actor[None]):
    actor_type = "seller"
    policy = V1

    async def execute(self, command: Ask) -> str:
        if command.looks:
            evaluation = self.evaluate(command.facts)
            return await self.record_decision(rationale=evaluation.why, outcome={"granted": evaluation.allowed})
        return await self.record_decision(rationale="unseen", outcome={"granted": True})


class Other(Actor[None]):
    actor_type = "other"

    async def execute(self, command: Ask) -> str:
        return await self.record_decision(rationale="by itself", outcome={})


def opened(path: Path) -> Loom:
    return Loom.open(f"sqlite:///{path}/journal.db", actors=[Seller], by="robin")


async def decided(loom: Loom, *cases: Mapping[str, Any]) -> list[str]:
    ref = loom.actor(Seller, "one")
    return [await ref.ask(Ask(facts=dict(facts)), id=f"c{number}") for number, facts in enumerate(cases)]


async def registered(loom: Loom, *tables: Table) -> list[str]:
    return [(await loom.policies.register(table, by="robin", reason="to compare")).version for table in tables]


CASES: tuple[dict[str, Any], ...] = (
    {"percent": 5, "industry": "retail"},
    {"percent": 15, "industry": "retail"},
    {"percent": 15, "industry": "health"},
    {"percent": 30, "industry": "retail"},
    {"percent": 70, "industry": "health"},
)


def rows(path: Path) -> list[tuple[Any, ...]]:
    with connected(f"file:{path}/journal.db?mode=ro", uri=True) as connection:
        return connection.execute("SELECT * FROM entries WHERE journal LIKE 'seller/%' ORDER BY position").fetchall()


async def test_each_case_is_unchanged_flipped_or_says_why_it_cannot_be_judged(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        ids = await decided(loom, *CASES)
        [v2] = await registered(loom, V2)
        found = await loom.replay.judge(Selection(policy="discount"), under=v2)
        cases = {case.decision_id: case async for case in loom.replay.cases(Selection(policy="discount"), under=v2)}
    assert (found.cases, found.unchanged, found.flipped, found.not_replayable, found.coverage) == (5, 3, 2, {}, 1.0)
    assert [(each.old, each.new, each.examples) for each in found.transitions] == [
        ("deny", "allow", (ids[1],)),
        ("require_approval:vp", "allow", (ids[2],)),
    ]
    assert [cases[each].verdict for each in ids] == ["unchanged", "flipped", "flipped", "unchanged", "unchanged"]
    assert (cases[ids[1]].old_rule, cases[ids[1]].new_rule) == ("else", "within")


async def test_refusals_that_turn_into_grants_come_first_whatever_there_is_more_of(tmp_path: Path) -> None:
    narrow = V1.with_params(limit=4)
    async with opened(tmp_path) as loom:
        await decided(loom, *CASES, {"percent": 3, "industry": "retail"}, *[{"percent": 5, "industry": "x"}] * 4)
        [version] = await registered(loom, narrow)
        found = await loom.replay.judge(Selection(), under=version)
        assert [(each.old, each.new) for each in found.transitions] == [("allow", "deny")]
        wide = (await registered(loom, V1.with_params(limit=50)))[0]
        loosened = await loom.replay.judge(Selection(), under=wide)
    assert [each.loosens > 0 for each in loosened.transitions] == [True] * len(loosened.transitions)
    assert [(each.old, each.new) for each in loosened.transitions] == [
        ("deny", "allow"),
        ("require_approval:vp", "allow"),
    ]


async def test_the_same_version_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await decided(loom, *CASES)
        found = await loom.replay.judge(Selection(), under=loom.policies.latest("discount").version)
    assert (found.unchanged, found.flipped, found.defects) == (5, 0, ())


async def test_what_a_version_needs_and_nobody_recorded_is_not_made_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await decided(loom, *CASES[:2], {"percent": "15", "industry": "retail"})
        await loom.actor(Seller, "one").ask(Ask(facts={}, looks=False))
        v2, v3 = await registered(loom, V2, V3)
        with_less = await loom.replay.judge(Selection(), under=v3)
        found = await loom.replay.judge(Selection(), under=v2)
    assert with_less.not_replayable == {"missing_facts": 2, "no_facts": 1}
    assert (with_less.indeterminate, with_less.unchanged, with_less.coverage) == (1, 0, 0.0)
    assert found.not_replayable == {"no_facts": 1}
    assert (found.indeterminate, found.coverage) == (1, 0.5)  # the ill-typed fact was indeterminate then and is now


async def test_a_version_of_another_policy_is_refused_and_an_unknown_one_too(tmp_path: Path) -> None:
    stranger = Table.of({**TABLE, "name": "refunds"})
    async with opened(tmp_path) as loom:
        await decided(loom, *CASES)
        [version] = await registered(loom, stranger)
        with pytest.raises(PolicyMismatchError, match=r"is of policy \[refunds\], and none of the \[5\] decisions are"):
            await loom.replay.judge(Selection(), under=version)
        with pytest.raises(PolicyNotRegisteredError):
            await loom.replay.judge(Selection(), under="policy_v9_deadbeef")


async def test_nothing_selected_is_nothing_judged(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await decided(loom, *CASES)
        found = await loom.replay.judge(Selection(run_id="nobody"), under=loom.policies.latest("discount").version)
    assert (found.cases, found.coverage, found.transitions) == (0, None, ())


@pytest.mark.parametrize("keep", [False, True])
async def test_judging_leaves_every_byte_and_hash_of_the_journals_as_it_was(tmp_path: Path, *, keep: bool) -> None:
    async with opened(tmp_path) as loom:
        await decided(loom, *CASES)
        [v2] = await registered(loom, V2)
        await loom.reached()
        before = rows(tmp_path)
        acknowledged = loom.store.acknowledged
        await loom.replay.judge(Selection(), under=v2, keep=keep)
        assert rows(tmp_path) == before
        assert (loom.store.acknowledged == acknowledged) is not keep


async def test_what_is_kept_is_a_run_of_traces_that_can_itself_be_judged_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        ids = await decided(loom, *CASES)
        v1 = loom.policies.latest("discount").version
        [v2] = await registered(loom, V2)
        first = await loom.replay.judge(Selection(), under=v2, keep=True, by="auditor")
        assert first.run_id is not None
        run = await loom.runs.get(first.run_id)
        kept = await loom.traces.find(run_id=first.run_id)
        back = await loom.replay.judge(Selection(run_id=first.run_id), under=v1, keep=True, by="auditor")
        trace = await loom.traces.get(ids[1])
        replay = await loom.traces.get(trace.replays[0])
        again = await loom.replay.judge(Selection(), under=v2)
        found = await loom.precedents.classes()
        lineage = await loom.traces.lineage(replay.decision_id)
    assert (run.kind, run.status, run.by) == ("replay", "completed", "auditor")
    assert {each.origin for each in kept} == {"replayed"}
    assert len(kept) == 5
    assert replay.decision.evaluation is not None
    assert replay.decision.evaluation.effect == "allow"
    assert replay.replayed_from == ids[1]
    assert (back.flipped, back.unchanged) == (2, 3)
    assert again.cases == 5  # replays are not judged unless they are asked for
    assert found == ()
    assert {ids[1], replay.decision_id} < {each.decision.decision_id for each in lineage.members}


async def test_an_audit_confirms_what_was_recorded_and_names_what_it_cannot(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.register(Other)
        ids = await decided(loom, *CASES)
        await loom.actor(Seller, "one").ask(Ask(facts={}, looks=False))
        await loom.actor(Other, "one").ask(Ask(facts={}))
        found = await loom.policies.audit()
        only = await loom.policies.audit(Selection(journal="other/one"))
        whole = await loom.policies.audit(Selection(decision_type="policy_application", ids=tuple(ids)))
        await loom.actor(Seller, "two").ask(Ask(facts={}, looks=False))
        bare = await loom.policies.audit(Selection(journal="seller/two"))
    assert (found.decisions, found.confirmed, found.counts) == (7, 5, {"no_facts": 1, "no_rule": 1})
    assert (found.verdict, found.unconfirmed) == ("unconfirmed", 1)
    assert (whole.verdict, whole.sound, whole.confirmed) == ("sound", True, 5)
    assert (only.counts, only.verdict, only.unconfirmed) == ({"no_rule": 1}, "unconfirmed", 0)
    assert (bare.verdict, bare.confirmed, bare.unconfirmed) == ("unconfirmed", 0, 1)


async def test_an_audit_of_some_decisions_says_nothing_of_a_run_that_they_are_not_in(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        async with loom.runs.run(kind="simulation", run_id="mixed"):
            await decided(loom, CASES[0])
            await registered(loom, V2)
            await loom.policies.adopt(V2.version_hash, by="kim")
            await loom.actor(Seller, "one").ask(Ask(facts=dict(CASES[0])))
        await loom.actor(Seller, "two").ask(Ask(facts=dict(CASES[0])))
        mixed, apart = [await loom.policies.audit(Selection(journal=f"seller/{key}")) for key in ("one", "two")]
    assert (mixed.verdict, list(mixed.mixed_runs)) == ("not_sound", ["mixed"])
    assert (apart.verdict, apart.mixed_runs) == ("sound", {})


async def test_an_audit_finds_a_version_that_is_not_there_a_wrong_evaluation_and_a_mixed_run(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        async with loom.runs.run(kind="simulation", run_id="mixed"):
            ids = await decided(loom, *CASES)
            await registered(loom, V2)
            await loom.policies.adopt(V2.version_hash, by="kim")
            await loom.actor(Seller, "one").ask(Ask(facts=dict(CASES[0])))
        wrong, strange = [(await loom.traces.get(each)).decision for each in ids[1:3]]
        assert wrong.evaluation is not None
        made = [
            wrong.replace(decision_id="1" * 64, evaluation=wrong.evaluation.model_copy(update={"effect": "allow"})),
            strange.replace(decision_id="2" * 64, policy=strange.under.model_copy(update={"hash": "ab" * 32})),
        ]
        entries = [draft(DecisionJournalEntry(decision=each)) for each in made]
        await loom.store.append(Append("seller/old", 0, entries))
        found = await loom.policies.audit()
    assert found.counts == {"mismatch": 1, "version_missing": 1}
    assert not found.sound
    assert "mixed" in found.mixed_runs
    assert {each.decision_id for each in found.findings} == {"1" * 64, "2" * 64}


# --- nothing is judged from a view --------------------------------------------------------------------

UNUSED = [
    "effect = 'allow'",
    "rule = 'x'",
    "policy_hash = 'ab'",
    "policy_name = 'x'",
    "policy_version = 'x'",
    "decision_id = 'x'",
    "journal = 'x/y'",
    "sequence = 77",
    "rationale = 'x'",
]


async def tampered(loom: Loom, statement: str, decision_id: str) -> None:
    await loom.reached()
    assert tamper(loom.files.views, statement, {"id": decision_id}) > 0


@pytest.mark.parametrize("change", UNUSED)
async def test_nothing_is_judged_by_what_a_row_says(tmp_path: Path, change: str) -> None:
    async with opened(tmp_path) as loom:
        ids = await decided(loom, *CASES)
        [v2] = await registered(loom, V2)
        before = await loom.replay.judge(Selection(), under=v2), await loom.policies.audit()
        rerun = await loom.replay.run(Selection(), under=v2)
        await tampered(loom, f"UPDATE trace_decisions SET {change} WHERE decision_id = :id", ids[1])
        assert (await loom.replay.judge(Selection(), under=v2), await loom.policies.audit()) == before
        assert await loom.replay.run(Selection(), under=v2) == rerun


async def test_a_row_at_which_nobody_decided_is_left_out_and_reported(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        ids = await decided(loom, *CASES)
        [v2] = await registered(loom, V2)
        await tampered(loom, "UPDATE trace_decisions SET position = 1000 WHERE decision_id = :id", ids[1])
        judged = await loom.replay.judge(Selection(), under=v2)
        rerun = await loom.replay.run(Selection(), under=v2)
        audited = await loom.policies.audit()
        assert [*loom.queries.differences] == ["trace_decisions 1000: there is no decision at its position"]
    assert (judged.cases, judged.left_out) == (4, 1)
    assert {case.decision_id for case in rerun.cases} == {*ids} - {ids[1]}
    assert (audited.decisions, audited.left_out, audited.verdict) == (4, 1, "unconfirmed")
    assert audited.counts == {}


SELECTIONS: list[tuple[str, Selection]] = [
    ("run_id = 'x'", Selection(run_id="x")),
    ("actor_type = 'x'", Selection(actor_type="x")),
    ("actor_key = 'x'", Selection(actor_key="x")),
    ("actor_key = 'x'", Selection(journal="seller/x")),
    ("decision_type = 'x'", Selection(decision_type="x")),
    ("policy_name = 'x'", Selection(policy="x")),
    ("policy_version = 'x'", Selection(policy_version="x")),
    ("origin = 'replayed'", Selection(origin="replayed")),
    ("recorded_at_us = 9000000000000000", Selection(since=datetime(2200, 1, 1, tzinfo=UTC))),
    ("decision_id = 'x' || decision_id", Selection(ids=("x",))),
]


@pytest.mark.parametrize(("change", "selection"), SELECTIONS, ids=lambda each: each if isinstance(each, str) else "")
async def test_no_selection_has_decisions_that_do_not_match_it(
    tmp_path: Path, change: str, selection: Selection
) -> None:
    async with opened(tmp_path) as loom:
        await decided(loom, *CASES)
        await tampered(loom, f"UPDATE trace_decisions SET {change} WHERE :id = ''", "")
        assert (await loom.policies.audit(selection)).decisions == 0


async def test_a_window_of_time_is_not_moved_by_another_row(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        ids = await decided(loom, *CASES)
        newest = (await loom.traces.get(ids[-1])).recorded_at
        statement = "UPDATE trace_decisions SET recorded_at_us = 9000000000000000 WHERE decision_id = :id"
        await tampered(loom, statement, ids[1])
        found = await loom.policies.audit(Selection(since=newest, origin="any"))
    assert found.decisions == 1


async def test_a_run_mixes_versions_where_its_decisions_do(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        async with loom.runs.run(kind="simulation", run_id="pure"):
            await decided(loom, *CASES)
        await tampered(
            loom,
            "INSERT INTO trace_run_versions SELECT run_id, policy_name, 'policy_v2_x', 'x', first_position, :id "
            "FROM trace_run_versions",
            "7",
        )
        assert (await loom.policies.audit()).mixed_runs == {}
