"""A why-not carries the condition that failed as the table has it, and what was written before that reads as it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from loom import Actor, Command, Loom
from loom.decisions import EvaluatedEntry
from loom.journal.entry import KINDS, UnknownEntry
from loom.policies import Table
from loom.policies.tables.compiled import condition_test
from loom.policies.tables.layout import Condition, read
from tests.policies.test_tables_gaps import CASE, DOMAIN, LOAN
from tests.policies.test_tables_properties import FACTS, tables

OLD = {
    "step": {"verb": "evaluate", "key": "k", "occurrence": 1},
    "facts": {"income": 1},
    "evaluation": {
        "effect": "deny",
        "rule": "else",
        "why": "else",
        "why_not": [{"rule": "rich", "why": "income is 1, not >= 2"}],
        "tier": None,
        "is_exception": False,
        "exception_reason": None,
        "details": {},
    },
}


@settings(max_examples=100, deadline=None)
@given(tables(), st.data())
def test_each_condition_that_is_named_is_one_of_its_rule_and_fails(written: Any, data: st.DataObject) -> None:
    table = Table.of(written, checked=False)
    case = {name: data.draw(st.sampled_from(DOMAIN[name])) for name in FACTS}
    rows = {row.name: row for row in table.layout.rows}

    for miss in table.evaluate_json(case).why_not:
        if miss.condition is None:
            assert all(holds(table, each, case) for each in rows[miss.rule].when)
            continue
        fact, operator, value = miss.condition
        failed = next(each for each in rows[miss.rule].when if not holds(table, each, case))
        operands = [table.layout.value(each) for each in failed.operands]
        assert (fact, operator) == (failed.fact, failed.operator)
        assert (list(value) if isinstance(value, tuple) else [value]) == operands


def holds(table: Table, condition: Condition, case: dict[str, Any]) -> bool:
    kind = table.layout.facts[condition.fact].type
    return condition_test(table.layout, condition)(read(kind, case[condition.fact]))


def test_it_is_written_as_a_cell_of_a_table_is_and_left_out_where_there_is_none() -> None:
    evaluation = Table.of(LOAN).evaluate_json({**CASE, "income": 70_000, "ratio": "0.3"})
    plain = json.loads(evaluation.model_dump_json())["why_not"]

    assert plain[1]["condition"] == ["income", ">=", 100_000]
    assert "condition" not in plain[-1]


def test_an_evaluation_of_before_is_read_and_an_older_loom_calls_a_new_one_newer() -> None:
    old = KINDS.decode("evaluated", 1, json.dumps(OLD).encode())
    newer = KINDS.decode("evaluated", EvaluatedEntry.schema_version + 1, json.dumps(OLD).encode())

    assert isinstance(old, EvaluatedEntry)
    assert json.loads(old.model_dump_json())["evaluation"] == OLD["evaluation"]
    assert isinstance(newer, UnknownEntry)
    assert newer.problem == "newer_schema"
    assert EvaluatedEntry.schema_version == 2


class Ask(Command[str]):
    facts: dict[str, Any]


class Lender(Actor[None]):
    actor_type = "lender"
    policy = Table.of({**LOAN, "missing": "three_valued"})

    async def execute(self, command: Ask) -> str:
        said = self.evaluate(command.facts)
        return await self.record_decision(rationale=said.why, outcome={"effect": said.effect})


async def test_an_actor_decides_over_gaps_where_its_table_says_so_and_the_audit_holds(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Lender], by="robin") as loom:
        lender = loom.actor(Lender, "one")
        decided = await loom.traces.get(await lender.ask(Ask(facts={"ratio": "1.6"})))
        undecided = await loom.traces.get(await lender.ask(Ask(facts={"ratio": "0.5"})))
        audit = await loom.policies.audit()

    assert (decided.effect, decided.rule) == ("deny", "broke")
    assert (undecided.effect, undecided.rule) == ("indeterminate", "facts")
    assert undecided.decision.evaluation is not None
    assert undecided.decision.evaluation.details["depends_on"] == "income"
    assert (audit.confirmed, audit.verdict) == (2, "sound")
