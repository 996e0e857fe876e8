"""Law 10: within a turn each value is kept once; what is given by keyword stays where it is said."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom.actors import Command
from loom.decisions import ApprovalGiven, DecisionJournalEntry
from loom.journal import Recorded
from loom.projections.joining import join
from tests.actors.agents import Case, Folding, discount
from tests.actors.support import entries, opened

LEAST = 40


class Decide(Command[str]):
    looked_up: list[str]
    asks: bool = False
    by_keyword: bool = False


class Deciding(Folding):
    """Looks things up, one after the other or at once, asks a person if it is told to, and decides."""

    policy = discount

    async def execute(self, command: Decide) -> str:
        found: list[Any] = []
        async with asyncio.TaskGroup() as tasks:
            for number, text in enumerate(command.looked_up):
                tasks.create_task(self._look_up(f"{number}", text, found))
        self.evaluate(Case(percent=len(found)))
        if command.asks:
            await self.request_approval(approver="vp_sales", reason="please")
        await self.record_decision(rationale="because", inputs=found if command.by_keyword else None)
        return await self.record_decision(rationale="and again", decision_type="again")

    async def _look_up(self, query: str, text: str, found: list[Any]) -> None:
        found.append(
            await self.gather_context(system="test", entity="text", query=query, fetcher=lambda: {"text": text * LEAST})
        )


_KEPT_IN = {"context_gathered": "result", "approval_answered": "comment"}


def repeated(entries: Sequence[Recorded]) -> list[str]:
    """Return the results of look-ups, and the words of people, that more than one body of their turn says."""
    turns: dict[tuple[str, str | None], list[Recorded]] = {}
    for each in entries:
        turns.setdefault((each.journal, each.command_id), []).append(each)
    found = []
    for turn in turns.values():
        texts = [
            json.dumps(body[_KEPT_IN[each.kind]], ensure_ascii=False, separators=(",", ":"))
            for each in turn
            if each.kind in _KEPT_IN and isinstance(body := each.body_json(), dict)
        ]
        bodies = [(each.body or b"").decode() for each in turn]
        found += [text for text in texts if len(text) >= LEAST and sum(text in body for body in bodies) != 1]
    return found


async def decided(directory: Path, command: Decide) -> tuple[list[Recorded], list[DecisionJournalEntry]]:
    async with opened(directory, agents=[Deciding]) as loom:
        agent = loom.actor(Deciding, "one")
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(agent.ask(command, id="the-command"))
            while command.asks and not (waiting := await loom.approvals.pending()):
                await asyncio.sleep(0)
            if command.asks:
                await loom.approvals.grant(waiting[0].approval_id, by="dana", comment="fine by me " * 10)
        trace = await loom.traces.get(asked.result())
        recorded = await entries(loom, "deciding/one")
        apart = [each.entry for each in recorded if isinstance(each.entry, DecisionJournalEntry)]
        await join(loom.store, recorded)
        joined = [each.entry for each in recorded if isinstance(each.entry, DecisionJournalEntry)]
        assert trace.decision == joined[-1].decision
        assert [each.verdict async for each in loom.replay.verify("deciding/one")] == ["same"]
        assert joined[-1].decision.replace(inputs=(), approvals=()) == apart[-1].decision
    return recorded, joined


def check(command: Decide) -> None:
    with tempfile.TemporaryDirectory() as directory:
        recorded, joined = asyncio.run(decided(Path(directory), command))
    values = {json.dumps({"text": text * LEAST}) for text in command.looked_up}
    for entry in joined:
        assert {json.dumps(each.result) for each in entry.decision.inputs} == values
        assert len(entry.decision.inputs) == len(command.looked_up)
        answers: tuple[ApprovalGiven, ...] = entry.decision.approvals
        assert [(each.approver, each.by, each.granted) for each in answers] == [
            ("vp_sales", "dana", True)
        ] * command.asks
    assert bool(repeated(recorded)) == (command.by_keyword and bool(command.looked_up))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text('abcé"\\', min_size=1, max_size=5), max_size=3, unique=True), st.booleans(), st.booleans())
def test_a_result_of_a_look_up_is_in_one_body_of_its_turn(looked_up: list[str], asks: bool, by_keyword: bool) -> None:  # noqa: FBT001
    check(Decide(looked_up=looked_up, asks=asks, by_keyword=by_keyword))


@pytest.mark.parametrize("by_keyword", [False, True])
def test_what_is_given_by_keyword_stays_where_it_is_said(*, by_keyword: bool) -> None:
    check(Decide(looked_up=["a", "b"], asks=True, by_keyword=by_keyword))
