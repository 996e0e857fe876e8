"""Running again: the actor's code under another version, fed from the journal; nothing is fetched or done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

from loom import Actor, Command, Entry, Loom
from loom.policies.tables import Table
from loom.replay import Rerun, Selection
from tests.replay.test_judging import TABLE

V1 = Table.of({**TABLE, "name": "grants"})
WIDE = V1.with_params(limit=50)
NARROW = V1.with_params(limit=1)


class World:
    looked = 0
    done: ClassVar[list[str]] = []


class Ask(Command[bool]):
    percent: int
    industry: str = "health"


class Noted(Entry):
    kind = "rerun_noted"
    percent: int


class Granter(Actor[None]):
    """Looks twice at once, asks where it must, does something, and decides."""

    actor_type = "granter"
    policy = V1

    async def execute(self, command: Ask) -> bool:
        async with asyncio.TaskGroup() as both:
            account = both.create_task(self._look("account", command.industry))
            both.create_task(self._look("tickets", "none"))
        evaluation = self.evaluate({"percent": command.percent, "industry": await account})
        granted = evaluation.allowed
        if evaluation.needs_approval:
            granted = (await self.request_approval(approver="vp", reason="over")).granted
        if evaluation.denied:
            await self._look("reason", "why")
        await self.record(Noted(percent=command.percent))
        await self.perform(action="mail", effect=lambda key: World.done.append(key), key="mail")
        await self.record_decision(rationale=evaluation.why, outcome={"granted": granted})
        return granted

    async def _look(self, entity: str, value: str) -> Any:
        def fetch() -> str:
            World.looked += 1
            return value

        return await self.gather_context(system="crm", entity=entity, query="q", fetcher=fetch)


async def decided(loom: Loom, percent: int, *, grant: bool | None = None) -> None:
    told = asyncio.create_task(loom.actor(Granter, "one").ask(Ask(percent=percent), by="bob"))
    if grant is not None:
        while not (waiting := await loom.approvals.pending()):
            await asyncio.sleep(0.01)
        answer = loom.approvals.grant if grant else loom.approvals.deny
        await answer(waiting[0].approval_id, by="vera", comment="as I said")
    await told


async def rerun(path: Path, table: Table, *percents: tuple[int, bool | None]) -> Rerun:
    async with Loom.open(f"sqlite:///{path}/journal.db", actors=[Granter], by="robin") as loom:
        for percent, grant in percents:
            await decided(loom, percent, grant=grant)
        version = await loom.policies.register(table, by="robin")
        before = World.looked, len(World.done), loom.store.acknowledged
        found = await loom.replay.run(Selection(), under=version.version)
        assert (World.looked, len(World.done), loom.store.acknowledged) == before
        return found


async def test_under_its_own_version_every_decision_comes_out_as_it_was(tmp_path: Path) -> None:
    found = await rerun(tmp_path, V1, (5, None), (15, True), (15, False), (70, None))
    assert found.counts == {"unchanged": 4}
    assert found.coverage == 1.0
    assert all(case.leftovers == () for case in found.cases)


async def test_an_approval_that_is_not_asked_for_any_more_is_left_over_and_the_case_flips(tmp_path: Path) -> None:
    found = await rerun(tmp_path, WIDE, (15, False))
    [case] = found.cases
    assert (case.verdict, case.old, case.new) == ("flipped", "require_approval:vp", "allow")
    assert (case.old_outcome, case.new_outcome) == ({"granted": False}, {"granted": True})
    assert any("request_approval" in each for each in case.leftovers)


async def test_an_approval_nobody_was_ever_asked_for_is_not_made_up(tmp_path: Path) -> None:
    found = await rerun(tmp_path, NARROW, (5, None))
    [case] = found.cases
    assert (case.verdict, case.reason, case.new) == ("not_replayable", "request_approval_never_recorded", None)
    assert found.coverage == 0


async def test_a_look_up_nobody_ever_made_is_not_made_now(tmp_path: Path) -> None:
    narrow = {"limit": {"type": "integer", "value": 1}}
    first: Any = TABLE["rules"]
    refusing = Table.of({**TABLE, "name": "grants", "rules": first[:1], "parameters": narrow})
    found = await rerun(tmp_path, refusing, (5, None))
    assert [case.reason for case in found.cases] == ["gather_context_never_recorded"]


async def test_a_version_of_another_policy_and_a_decision_without_a_turn_are_named(tmp_path: Path) -> None:
    stranger = Table.of({**TABLE, "name": "stranger"})
    found = await rerun(tmp_path, stranger, (5, None))
    assert [case.reason for case in found.cases] == ["other_policy"]


async def test_the_approval_that_was_given_is_fed_to_code_that_still_asks_for_it(tmp_path: Path) -> None:
    other_words = Table.of(
        {
            **TABLE,
            "name": "grants",
            "description": "x",
            "rules": [
                TABLE["rules"][0],  # type: ignore[index]
                {**TABLE["rules"][1], "why": "for other reasons"},  # type: ignore[index]
            ],
        }
    )
    found = await rerun(tmp_path, other_words, (15, True), (15, False))
    assert [case.new_outcome for case in found.cases] == [{"granted": True}, {"granted": False}]
    assert found.counts == {"unchanged": 2}
