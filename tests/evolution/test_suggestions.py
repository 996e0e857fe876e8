"""A pattern becomes a suggestion, its impact is measured, and only a person makes it the rule."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Command, Loom
from loom.errors import SelfAdoptionError, SuggestionNotFoundError, SuggestionSettledError, SuggestionStaleError
from loom.evolution import Suggestion
from loom.policies.tables import Table

BASE = Table.of(
    {
        "format": "loom.table/1",
        "name": "discount",
        "facts": {"industry": {"type": "string"}, "percent": {"type": "integer", "min": 0, "max": 100}},
        "parameters": {"limit": {"type": "integer", "value": 10, "min": 0, "max": 40}},
        "limits": [{"name": "ceiling", "when": [["percent", ">", 40]], "effect": "deny", "why": "never"}],
        "rules": [
            {"name": "within", "when": [["percent", "<=", {"param": "limit"}]], "effect": "allow", "why": "small"}
        ],
        "otherwise": {
            "name": "over",
            "effect": "require_approval",
            "tier": "vp",
            "exception": "over the limit",
            "why": "ask",
        },
    }
)


class Ask(Command[bool]):
    industry: str
    percent: int
    grant: bool | None = None
    """Decide without asking anybody, so; or, where it is none, ask."""
    silent: bool = False


class Seller(Actor[None]):
    actor_type = "suggested-seller"
    policy = BASE

    async def execute(self, command: Ask) -> bool:
        said = self.evaluate(command.model_dump(include={"industry", "percent"}))
        granted = said.allowed if command.grant is None else command.grant
        if said.needs_approval and command.grant is None and not command.silent:
            granted = (await self.request_approval(approver="vp", reason=said.why)).granted
        await self.record_decision(rationale=said.why, outcome={} if command.silent else {"granted": granted})
        return granted


def opened(path: Path) -> Loom:
    return Loom.open(f"sqlite:///{path}/journal.db", actors=[Seller], by="robin")


async def exceptions(
    loom: Loom, count: int, *, industry: str = "health", grant: bool = True, percent: int = 15
) -> None:
    for number in range(count):
        ask = Ask(industry=industry, percent=percent + number % 3)
        told = asyncio.create_task(loom.actor(Seller, industry).ask(ask, by="bob"))
        while not (waiting := await loom.approvals.pending()):
            await asyncio.sleep(0)
        answer = loom.approvals.grant if grant else loom.approvals.deny
        await answer(waiting[0].approval_id, by="vera", comment="as before")
        await told


async def suggested(loom: Loom) -> Suggestion:
    await exceptions(loom, 12)
    await exceptions(loom, 5, industry="retail", grant=False)
    [suggestion] = await loom.suggestions.look()
    return suggestion


async def test_a_pattern_of_granted_exceptions_is_suggested_with_its_measured_impact(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        suggestion = await suggested(loom)
        again = await loom.suggestions.look()
    assert suggestion.status == "pending"
    rule: Any = next(row for row in suggestion.table["rules"] if row["name"] == suggestion.rule)  # type: ignore[index,union-attr,call-overload]
    assert rule["when"] == [["industry", "=", "health"], ["percent", "between", [15, 17]]]
    assert [(each.old, each.new, each.cases) for each in suggestion.impact.transitions] == [
        ("require_approval:vp", "allow", 12)
    ]
    assert suggestion.impact.coverage == 1.0
    assert suggestion.impact.unchanged == 5
    assert again == []


async def test_refusals_that_nobody_was_asked_about_are_refusals(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        for _ in range(15):
            await loom.actor(Seller, "health").ask(Ask(industry="health", percent=15, grant=False))
        assert await loom.suggestions.patterns("discount") == []
        assert await loom.suggestions.look() == []
        await exceptions(loom, 12)
        for _ in range(3):
            await loom.actor(Seller, "health").ask(Ask(industry="health", percent=15, silent=True))
        [pattern] = await loom.suggestions.patterns("discount")
        assert (pattern.occurrences, pattern.refusals, pattern.unsaid) == (12, 15, 3)
        assert pattern.confidence == 12 / 27
        assert await loom.suggestions.look() == []


async def test_nothing_changes_until_a_person_adopts_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        suggestion = await suggested(loom)
        adopted = loom.policies.adopted("discount")
        assert adopted is not None
        assert adopted.hash == suggestion.base
        with pytest.raises(SelfAdoptionError, match="expected two persons"):
            await loom.suggestions.adopt(suggestion.suggestion_id[:8], by="vera", reason="it is the rule by now")
        version = await loom.suggestions.approve(
            suggestion.suggestion_id[:8], by="vera", reason="it is the rule by now"
        )
        assert loom.policies.adopted("discount") == adopted
        for alone in (
            loom.suggestions.adopt(suggestion.suggestion_id, by="VERA", reason="now"),
            loom.policies.adopt(version.hash, by="vera"),
        ):
            with pytest.raises(SelfAdoptionError):
                await alone
        assert await loom.suggestions.adopt(suggestion.suggestion_id, by="kim", reason="I agree") == version
        now = loom.policies.adopted("discount")
        assert now == version
        assert (version.by, version.reason) == ("vera", "it is the rule by now")
        assert await loom.actor(Seller, "health").ask(Ask(industry="health", percent=16)) is True
        assert (await loom.suggestions.get(suggestion.suggestion_id)).status == "implemented"
        assert await loom.suggestions.adopt(suggestion.suggestion_id, by="kim", reason="twice") == version
        known = await loom.suggestions.get(suggestion.suggestion_id)
        assert (str(known.identity), str(known.adopter)) == ("vera (claimed, via python)", "kim (claimed, via python)")
        with pytest.raises(SuggestionSettledError):
            await loom.suggestions.reject(suggestion.suggestion_id, by="vera", reason="no")


async def test_adopting_fails_where_the_base_has_moved_on_and_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        suggestion = await suggested(loom)
        other = await loom.policies.register(BASE.with_params(limit=12), by="kim")
        await loom.policies.adopt(other.hash, by="dana")
        with pytest.raises(SuggestionStaleError, match="expected the one it starts from"):
            await loom.suggestions.approve(suggestion.suggestion_id, by="vera", reason="it is the rule by now")
        assert loom.policies.adopted("discount") == other
        assert (await loom.suggestions.get(suggestion.suggestion_id)).status == "pending"


async def test_what_was_rejected_stays_away_until_there_is_much_more_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        suggestion = await suggested(loom)
        await loom.suggestions.reject(suggestion.suggestion_id, by="vera", reason="not this year")
        with pytest.raises(SuggestionSettledError):
            await loom.suggestions.approve(suggestion.suggestion_id, by="vera", reason="after all")
        with pytest.raises(SuggestionSettledError):
            await loom.suggestions.adopt(suggestion.suggestion_id, by="kim", reason="after all")
        await exceptions(loom, 4)
        assert await loom.suggestions.look() == []
        await exceptions(loom, 3)
        [back] = await loom.suggestions.look()
        assert back.suggestion_id != suggestion.suggestion_id
        assert [each.status for each in await loom.suggestions.find()] == ["pending", "rejected"]


async def test_suggestions_are_there_again_when_the_loom_is_opened_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        suggestion = await suggested(loom)
    async with opened(tmp_path) as loom:
        assert await loom.suggestions.find() == [suggestion]
        with pytest.raises(SuggestionNotFoundError):
            await loom.suggestions.get("nothing")


async def test_a_process_that_died_between_adopting_and_registering_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as loom:
        suggestion = await suggested(loom)

        async def dies(*_: object, **__: object) -> None:
            raise OSError("the power is gone")

        with monkeypatch.context() as patch:
            patch.setattr(loom.policies, "register", dies)
            with pytest.raises(OSError, match="power"):
                await loom.suggestions.approve(suggestion.suggestion_id, by="vera", reason="yes")
    async with opened(tmp_path) as loom:
        assert (await loom.suggestions.get(suggestion.suggestion_id)).status == "approved"
        version = await loom.suggestions.adopt(suggestion.suggestion_id, by="kim", reason="go on")
        assert version.by == "vera"
        assert loom.policies.adopted("discount") == version
