"""A thousand made-up people walk through an onboarding, and why each of them went on or dropped out can be asked.

    python examples/onboarding_drop_off.py [PERSONAS]

A persona meets one step after the other. At each it decides, CONTINUE or DROP, under a version of a behaviour policy.
Everything that the rule reads is among the facts, the draw `u` included: so any decision can be judged again.

Read it from top to bottom: the world, the policy, the actor, a view of one's own, and the story that `main` tells.
Everything is simulated, offline and seeded: it prints the same every time.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import sys
import textwrap
from random import Random

from pydantic import BaseModel

from loom import (
    Actor,
    Bin,
    Command,
    DecisionJournalEntry,
    Entry,
    EquivalenceRule,
    Evaluation,
    Extension,
    Facts,
    Loom,
    Params,
    Recorded,
    SetOf,
    allow,
    case,
    deny,
    first_match,
    otherwise,
    policy,
)
from loom.decisions import DecisionSummary
from loom.drift import Window
from loom.policies.registry import PolicyVersion
from loom.replay import Selection
from loom.testing import fixed_sources

SEED = 7
PERSONAS = 1_000
AT_ONCE = 250

# --- the world: steps with demands, intents, and how well they go together -----------------------


class Step(BaseModel):
    """What a step asks of people, and gives them."""

    effort: float
    risk: float
    value: float
    control: float
    serves: dict[str, float]
    """How well it serves an intent, 0 to 1; 0.5 where it is not named."""


STEPS = {
    "landing": Step(effort=0.2, risk=0.0, value=0.6, control=0.2, serves={"compare_options": 0.8, "learn_basics": 0.9}),
    "eligibility": Step(
        effort=0.5, risk=0.5, value=0.2, control=-0.2, serves={"eligibility_check": 1.0, "compare_options": 0.2}
    ),
    "plans": Step(effort=0.5, risk=0.2, value=0.7, control=0.3, serves={"price_check": 1.0, "quick_decision": 0.3}),
    "details": Step(effort=0.9, risk=0.6, value=0.1, control=-0.1, serves={"learn_basics": 0.1, "price_check": 0.2}),
    "income": Step(effort=0.8, risk=1.2, value=0.1, control=-0.5, serves={"quick_decision": 0.1, "price_check": 0.1}),
    "confirm": Step(effort=0.3, risk=0.4, value=0.9, control=0.4, serves={"validate_choice": 1.0, "learn_basics": 0.3}),
}
INTENTS = ("compare_options", "validate_choice", "learn_basics", "quick_decision", "price_check", "eligibility_check")


class Mind(Facts):
    """The state of a persona: energy 0 to 0.9, risk, effort and value 0 to 3, control 0 to 2."""

    energy: float
    risk: float
    effort: float
    value: float
    control: float


def born(run: str, number: int, *, hurried: float) -> tuple[Mind, str]:
    """Return who a persona is at the start, and what it wants; `hurried` is the share of those in a hurry."""
    draw = Random(f"{SEED}/{run}/{number}")  # noqa: S311 - the same people every time
    mind = Mind(
        energy=round(draw.uniform(0.45, 0.9), 3),
        risk=round(draw.uniform(0, 0.6), 3),
        effort=round(draw.uniform(0, 0.4), 3),
        value=round(draw.uniform(0.3, 1.3), 3),
        control=round(draw.uniform(0.4, 1.6), 3),
    )
    in_a_hurry = draw.random() < hurried
    return mind, draw.choice(("quick_decision", "price_check") if in_a_hurry else INTENTS)


def after(mind: Mind, step: Step) -> Mind:
    """Return the state in which a persona faces a step, after what it has been through before."""

    def within(value: float, high: float) -> float:
        return round(min(max(value, 0.0), high), 3)

    return Mind(
        energy=within(mind.energy - 0.14 * step.effort - 0.04 * step.risk, 0.9),
        risk=within(0.7 * mind.risk + step.risk, 3),
        effort=within(0.75 * mind.effort + step.effort, 3),
        value=within(0.9 * mind.value + step.value, 3),
        control=within(mind.control + 0.5 * step.control, 2),
    )


def dominant_factors(mind: Mind, step: Step, alignment: float) -> list[str]:
    """Return what weighs on a persona at a step."""
    found = [
        name
        for name, holds in (
            ("intent_mismatch", alignment < 0.35),
            ("cognitive_fatigue", mind.energy < 0.3),
            ("risk_spike", step.risk >= 0.6 and mind.risk > 1.2),
            ("effort_demand", mind.effort > 1.7),
        )
        if holds
    ]
    return [*found, "multi_factor"] if len(found) > 2 else found


def draw_of(run: str, persona: str, step: str) -> float:
    """Return the draw of a persona at a step, 0 to 1: the same in every process, whoever comes first."""
    raw = hashlib.sha256(f"{SEED}/{run}/{persona}/{step}".encode()).digest()
    return int.from_bytes(raw[:6], "big") / 2**48


# --- the policy: how people of this kind behave ---------------------------------------------------


class Encounter(Facts):
    """A persona at a step: all that the rule may know, and all that a replay needs."""

    step: str
    intent: str
    alignment: float
    mind: Mind
    dominant_factors: list[str]
    u: float


class Behaviour(Params):
    """What may be changed without changing the rule: each number is the weight of one pressure."""

    base: float = 0.7
    energy: float = 0.25
    value: float = 0.08
    control: float = 0.06
    alignment: float = 0.18
    risk: float = 0.12
    effort: float = 0.15


@policy("onboarding-behaviour", Behaviour())
def behaviour(weights: Behaviour, met: Encounter) -> Evaluation:
    """A persona goes on if its draw is below the probability that what pulls it outweighs what pushes it."""
    pulls = weights.energy * met.mind.energy + weights.value * met.mind.value + weights.control * met.mind.control
    pushes = weights.risk * met.mind.risk + weights.effort * met.mind.effort
    chance = min(max(weights.base + pulls + weights.alignment * (met.alignment - 0.5) - pushes, 0.02), 0.98)
    said = f"a draw of {met.u:.3f} against a probability of {chance:.3f}"
    return first_match(
        case(
            "CONTINUE",
            met.u < chance,
            allow(),
            why=said,
            why_not=f"{said} is not below it",
            details={"probability": round(chance, 6)},
        ),
        otherwise("DROP", deny(), why=said, details={"probability": round(chance, 6)}),
    )


# --- the actor: one persona ----------------------------------------------------------------------


class Onboard(Command[str]):
    """Send a persona through the onboarding; it replies with the step at which it dropped, or `completed`."""

    run: str
    mind: Mind
    intent: str


class Walked(BaseModel):
    """What a persona's journal folds to: the steps it has met, and how the last one ended."""

    steps: int = 0
    last: str = "nowhere"
    decision: str = "none"


