"""Facts and outcomes with sealed fields: the rule sees them, the journal has them sealed, nothing gives them away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from loom import Actor, Command, Evaluation, Facts, Loom, LoomConfig, Params, policy
from loom.actors.verbs.shared import digest
from loom.decisions.entries import ApprovalRequestedEntry, DecisionJournalEntry, EvaluatedEntry
from loom.decisions.layout import flat, in_words
from loom.errors import ActorFailedError, ConfigError
from loom.precedents import EquivalenceRule
from loom.replay.selection import Selection
from loom.sealing import MASTER_KEY, Masked, Sealed, SealingConfig, is_sealed, opened_facts, why_closed
from tests.on_postgres import stored

NOTE, EMAIL, AGE = "calls at night", "ada@example.org", 17
GUARDIAN = "guardian"
seen: list[Any] = []


class AgeFacts(Facts):
    age: Annotated[int, Sealed()]
    note: Annotated[str | None, Sealed()] = None
    percent: int = 5


class AgeParams(Params):
    least: int = 18


@policy("age", AgeParams(), examples=[AgeFacts(age=3)])
def of_age(params: AgeParams, facts: AgeFacts) -> Evaluation:
    if facts.age < params.least:
        return Evaluation(
            effect="require_approval",
            rule="minor",
            why=f"{facts.age} is under {params.least}: {facts.note}",
            tier="guardian",
            details={"age": facts.age, "least": params.least, "note": facts.note},
        )
    return Evaluation(effect="allow", rule="adult", why="of age")


class TwoFacts(Facts):
    age: Annotated[int, Sealed()]
    guarantor_id: str = "g-1"
    income: Annotated[int, Sealed(subject="guarantor_id")] = 7


@policy("two", AgeParams(), examples=[TwoFacts(age=3)])
def of_two(params: AgeParams, facts: TwoFacts) -> Evaluation:
    return Evaluation(effect="allow", rule="any", why="it is", details={"income": facts.income})


class MaskedFacts(Facts):
    age: Annotated[int, Masked()]


class Outcome(BaseModel):
    granted: bool
    letter: Annotated[str, Sealed()]


class Judge(Command[str]):
    subject_field = "customer_id"

    customer_id: str
    what: str = ""
    age: int = AGE


class Desk(Actor[None]):
    actor_type = "desk"
    policy = of_age

    async def execute(self, command: Judge) -> str:
        what = command.what
        if what == "masked":
            self.evaluate(MaskedFacts(age=1))
        if what == "copied":
            self.evaluate(
                {"age": {"$sealed": 2, "subject": "c-9", "generation": 1, "about": "", "nonce": "", "data": ""}}
            )
        facts = AgeFacts(age=command.age, note=NOTE)
        evaluation = self.evaluate(facts)
        seen.append(evaluation)
        if what == "facet":
            await self.find_precedents(facets={"age": AGE})
        if what in ("situation", "decide-by-age"):
            await self.find_precedents(facts)
        if what == "text":
            await self.find_precedents(text=f"about {NOTE}", facets={"percent": 5})
        if what == "ask":
            await self.request_approval(approver=GUARDIAN, reason=f"{NOTE}, she is a minor")
        if what == "given":
            await self.record_decision(
                rationale="r", facts=AgeFacts(age=99), outcome=Outcome(granted=True, letter=EMAIL)
            )
        else:
            await self.record_decision(
                rationale=f"she {NOTE}",
                reasoning=[f"1. {NOTE}"],
                exception_reason=f"as she {NOTE}",
                is_exception=True,
                alternatives=[{"option": "deny", "rejected_because": f"she {NOTE}"}],
                outcome={"granted": False, "letter": {"to": EMAIL}},
                protect={"letter.to": "seal"},
            )
        return str(len(evaluation.why))


class ByAge(Desk):
    actor_type = "by-age"
    equivalence = EquivalenceRule("by-age", attributes=["age"], outcome=["granted"])


class ByPercent(Desk):
    actor_type = "by-percent"
    equivalence = EquivalenceRule("by-percent", attributes=["percent"], outcome=["granted"])


class Two(Actor[None]):
    actor_type = "two"
    policy = of_two

    async def execute(self, command: Judge) -> str:
        if command.what == "known":
            await self.gather_context(
                system="s", entity="e", query="q", fetcher=lambda: 1, protect={"$result": "seal"}, subject="g-1"
            )
        return str(self.evaluate(TwoFacts(age=command.age)).details["income"])


ACTORS = [Desk, ByAge, ByPercent, Two]


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    seen.clear()
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())


@asynccontextmanager
async def opened(path: Path, *, sealing: bool = True, resume: bool = True) -> AsyncIterator[Loom]:
    config = LoomConfig(data=path, sections={"sealing": SealingConfig(enabled=sealing)})
    async with Loom.open(config, by="mira", actors=ACTORS, resume=resume) as loom:
        yield loom


def written(path: Path) -> bytes:
    return stored(path)


def judge(what: str = "", **changes: Any) -> Judge:
    return Judge.model_validate({"customer_id": "c-7", "what": what, **changes})


async def entry_of(loom: Loom, kind: Any, journal: str = "desk/c7") -> Any:
    [found] = [each.entry async for each in loom.store.read(journal) if each.kind == kind.kind]
    return found


async def test_the_rule_sees_facts_and_the_journal_has_them_sealed(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Desk, "c7").ask(judge(), id="one")
        evaluated = await entry_of(loom, EvaluatedEntry)
        assert [is_sealed(evaluated.facts[name]) for name in ("age", "note", "percent")] == [True, True, False]
        said = evaluated.evaluation
        assert said == seen[0], "what the code gets is what is journaled"
        assert (said.effect, said.rule) == ("require_approval", "minor")
        assert said.why == "[sealed] is under 18: [sealed]"
        assert said.details == {"age": "[sealed]", "least": 18, "note": "[sealed]"}
        decision = (await entry_of(loom, DecisionJournalEntry)).decision
        assert decision.facts == evaluated.facts
        assert is_sealed(decision.outcome["letter"]["to"])
        assert decision.rationale == "she [sealed]"
        assert decision.reasoning == ("1. [sealed]",)
        assert decision.exception_reason == "as she [sealed]"
        assert decision.alternatives[0].rejected_because == "she [sealed]"
        assert [each.verdict async for each in loom.replay.verify("desk/c7")] == ["same"]
        await loom.actor(Desk, "given").ask(judge("given"), id="one")
        given = (await entry_of(loom, DecisionJournalEntry, "desk/given")).decision
        assert is_sealed(given.facts["age"])
        assert is_sealed(given.outcome["letter"])
        vault = loom.subjects.vault
        assert (await opened_facts(decision.facts, vault)).facts == {"age": AGE, "note": NOTE, "percent": 5}
        assert why_closed(decision.facts, loom.subjects.erasures) == "sealed"
        shown = {name: in_words(value) for name, value in flat(decision.facts)}
        assert shown == {"age": "[sealed]", "note": "[sealed]", "percent": "5"}
        rows = await loom.queries.fetch("SELECT name, value FROM precedent_facets", names=("precedents",))
        assert [row["name"] for row in rows if row["name"] == "age" or "note." in row["name"]] == []
        await loom.subjects.erase("c-7", by="vera", reason="she asked for it")
        assert (await opened_facts(decision.facts, vault)).why == "erased"
        verdicts = [(each.verdict, each.reason) async for each in loom.replay.verify("desk/c7")]
        assert verdicts == [("not_replayable", "erased")]
    for text in (NOTE, EMAIL):
        assert text.encode() not in written(tmp_path)


async def test_no_digest_of_facts_can_be_tried_without_the_key(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Desk, "c7").tell(judge("ask"), id="one")
        while not await loom.approvals.pending():
            await asyncio.sleep(0)
        evaluated, asked = await entry_of(loom, EvaluatedEntry), await entry_of(loom, ApprovalRequestedEntry)
        await loom.actor(Desk, "c8").tell(judge("ask", customer_id="c-8"), id="one")
        while len(await loom.approvals.pending()) < 2:
            await asyncio.sleep(0)
        other = await entry_of(loom, ApprovalRequestedEntry, "desk/c8")
    assert asked.facts == evaluated.facts
    assert asked.reason == "[sealed], she is a minor"
    assert asked.shown != other.shown, "the same facts of two subjects are shown by two digests"
    raw = written(tmp_path)
    for age in range(121):
        plain: Any = {"age": age, "note": NOTE, "percent": 5}
        text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
        for guess in (digest(plain), hashlib.sha256(text).hexdigest()):
            assert guess.encode() not in raw
    step = evaluated.step
    assert step is not None
    assert step.key.startswith("hmac-sha256:")


@pytest.mark.parametrize("ending", ["sealed", "locked", "erased"])
async def test_a_turn_that_waits_goes_on_with_the_same_digests_or_ends(tmp_path: Path, ending: str) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Desk, "c7").tell(judge("ask"), id="one")
        while not await loom.approvals.pending():
            await asyncio.sleep(0)
    async with opened(tmp_path, resume=False) as loom:
        [waiting] = await loom.approvals.pending()
        await loom.approvals.grant(waiting.approval_id, by="ada")
        if ending == "erased":
            await loom.subjects.erase("c-7", by="vera", reason="she asked for it")
    async with opened(tmp_path, sealing=ending != "locked") as loom:
        if ending == "sealed":
            await loom.actor(Desk, "c7").ask(judge("ask"), id="one")
            assert seen[0] == seen[1]
            assert [each.verdict async for each in loom.replay.verify("desk/c7")] == ["same"]
            return
        while await loom.turns.unfinished():
            await loom.reached()
        [failed] = [each.entry async for each in loom.store.read("desk/c7") if each.kind == "turn_failed"]
        assert getattr(failed, "reason", None) == "not_resumable"
        assert {"locked": "sealed"}.get(ending, ending) in getattr(failed, "message", "")


async def test_facts_that_would_be_lost_or_given_away_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        refused = {"masked": "law 3|kept or sealed", "copied": "looks like a sealed", "facet": "facet .age. is a fact"}
        for what, words in refused.items():
            with pytest.raises(ActorFailedError) as caught:
                await loom.actor(Desk, what).ask(judge(what))
            if what != "facet":
                assert caught.match(words)
        for what in ("situation", ""):
            with pytest.raises(ActorFailedError, match="AdmissionError"):
                await loom.actor(ByAge, "a").ask(judge(what))
        await loom.actor(ByPercent, "a").ask(judge("situation"))
        await loom.actor(Desk, "text").ask(judge("text"))
        [looked] = [each.entry async for each in loom.store.read("desk/text") if each.kind == "precedent_referenced"]
        assert getattr(looked, "text", None) == "about [sealed]"
    async with opened(tmp_path, sealing=False) as loom:
        with pytest.raises((ActorFailedError, ConfigError), match="there is no vault"):
            await loom.actor(Desk, "locked").ask(judge(customer_id="c-8"))


async def test_facts_of_two_subjects_need_the_keys_of_both(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        with pytest.raises(ActorFailedError, match="AdmissionError"):
            await loom.actor(Two, "unknown").ask(judge())
        assert await loom.actor(Two, "c7").ask(judge("known"), id="one") == "[sealed]"
        facts = (await entry_of(loom, EvaluatedEntry, "two/c7")).facts
        assert (facts["age"]["subject"], facts["income"]["subject"]) == ("c-7", "g-1")
        assert (await opened_facts(facts, loom.subjects.vault)).facts == {"age": 17, "guarantor_id": "g-1", "income": 7}
        assert [each.verdict async for each in loom.replay.verify("two/c7")] == ["same"]
        await loom.subjects.erase("g-1", by="vera", reason="he asked for it")
        assert why_closed(facts, loom.subjects.erasures) == "erased"
        assert [each.reason async for each in loom.replay.verify("two/c7")] == ["erased"]


async def test_an_audit_and_a_judgement_never_call_sealed_facts_a_mismatch(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Desk, "c7").ask(judge(), id="one")
        await loom.actor(Desk, "c8").ask(judge(customer_id="c-8"), id="one")
        await loom.subjects.erase("c-8", by="vera", reason="she asked for it")
        audit = await loom.policies.audit(Selection(origin="any"))
        assert audit.counts == {"sealed": 1, "erased": 1}


async def test_facts_that_declare_nothing_have_the_keys_that_they_always_had(tmp_path: Path) -> None:
    class Plain(Facts):
        age: int

    @policy("plain", Params(), examples=[Plain(age=3)])
    def plain_rule(params: Params, facts: Plain) -> Evaluation:
        return Evaluation(effect="allow", rule="any", why="it is")

    class Open(Actor[None]):
        actor_type = "open"
        policy = plain_rule

        async def execute(self, command: Judge) -> str:
            return self.evaluate(Plain(age=command.age)).why

    config = LoomConfig(data=tmp_path)
    async with Loom.open(config, by="mira", actors=[Open]) as loom:
        await loom.actor(Open, "c7").ask(judge(), id="one")
        evaluated = await entry_of(loom, EvaluatedEntry, "open/c7")
    assert evaluated.step.key == digest({"age": AGE}) == "3481d38be945b9eeb356dfb3d9ef327f"
