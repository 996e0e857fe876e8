"""Decisions with hostile texts in every field that people filter by, and an oracle that filters in plain Python."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from loom import Actor, Command, EquivalenceRule, Loom
from loom.policies.tables import Table
from loom.precedents.browsed import BrowsedDecision
from loom.precedents.browsing import Browsing

RULE = Table.of(
    {
        "format": "loom.table/1",
        "name": "browsed",
        "facts": {"size": {"type": "integer"}, "region": {"type": "string"}},
        "rules": [
            {"name": "small", "when": [["size", "<=", 2]], "effect": "allow", "why": "small"},
            {"name": "asked", "when": [["size", "<=", 3]], "effect": "require_approval", "tier": "vp", "why": "large"},
        ],
        "otherwise": {"name": "huge", "effect": "deny", "exception": "huge", "why": "huge"},
    }
)
PIECES = [
    "'",
    '"',
    "' OR '1'='1",
    "'; DROP TABLE trace_decisions; --",
    "%",
    "_",
    "*",
    "x' UNION SELECT * FROM checkpoints --",
    "\\",
    "/*",
    "--",
    "0x41",
    "NULL",
    "$.a",
    "$[0]",
    '$."a"',
    "a.b",
    ":person",
    "?1",
    "@name",
    "NEAR(a b)",
    "a AND b",
    "a* OR b",
    "^a",
    "rationale:a",
    "\U0001f600",
    "é",
    "\u202e",
    " ",
    "1",
    "true",
    "<b>",
    "{{7*7}}",
    "%27",
    "\r\n",
]


class Keep(Command[str]):
    size: int
    region: str
    words: str


class Keeper(Actor[None]):
    actor_type = "keeper"
    policy = RULE
    equivalence = EquivalenceRule("kept", attributes=("size", "region"), outcome=("granted",))

    async def execute(self, command: Keep) -> str:
        said = self.evaluate({"size": command.size, "region": command.region})
        granted = said.allowed
        if said.needs_approval:
            granted = (await self.request_approval(approver="vp", reason=command.words)).granted
        return await self.record_decision(
            decision_type=f"kind {command.region}"[:64], rationale=command.words, outcome={"granted": granted}
        )


def text_of(draw: random.Random) -> str:
    """Make up a text that would mean something to SQL, to a path, to FTS or to HTML."""
    return "".join(draw.choice(PIECES) for _ in range(draw.randint(1, 3))).strip() or "'"


async def filled(loom: Loom, count: int, *, seed: int = 5) -> None:
    """Let an actor decide, for people with hostile names, who ask and who answer."""
    draw = random.Random(seed)
    people = [text_of(draw) for _ in range(6)]
    regions = [text_of(draw) for _ in range(4)]
    for number in range(count):
        keep = Keep(size=number % 5, region=draw.choice(regions), words=f"{text_of(draw)} case {number % 7}")
        asking, answering = draw.sample(people, 2)
        if keep.size != 3:
            await loom.actor(Keeper, f"k{number % 3}").ask(keep, by=asking)
            continue
        sent = await loom.actor(Keeper, f"k{number % 3}").tell(keep, by=asking)
        while not (waiting := await loom.approvals.pending()):
            await loom.reached()
        answer = loom.approvals.grant if draw.random() < 0.5 else loom.approvals.deny
        await answer(waiting[0].approval_id, by=answering, comment="so", distinguished="it is another case")
        await loom.actor(Keeper, f"k{number % 3}").ask(keep, id=sent.command_id, by=asking)


def fields(each: BrowsedDecision, precedent: str | None) -> dict[str, Any]:
    """Return what a decision is filtered by, read from the decision alone."""
    decision = each.decision
    return {
        "decision_type": decision.decision_type,
        "effect": decision.effect,
        "rule": decision.rule,
        "policy_version": decision.policy_version,
        "is_exception": decision.is_exception,
        "person": {approval.answered_by for approval in each.approvals},
        "requester": each.requester,
        "precedent_class": precedent,
        "run_id": decision.run_id,
    }


def matches(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether a decision has all that is wanted, as a person reads the filters."""
    return all(value in known[name] if name == "person" else known[name] == value for name, value in wanted.items())


async def everything(loom: Loom) -> list[tuple[BrowsedDecision, dict[str, Any]]]:
    """Return all decisions, newest first, with what they are filtered by."""
    found = (await Browsing(loom.queries).find(limit=1_000)).decisions
    known = []
    for each in found:
        trace = await loom.traces.get(each.decision.decision_id)
        alike = trace.decision.precedent_class
        known.append((each, fields(each, None if alike is None else alike.precedent)))
    return known


def wanted_of(draw: random.Random, known: list[tuple[BrowsedDecision, dict[str, Any]]]) -> dict[str, Any]:
    """Make up some filters: values that are there, hostile ones, and those with something hostile added."""
    wanted: dict[str, Any] = {}
    for name in draw.sample(sorted(known[0][1]), draw.randint(1, 3)):
        value = draw.choice(known)[1][name]
        value = draw.choice(sorted(filter(None, value)) or ["no person"]) if isinstance(value, set) else value
        chance = draw.random()
        if name == "is_exception" or (chance < 0.5 and value is not None):
            wanted[name] = value
        elif chance < 0.75:
            wanted[name] = text_of(draw)
        else:
            wanted[name] = f"{value}{text_of(draw)}"
    return wanted