class Persona(Actor[Walked]):
    """Meets one step after the other until it drops out or has come through."""

    policy = behaviour
    equivalence = EquivalenceRule(
        "dropsim",
        attributes=(
            "step",
            "intent",
            Bin("mind.energy", low=0, high=0.9),
            Bin("mind.risk", low=0, high=3),
            Bin("mind.effort", low=0, high=3),
            Bin("mind.value", low=0, high=3),
            Bin("mind.control", low=0, high=2),
            SetOf("dominant_factors"),
        ),
        outcome=("decision",),
    )

    async def execute(self, command: Onboard) -> str:
        """Decide at each step, and write down why."""
        mind = command.mind
        for name, step in STEPS.items():
            mind = after(mind, step)
            alignment = step.serves.get(command.intent, 0.5)
            evaluation = self.evaluate(
                Encounter(
                    step=name,
                    intent=command.intent,
                    alignment=alignment,
                    mind=mind,
                    dominant_factors=dominant_factors(mind, step, alignment),
                    u=draw_of(command.run, self.key, name),
                )
            )
            await self.record_decision(
                decision_type=name, rationale=evaluation.why, outcome={"decision": evaluation.rule}
            )
            if not evaluation.allowed:
                return name
        return "completed"

    def apply(self, entry: Entry) -> None:
        """Follow the walk."""
        if isinstance(entry, DecisionJournalEntry):
            decided = entry.decision
            self.state = Walked(
                steps=self.state.steps + 1, last=decided.decision_type, decision=str(decided.outcome["decision"])
            )


# --- a view of one's own: the context graph -------------------------------------------------------


