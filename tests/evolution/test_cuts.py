"""A suggestion can cut a number where that separates grants from refusals, and is never made where nothing flips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loom import Actor, Command, Loom
from tests.evolution.test_suggestions import BASE


class Tell(Command[None]):
    percent: int
    granted: bool
    odd: bool | None = None


class Decider(Actor[None]):
    actor_type = "decider"
    policy = BASE

    async def execute(self, command: Tell) -> None:
        said = self.evaluate({"industry": "health", "percent": command.percent})
        await self.record_decision(
            rationale=said.why, outcome={"granted": command.granted}, is_exception=command.odd, exception_reason=None
        )


async def test_the_cut_is_where_grants_end_and_refusals_begin(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Decider], by="robin") as loom:
        decider = loom.actor(Decider, "one")
        for percent in range(12, 27):
            await decider.ask(Tell(percent=percent, granted=True))
        for percent in range(27, 40):
            await decider.ask(Tell(percent=percent, granted=percent == 38))
        [before] = await loom.suggestions.patterns("discount")
        [suggestion] = await loom.suggestions.look()
        again = await loom.suggestions.look()

    assert not before.worthwhile, "between 12 and 38 percent there are as many refusals"
    [rule] = [row for row in rules(suggestion.table) if row["name"] == suggestion.rule]
    assert rule["when"] == [["industry", "=", "health"], ["percent", "<", 27]]
    assert (suggestion.pattern.occurrences, suggestion.pattern.refusals) == (15, 0)
    assert [(each.old, each.new, each.cases) for each in suggestion.impact.transitions] == [
        ("require_approval:vp", "allow", 15)
    ]
    assert "percent < 27" in suggestion.pattern.words()
    assert again == []


async def test_a_rule_that_flips_nothing_is_not_suggested(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Decider], by="robin") as loom:
        for _ in range(12):
            await loom.actor(Decider, "one").ask(Tell(percent=5, granted=True, odd=True))
        [pattern] = await loom.suggestions.patterns("discount")

        assert pattern.worthwhile
        assert await loom.suggestions.look() == []


def rules(table: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table["rules"]
    return found
