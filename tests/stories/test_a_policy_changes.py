"""A year with one policy, as its people live it: a wider limit is proposed, tried on what was, adopted, audited."""

from __future__ import annotations

from pathlib import Path

from loom import Actor, Command, EquivalenceRule, Loom, Window
from loom.policies import Table
from loom.replay import Selection

LOANS = Table.of(
    {
        "format": "loom.table/1",
        "name": "loans",
        "facts": {"amount": {"type": "integer", "min": 0}, "known": {"type": "boolean"}},
        "parameters": {"limit": {"type": "integer", "value": 100, "min": 0, "max": 500}},
        "limits": [{"name": "ceiling", "when": [["amount", ">", 1_000]], "effect": "deny", "why": "never so much"}],
        "rules": [
            {
                "name": "small",
                "when": [["amount", "<=", {"param": "limit"}], ["known", "=", True]],
                "effect": "allow",
                "why": "small, and we know them",
            }
        ],
        "otherwise": {"name": "else", "effect": "deny", "why": "too much, or a stranger"},
    }
)
ALIKE = EquivalenceRule("loans", attributes=("amount", "known"), outcome=("granted",))


class Borrow(Command[bool]):
    amount: int
    known: bool = True


class Lender(Actor[None]):
    actor_type = "lender"
    policy = LOANS
    equivalence = ALIKE

    async def execute(self, command: Borrow) -> bool:
        said = self.evaluate(command)
        await self.record_decision(rationale=said.why, outcome={"granted": said.allowed})
        return said.allowed


async def season(loom: Loom, name: str) -> None:
    version = loom.policies.adopted("loans") or loom.policies.latest("loans")
    async with loom.runs.run(kind="live", run_id=name, policies=[version.version]):
        for number in range(120):
            amount, known = 50 * (number % 6), number % 10 != 0
            await loom.actor(Lender, f"desk-{number % 3}").ask(Borrow(amount=amount, known=known))


async def test_a_policy_is_widened_by_people_who_saw_what_it_would_have_done(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Lender], by="robin") as loom:
        await loom.register(Lender)
        await season(loom, "spring")

        # Vera proposes a wider limit. Nothing changes by that: it is only known.
        wider = await loom.policies.register(LOANS.with_params(limit=150), by="vera", reason="we lose good customers")
        assert not await loom.actor(Lender, "desk-0").ask(Borrow(amount=150))
        assert [str(each) for each in loom.policies.diff(LOANS.version_hash, wider.hash).changes] == [
            "parameter limit.value: 100 → 150"
        ]

        # What would it have decided in spring? Case by case, and refusals that would be grants come first.
        judged = await loom.replay.judge(Selection(run_id="spring"), under=wider.version, keep=True, by="vera")
        assert (judged.cases, judged.flipped, judged.coverage) == (120, 20, 1.0)
        assert [(each.old, each.new) for each in judged.transitions] == [("deny", "allow")]
        case = await loom.traces.get(judged.transitions[0].examples[0])
        assert case.decision.facts == {"amount": 150, "known": True}
        [replay] = case.replays
        assert (await loom.traces.get(replay)).run_id == judged.run_id

        # And the code around the rule? It comes to the same.
        again = await loom.replay.run(Selection(run_id="spring"), under=wider.version)
        assert again.counts == {"unchanged": 100, "flipped": 20}

        # Kim adopts it, in her own name, and the year goes on.
        await loom.policies.adopt(wider.version, by="kim", reason="seen and agreed")
        await season(loom, "autumn")
        spring, autumn = Window(run="spring"), Window(run="autumn")
        report = await loom.drift.compare(spring, autumn)
        assert report.detected
        assert report.split is not None
        assert report.split.policy is not None
        assert report.split.population is not None
        assert report.split.policy > abs(report.split.population)  # the same people came; they were answered otherwise

        # Three years later an auditor asks. Every decision names its version, and each still says what it said.
        audit = await loom.policies.audit()
        assert audit.sound
        assert audit.counts == {}
        assert audit.decisions == 120 + 1 + 120 + 120  # spring, the one in between, its replay, and autumn
        assert {run.kind for run in await loom.runs.find()} == {"live", "replay"}

        # Nothing that was replayed became a precedent.
        classes = await loom.precedents.classes(limit=100)
        assert sum(each.support for each in classes) == 241