class ContextGraph:
    """Personas, steps, intents and failure modes, and who met what: folded out of the decisions, like loom's views.

    An edge says how often: persona → step, intent → step, and step → what weighed on those whom it lost.
    """

    name = "context_graph"
    version = 1
    kinds = frozenset({"decision"})
    schema = """
    CREATE TABLE context_edges (
      relation TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL, met INTEGER NOT NULL, lost INTEGER NOT NULL,
      PRIMARY KEY (relation, source, target)
    ) STRICT, WITHOUT ROWID;
    """
    tables = ("context_edges",)

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Add the edges of one encounter; replays are no encounters."""
        entry = recorded.entry
        if not isinstance(entry, DecisionJournalEntry) or not recorded.journal.startswith("persona/"):
            return
        if entry.decision.origin == "replayed":
            return
        met = Encounter.model_validate(entry.decision.facts)
        lost = int(entry.decision.outcome["decision"] == "DROP")
        edges = [("persona met step", recorded.journal, met.step), ("intent met step", met.intent, met.step)]
        if lost:
            edges += [("step lost by", met.step, factor) for factor in met.dominant_factors or ["chance"]]
        view.executemany(
            "INSERT INTO context_edges VALUES (?, ?, ?, 1, ?) "
            "ON CONFLICT DO UPDATE SET met = met + 1, lost = lost + excluded.lost",
            [(*edge, lost) for edge in edges],
        )


# --- the story ------------------------------------------------------------------------------------


async def walk_all(loom: Loom, run: str, *, personas: int, hurried: float) -> None:
    """Send everybody through the onboarding, many at a time, in a run of its own."""
    crowd = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        persona = f"{run}-{number:04}"
        mind, intent = born(run, number, hurried=hurried)
        async with crowd:
            await loom.actor(Persona, persona).ask(Onboard(run=run, mind=mind, intent=intent), id=persona)

    parameters = {"personas": personas, "hurried": hurried}
    run_of_it = loom.runs.run(kind="simulation", run_id=run, seed=SEED, parameters=parameters)
    async with run_of_it, asyncio.TaskGroup() as group:
        for number in range(1, personas + 1):
            group.create_task(one(number))


async def decided_in(loom: Loom, run: str) -> list[DecisionSummary]:
    """Return all decisions of a run, page by page."""
    found: list[DecisionSummary] = []
    while page := await loom.traces.find(run_id=run, limit=1_000, after=found[-1].position if found else None):
        found += page
    return found


async def tell_where_they_dropped(loom: Loom, run: str) -> None:
    """Print how many met each step and how many of them it lost."""
    decisions = await decided_in(loom, run)
    personas = len({each.actor_key for each in decisions})
    print(f"{personas:,} personas of run {run} made {len(decisions):,} decisions under {decisions[0].policy_version}:")
    for step in STEPS:
        met = [each for each in decisions if each.decision_type == step]
        lost = sum(each.effect == "deny" for each in met)
        share = lost / max(len(met), 1)
        print(f"  {step:<12} {len(met):>5,} met it, {lost:>4} dropped ({share:>4.0%})  {'#' * round(50 * share)}")
    last = [each for each in decisions if each.decision_type == "confirm"]
    print(f"  {sum(each.effect == 'allow' for each in last)} came through\n")


async def tell_one_walk(loom: Loom, persona: str) -> None:
    """Print the decision sequence of one persona, and the last decision in full."""
    walk = list(reversed(await loom.traces.find(actor_key=persona)))
    print(f"Persona {persona}, step by step:")
    for summary in walk:
        decision = (await loom.traces.get(summary.decision_id)).decision
        met = Encounter.model_validate(decision.facts)
        factors = ", ".join(met.dominant_factors) or "nothing in particular"
        print(f"  {met.step:<12} {summary.rule:<9} {summary.rationale}; {factors} weighed on it")
    print("and why it ended there, as `loom why` tells it:\n")
    explanation = await loom.traces.explain(walk[-1].decision_id)
    print(textwrap.indent(explanation.text(), "  "))


async def tell_how_people_drop(loom: Loom, *, most: int = 3) -> None:
    """Print the largest classes of precedents that dropped, and what makes their members alike."""
    [version] = loom.precedents.rules()
    print(f"The most frequent ways to drop, by {version.name} ({version.version}):")
    after = None
    while most and (page := await loom.precedents.classes(limit=50, after=after)):
        after = page[-1]
        for kind in [each for each in page if each.outcome["decision"] == "DROP"][:most]:
            most -= 1
            [alike, *_] = await loom.precedents.members(kind.precedent, limit=1)
            decision = (await loom.traces.get(alike.decision_id)).decision
            words = version.rule.describe(decision.facts or {}, decision.outcome)
            inside = "; ".join(f"{name.removeprefix('mind.')} {said}" for name, said in words.items())
            print(
                textwrap.fill(f"{kind.support} personas: {inside}", 100, initial_indent="  ", subsequent_indent="    ")
            )
    print()


async def tell_the_graph(loom: Loom) -> None:
    """Print what the context graph says: which steps lose people for which reasons, and whom."""

    async def edges(relation: str) -> list[sqlite3.Row]:
        return await loom.queries.fetch(
            "SELECT source, target, met, lost FROM context_edges WHERE relation = ? ORDER BY source, met DESC, target",
            (relation,),
            names=[ContextGraph.name],
        )

    met = await edges("persona met step")
    print(f"The context graph: {len({row['source'] for row in met}):,} personas met steps {len(met):,} times.")
    reasons, wanted = await edges("step lost by"), await edges("intent met step")
    for step in STEPS:
        modes = ", ".join(f"{row['target']} {row['met']}" for row in reasons if row["source"] == step)
        print(f"  {step:<12} loses to {modes or 'nothing'}")
        came = [row for row in wanted if row["target"] == step]
        for worst in sorted(came, key=lambda row: -row["lost"] / row["met"])[:1]:
            print(f"  {'':<12} most often those who came for {worst['source']}: {worst['lost']} of {worst['met']}")
    print()


async def tell_what_another_policy_says(loom: Loom, run: str, under: PolicyVersion) -> None:
    """Judge everything that was decided in a run under another version, and print what would have come out."""
    judgement = await loom.replay.judge(Selection(run_id=run), under=under.version)
    print(f"The {judgement.cases:,} decisions of run {run}, judged again under {under.version} ({under.reason}):")
    print(
        f"  {judgement.unchanged:,} unchanged, {judgement.flipped:,} flipped, {judgement.coverage:.0%} could be judged"
    )
    words = {"allow": "CONTINUE", "deny": "DROP"}
    for change in judgement.transitions:
        print(f"  {change.cases:>4} {words[change.old]} → {words[change.new]}")
    same = await loom.replay.judge(Selection(run_id=run), under=next(iter(judgement.compared)))
    print(f"  and under their own version: {same.unchanged:,} unchanged, {same.flipped} flipped")
    print("  Whoever dropped has met no later step: what a persona would have done there, no replay makes up.\n")


async def tell_the_drift(loom: Loom, baseline: str, current: str) -> None:
    """Compare two runs as patterns of decisions, and print what changed and how much of it is whose.

    The rule of the personas is fine: it makes hundreds of classes, a few cases in each. That is right for asking "who
    dropped like this one"; to see where a pattern moved, a coarser rule says it in fewer words. Registered, it can
    classify anew what was decided before.
    """
    coarse = EquivalenceRule("what-weighed", attributes=("step", SetOf("dominant_factors")), outcome=("decision",))
    rule = await loom.precedents.register(coarse, by="dana", reason="to see a drift in few words")
    windows = Window(run=baseline), Window(run=current)
    fine = await loom.drift.compare(*windows, split=False)
    print(
        f"Is the pattern of run {current} still that of run {baseline}? By every class: {fine.state.replace('_', ' ')}."
    )
    report = await loom.drift.compare(*windows, rule=rule.version, limit=3)
    print(f"By {rule.name} ({rule.version}): {report.state.replace('_', ' ')}, severity {report.severity or 'none'}.")
    for line in report.explanation:
        print(textwrap.fill(line, 100, initial_indent="  ", subsequent_indent="    "))


async def main(personas: int = PERSONAS) -> None:
    """Tell it: a run, one walk, the ways to drop, the graph; then another policy, replayed, adopted, and its drift."""
    brought = Extension("onboarding", actors=[Persona], projections=[ContextGraph()])
    async with Loom.open("sqlite://", extensions=[brought], by="robin", sources=fixed_sources()) as loom:
        await walk_all(loom, "spring", personas=personas, hurried=0.1)
        await tell_where_they_dropped(loom, "spring")
        await tell_one_walk(loom, "spring-0018" if personas >= 18 else "spring-0001")
        await tell_how_people_drop(loom)
        await tell_the_graph(loom)

        wary = behaviour.with_params(Behaviour(base=0.80, risk=0.18, effort=0.17))
        version = await loom.policies.register(wary, by="robin", reason="people are better disposed, and more wary")
        await tell_what_another_policy_says(loom, "spring", version)

        await loom.policies.adopt(version.version, by="dana", reason="interviews in August say so")
        await walk_all(loom, "autumn", personas=personas, hurried=0.4)
        await tell_where_they_dropped(loom, "autumn")
        await tell_the_drift(loom, "spring", "autumn")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:2])))
