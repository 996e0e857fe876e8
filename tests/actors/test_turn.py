"""The verbs inside a turn: what they take, what they refuse, and that live and resumed values look alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ValidationError

from loom.actors import Actor, Command
from loom.actors.turn import TurnStopped
from loom.actors.verbs.shared import failure_of
from loom.decisions.entries import ContextGatheredEntry, DecisionJournalEntry
from loom.errors import (
    ActorFailedError,
    AdmissionError,
    AmbiguousStepError,
    LookupFailedError,
    NoRuleError,
    NoTurnError,
    PolicyCodeChangedError,
    PolicyNotRegisteredError,
    PolicyRuleError,
)
from loom.journal import Entry
from loom.journal.kinds import CommandReceivedEntry, TurnCompletedEntry, TurnFailedEntry
from loom.policies import Evaluation, Facts, Params, allow, case, deny, first_match, otherwise, policy
from loom.precedents import EquivalenceRule
from loom.projections.joining import join
from tests.actors.agents import Carry, Case, Do, Folding, Interpreter, Limits, NotedEntry, World, discount
from tests.actors.support import entries, kinds, lay_down, opened, until


class Try(Command[Any]):
    """Call a function that the test has left in `TRIED`: agents of tests that need only one thing."""

    what: str = ""


TRIED: dict[str, Any] = {}
_WHO: ContextVar[str] = ContextVar("who", default="nobody")


class Trying(Folding):
    policy = discount
    equivalence = EquivalenceRule("test-cases", attributes=["percent"], outcome=["granted"])

    async def execute(self, command: Try) -> Any:
        return await TRIED["it"](self)


class WithoutPolicy(Folding):
    async def execute(self, command: Try) -> Any:
        return await TRIED["it"](self)


async def tried(directory: Path, it: Any, *, agent: type[Actor[Any]] = Trying, **options: Any) -> Any:
    """Run a function as the `execute` of an actor; return the reply, or the type name and message of its failure."""
    TRIED["it"] = it
    async with opened(directory, agents=[agent], **options) as loom:
        try:
            return await loom.actor(agent, "one").ask(Try(), id="c", by="bob")
        except ActorFailedError as error:
            return f"{error.type_name}: {error}"


# --- look-ups that go wrong ---------------------------------------------------------------------


def _raises() -> Any:
    raise OSError("no route")


async def _hangs() -> Any:
    await asyncio.Event().wait()


class _BadWordsError(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this works")


def _raises_bad_words() -> Any:
    raise _BadWordsError


def _raises_unkeepable_words() -> Any:
    raise OSError("\ud800 \x00 " + "x" * 10_000)


async def _awaits_what_is_cancelled() -> Any:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def _times_out_itself() -> Any:
    raise TimeoutError("the database gave up")


@pytest.mark.parametrize(
    ("fetcher", "told"),
    [
        (_raises, "OSError: no route"),
        (_hangs, "TimeoutError: no answer within 0.01 s"),
        (_times_out_itself, "TimeoutError: the database gave up"),
        (_raises_bad_words, "_BadWordsError: its message cannot be read"),
        (_raises_unkeepable_words, "OSError: ? � xxx"),
        (_awaits_what_is_cancelled, "CancelledError: "),
        (lambda: b"bytes", "AdmissionError: value at [$]"),
        (lambda: float("nan"), "AdmissionError: value at [$] is [nan]"),
        (lambda: {"deep": [float("inf")]}, "AdmissionError: value at [$.deep[0]] is [inf]"),
        (lambda: "\ud800", "AdmissionError: value at [$] contains a lone surrogate"),
        (lambda: {1: "a"}, "AdmissionError: value at [$] has the key [1]"),
        (lambda: 2**60, "AdmissionError: value at [$] is [1152921504606846976]"),
        (lambda: object(), "AdmissionError: value at [$]"),
        (lambda: "x" * 50_000_000, "AdmissionError: body has"),
        (lambda: list(range(20_000)), "AdmissionError: value at"),
    ],
)
async def test_a_look_up_that_goes_wrong_is_on_record_and_raises_the_same_live_and_resumed(
    tmp_path: Path, fetcher: Any, told: str
) -> None:
    async def it(actor: Trying) -> str:
        try:
            await actor.gather_context(system="s", entity="e", query="q", fetcher=fetcher, timeout_s=0.01)
        except LookupFailedError as error:
            await actor.new_id()  # something to be cut short after
            return str(error)
        return "it worked"

    assert (live := await tried(tmp_path / "live", it)).startswith(told)
    async with opened(tmp_path / "live", agents=[Trying]) as loom:
        history = [each for each in await entries(loom) if each.kind != "turn_completed"]
    gathered = next(each.entry for each in history if isinstance(each.entry, ContextGatheredEntry))
    assert gathered.result is None
    assert gathered.failure is not None
    await lay_down(tmp_path / "resumed", history)
    assert await tried(tmp_path / "resumed", it) == live


@pytest.mark.parametrize("bad", ["\ud800", "a\x00b"])
@pytest.mark.parametrize("where", ["system", "entity", "query", "relevance", "key"])
async def test_a_look_up_that_cannot_be_journaled_is_refused_before_it_is_made(
    tmp_path: Path, bad: str, where: str
) -> None:
    called = []

    async def it(actor: Trying) -> Any:
        about = {"system": "s", "entity": "e", "query": "q", where: bad}
        await actor.gather_context(fetcher=lambda: called.append(1), **about)  # type: ignore[call-overload]

    assert (await tried(tmp_path, it)).startswith("AdmissionError")
    assert called == []


class Account(BaseModel):
    industry: str
    since: datetime
    arr: float


async def test_a_value_is_typed_the_same_live_and_resumed_and_is_nobody_elses_object(tmp_path: Path) -> None:
    mine = {"industry": "health", "since": "2026-01-01T00:00:00Z", "arr": 1e3, "list": [1, 2]}

    async def it(actor: Trying) -> Any:
        plain = await actor.gather_context(system="s", entity="e", query="plain", fetcher=lambda: mine)
        assert plain == mine
        assert plain is not mine
        plain["list"].append("mutated")
        typed = await actor.gather_context(
            system="s",
            entity="e",
            query="typed",
            returns=Account,
            fetcher=lambda: {"industry": "health", "since": datetime.fromisoformat("2026-01-01T00:00:00Z"), "arr": 5},
        )
        assert isinstance(typed, Account)
        await actor.record_decision(rationale="because")
        return [typed.arr, str(typed.since), mine["list"]]

    assert await tried(tmp_path, it) == [5.0, "2026-01-01 00:00:00+00:00", [1, 2]]
    async with opened(tmp_path, agents=[Trying]) as loom:
        recorded = await entries(loom)
        await join(loom.store, recorded)
        (decided,) = [e.entry for e in recorded if isinstance(e.entry, DecisionJournalEntry)]
        assert decided.decision.inputs[0].result == {**mine, "list": [1, 2]}  # as it was looked up
        history = [each for each in await entries(loom) if each.kind != "turn_completed"]
    await lay_down(tmp_path / "resumed", history)
    assert await tried(tmp_path / "resumed", it) == [5.0, "2026-01-01 00:00:00+00:00", [1, 2]]


async def test_a_value_of_another_type_is_a_failed_look_up_and_stays_on_record(tmp_path: Path) -> None:
    async def it(actor: Trying) -> Any:
        await actor.gather_context(system="s", entity="e", query="q", fetcher=lambda: {"industry": 1}, returns=Account)

    assert (await tried(tmp_path, it)).startswith("LookupFailedError: ")
    async with opened(tmp_path, agents=[Trying]) as loom:
        (gathered,) = [e.entry for e in await entries(loom) if isinstance(e.entry, ContextGatheredEntry)]
        assert gathered.result == {"industry": 1}


# --- steps --------------------------------------------------------------------------------------


async def test_equal_steps_in_flight_at_once_are_ambiguous_and_a_key_tells_them_apart(tmp_path: Path) -> None:
    async def look(actor: Trying, key: str | None) -> Any:
        return await actor.gather_context(
            system="s", entity="e", query="q", key=key, fetcher=lambda: asyncio.sleep(0, result=key)
        )

    async def ambiguous(actor: Trying) -> Any:
        outcomes = await asyncio.gather(look(actor, None), look(actor, None), return_exceptions=True)
        return [type(each).__name__ for each in outcomes]

    async def told_apart(actor: Trying) -> Any:
        return await asyncio.gather(look(actor, "a"), look(actor, "b"))

    async def one_after_the_other(actor: Trying) -> Any:
        return [await look(actor, None), await look(actor, None)]

    assert await tried(tmp_path / "1", ambiguous) == ["NoneType", AmbiguousStepError.__name__]
    assert await tried(tmp_path / "2", told_apart) == ["a", "b"]
    assert await tried(tmp_path / "3", one_after_the_other) == [None, None]


async def test_verbs_that_wait_for_nothing_may_come_from_several_tasks_also_when_resumed(tmp_path: Path) -> None:
    async def it(actor: Trying) -> Any:
        async def branch(name: str) -> None:
            await actor.gather_context(system="s", entity="e", query=name, fetcher=lambda: name)
            await actor.record(NotedEntry(text=name))
            await actor.now()
            await actor.record(NotedEntry(text=name))

        async with asyncio.TaskGroup() as tasks:
            for name in "abc":
                tasks.create_task(branch(name))
        return "done"

    assert await tried(tmp_path / "live", it) == "done"
    async with opened(tmp_path / "live", agents=[Trying]) as loom:
        history = [each for each in await entries(loom) if each.kind != "turn_completed"]
    await lay_down(tmp_path / "resumed", history)
    assert await tried(tmp_path / "resumed", it) == "done"


@pytest.mark.parametrize(
    "call",
    [
        lambda actor: actor.now(),
        lambda actor: actor.new_id(),
        lambda actor: actor.random(),
        lambda actor: actor.record(NotedEntry(text="same")),
        lambda actor: actor.record_decision(rationale="same", decision_type="same"),
    ],
    ids=["now", "new_id", "random", "record", "record_decision"],
)
async def test_a_verb_that_waits_for_nothing_may_be_called_at_once_with_one_key_also_when_resumed(
    tmp_path: Path, call: Callable[[Trying], Awaitable[Any]]
) -> None:
    async def it(actor: Trying) -> Any:
        return [str(each) for each in await asyncio.gather(*(call(actor) for _ in range(3)))]

    live = await tried(tmp_path / "live", it)
    assert isinstance(live, list)
    async with opened(tmp_path / "live", agents=[Trying]) as loom:
        history = [each for each in await entries(loom) if each.kind != "turn_completed"]
    await lay_down(tmp_path / "resumed", history)
    assert await tried(tmp_path / "resumed", it) == live


async def test_code_that_goes_by_what_comes_first_sees_it_come_first_again(tmp_path: Path) -> None:
    """What live comes back in one order must not come back all at once when resumed."""
    order = ["c", "a", "b"]

    async def look(actor: Trying, name: str, live: bool) -> str:  # noqa: FBT001
        async def fetch() -> str:
            for _ in range(50 * order.index(name) if live else 0):
                await asyncio.sleep(0)
            return name

        found: str = await actor.gather_context(system="s", entity="e", query=name, fetcher=fetch)
        return found

    def racing(*, live: bool) -> Any:
        async def it(actor: Trying) -> Any:
            waiting = {asyncio.create_task(look(actor, name, live)) for name in "abc"}
            came = []
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                came.append("".join(sorted(each.result() for each in done)))
            return came

        return it

    assert await tried(tmp_path / "live", racing(live=True)) == order
    async with opened(tmp_path / "live", agents=[Trying]) as loom:
        history = [each for each in await entries(loom) if each.kind != "turn_completed"]
    await lay_down(tmp_path / "resumed", history)
    assert await tried(tmp_path / "resumed", racing(live=False)) == order


async def test_verbs_outside_a_turn_or_after_its_end_or_of_another_actor_are_refused(tmp_path: Path) -> None:
    left: list[asyncio.Task[Any]] = []
    ended = asyncio.Event()

    async def it(actor: Trying) -> Any:
        async def later() -> Any:
            await ended.wait()
            return await actor.record(NotedEntry(text="too late"))

        left.append(asyncio.create_task(later()))
        with pytest.raises(NoTurnError, match="was called outside a turn"):
            await Trying().record(NotedEntry(text="of another"))
        return "done"

    TRIED["it"] = it
    async with opened(tmp_path, agents=[Trying]) as loom:
        assert await loom.actor(Trying, "one").ask(Try()) == "done"
        ended.set()
        with pytest.raises(NoTurnError, match=r"has ended; expected .*: await what the turn started"):
            await left[0]
        with pytest.raises(NoTurnError):
            await loom.actors._cells["trying/one"].actor.record(NotedEntry(text="outside"))
        assert await kinds(loom, "trying/one") == ["command_received", "turn_completed"]


async def test_what_a_turn_left_behind_writes_nothing_between_its_end_and_its_reply(tmp_path: Path) -> None:
    """The end is in line for the journal, and a task that was not awaited comes with one more entry."""
    outcomes: list[BaseException] = []

    async def it(actor: Trying) -> Any:
        async def stray() -> None:
            try:
                while True:
                    await actor.record(NotedEntry(text="stray"))
                    await asyncio.sleep(0)
            except NoTurnError as error:
                outcomes.append(error)

        TRIED["task"] = asyncio.create_task(stray())
        await asyncio.sleep(0)
        return "done"

    assert await tried(tmp_path, it) == "done"
    await TRIED["task"]
    assert len(outcomes) == 1
    async with opened(tmp_path, agents=[Trying]) as loom:
        assert (await kinds(loom, "trying/one"))[-1] == "turn_completed"


async def test_nothing_that_agent_code_catches_keeps_a_stopped_turn_going(tmp_path: Path) -> None:
    seen: list[type[BaseException]] = []

    async def it(actor: Trying) -> Any:
        for _ in range(3):
            try:
                await actor.request_approval(approver="vp", reason="please", key=f"{len(seen)}")
            except BaseException as error:
                seen.append(type(error))
        return "went on"

    TRIED["it"] = it
    async with opened(tmp_path, agents=[Trying]) as loom:
        asking = asyncio.create_task(loom.actor(Trying, "one").ask(Try(), id="c"))
        await until(loom.approvals.pending)
        await loom.turns.abandon("c", by="alice", reason="enough")
        outcome = (await asyncio.gather(asking, return_exceptions=True))[0]
        assert type(outcome).__name__ == "TurnAbandonedError"
        assert (await kinds(loom, "trying/one"))[-1] == "turn_abandoned"
    assert seen == [asyncio.CancelledError, TurnStopped, TurnStopped]


async def test_a_loop_of_records_is_slowed_down_and_not_refused(tmp_path: Path) -> None:
    async def it(actor: Trying) -> Any:
        for number in range(12_000):
            await actor.record(NotedEntry(text=f"{number}"))
        return "done"

    assert await tried(tmp_path, it) == "done"


@pytest.mark.parametrize(
    "entry",
    [
        CommandReceivedEntry(command_type="x", payload=None, correlation_id="c"),
        TurnCompletedEntry(reply=None),
        TurnFailedEntry(type_name="x", message="y"),
    ],
    ids=lambda entry: entry.kind,
)
async def test_entries_of_looms_own_cannot_be_recorded_by_hand(tmp_path: Path, entry: Entry) -> None:
    async def it(actor: Trying) -> Any:
        await actor.record(entry)

    assert "is loom's own" in await tried(tmp_path, it)


class FakeDecisionEntry(DecisionJournalEntry):
    kind: ClassVar[str] = "test.actors.fake_decision"


async def test_nor_can_those_derived_from_them(tmp_path: Path) -> None:
    async def it(actor: Trying) -> Any:
        await actor.record(FakeDecisionEntry.model_construct(decision=None))  # type: ignore[arg-type]

    assert "is loom's own" in await tried(tmp_path, it)


class BlobEntry(Entry):
    kind: ClassVar[str] = "test.actors.blob"

    blob: Any


@pytest.mark.parametrize("blob", [b"x", float("nan"), "\ud800", {"a": {1, 2}}, 2**60], ids=repr)
async def test_an_entry_that_cannot_be_kept_is_refused_and_the_turn_may_go_on(tmp_path: Path, blob: Any) -> None:
    async def it(actor: Trying) -> Any:
        with pytest.raises(AdmissionError):
            await actor.record(BlobEntry(blob=blob))
        await actor.record(NotedEntry(text="after"))
        return "went on"

    assert await tried(tmp_path / "live", it) == "went on"
    async with opened(tmp_path / "live", agents=[Trying]) as loom:
        history = [each for each in await entries(loom) if each.kind != "turn_completed"]
    await lay_down(tmp_path / "resumed", history)
    assert await tried(tmp_path / "resumed", it) == "went on"  # refused again, and no step is waited for


# --- policies and decisions ---------------------------------------------------------------------


async def test_a_decision_takes_along_what_the_turn_saw(tmp_path: Path) -> None:
    async def it(actor: Trying) -> Any:
        await actor.gather_context(system="s", entity="e", query="q", fetcher=lambda: 1, relevance="because")
        evaluation = actor.evaluate(Case(percent=15))
        return [await actor.record_decision(rationale="because", outcome={"granted": True}), evaluation.rule]

    decision_id, rule = await tried(tmp_path, it)
    async with opened(tmp_path, agents=[Trying]) as loom:
        decision = (await loom.traces.get(decision_id)).decision
        pinned = loom.policies.adopted("test-discount")
        assert pinned is not None
        assert (decision.under.hash, decision.under.rule) == (pinned.hash, rule)
        assert decision.facts == {"percent": 15}
        assert (decision.is_exception, decision.decision_type) == (True, "exception")
        assert [given.query for given in decision.inputs] == ["q"]
        assert decision.context == {"actor_type": "trying", "actor_key": "one"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"rationale": " "},
        {"rationale": ""},
        {"rationale": "\ud800"},
        {"outcome": {"a": float("nan")}},
        {"confidence": 2},
        {"confidence": float("nan")},
        {"reasoning": "one string"},
        {"context": {"a": b"x"}},
        {"decision_type": "x" * 65},
        {"alternatives": [{"option": "a"}]},
        {"parent": "unknown"},
        {"rationale_author": "nobody"},
    ],
    ids=str,
)
async def test_a_decision_that_is_not_whole_is_refused_and_leaves_nothing(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    async def it(actor: Trying) -> Any:
        with pytest.raises(AdmissionError):
            await actor.record_decision(**{"rationale": "because", **wrong})
        return "refused"

    assert await tried(tmp_path, it) == "refused"
    async with opened(tmp_path, agents=[Trying]) as loom:
        assert await kinds(loom, "trying/one") == ["command_received", "turn_completed"]


async def test_an_actor_without_a_policy_has_no_rule_to_ask_and_decides_under_its_implicit_version(
    tmp_path: Path,
) -> None:
    async def it(actor: Trying) -> Any:
        with pytest.raises(NoRuleError, match="set policy on its class"):
            actor.evaluate(Case(percent=1))
        return await actor.record_decision(rationale="because")

    decision_id = await tried(tmp_path, it, agent=WithoutPolicy)
    async with opened(tmp_path, agents=[WithoutPolicy]) as loom:
        decision = (await loom.traces.get(decision_id)).decision
        version = loom.policies.resolve(decision.under.hash)
        assert (version.name, version.has_rule) == ("without-policy", False)


async def test_facts_of_another_policy_are_refused(tmp_path: Path) -> None:
    class Other(Facts):
        percent: int

    async def it(actor: Trying) -> Any:
        with pytest.raises(PolicyRuleError, match=r"expected \[Case\]"):
            actor.evaluate(Other(percent=1))
        with pytest.raises(ValidationError):
            actor.evaluate(Case(percent="many"))  # type: ignore[arg-type]
        return "refused"

    assert await tried(tmp_path, it) == "refused"


async def test_the_policy_version_is_pinned_when_the_command_is_received(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch first")
    program = Carry(
        program=[Do(verb="fetch", key="first"), Do(verb="evaluate", key="x" * 12), Do(verb="decide", key="d")]
    )
    async with opened(tmp_path, world) as loom:
        before = loom.policies.adopted("test-discount")
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(program))
        await world.arrived("fetch first")
        tighter = await loom.policies.register(discount.with_params(Limits(limit=50)), by="alice")
        await loom.policies.adopt(tighter.version, by="bob", reason="more generous")
        world.let_go("fetch first")
        first = await asking
        assert first["x" * 12] == "over"
        assert (await loom.traces.get(first["d"])).decision.under.hash == (before.hash if before else None)
        second = await loom.actor(Interpreter, "one").ask(program)
        assert second["x" * 12] == "within"
        assert (await loom.traces.get(second["d"])).decision.under.hash == tighter.hash


class OtherParams(Params):
    step: int = 3


@policy("test-discount", OtherParams(), examples=[Case(percent=5)])
def other_discount(params: OtherParams, facts: Case) -> Evaluation:
    return first_match(
        case("small", facts.percent < params.step, allow(), why="small", why_not="not small"),
        otherwise("other code altogether", deny(), why="other code altogether"),
    )


class NewCode(Interpreter):
    actor_type = "interpreter"
    policy = other_discount  # type: ignore[assignment]

    async def execute(self, command: Carry) -> dict[str, Any]:
        try:
            return await super().execute(command)
        except Exception:
            return {"said": "all is well"}


async def test_a_turn_without_the_code_of_its_pinned_version_ends_as_policy_code_changed_and_keeps_its_approval(
    tmp_path: Path,
) -> None:
    program = Carry(program=[Do(verb="approve", key="vp"), Do(verb="evaluate", key="e"), Do(verb="decide", key="d")])
    async with opened(tmp_path) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(program, id="c", by="bob"))
        (request,) = await until(loom.approvals.pending)
    await asyncio.gather(asking, return_exceptions=True)
    async with opened(tmp_path, agents=[NewCode]) as loom:
        await loom.approvals.grant(request.approval_id, by="alice")
        with pytest.raises(ActorFailedError) as caught:
            await loom.actor(NewCode, "one").ask(program, id="c")
        assert caught.value.type_name == PolicyCodeChangedError.__name__
        recorded = await entries(loom, "interpreter/one")
        ending = recorded[-1].entry
        assert isinstance(ending, TurnFailedEntry)
        assert ending.reason == "policy_code_changed"
        assert "approval_answered" in [each.kind for each in recorded]
        assert not [each for each in recorded if each.kind == "evaluated"]
        (verdict,) = [each async for each in loom.replay.verify("interpreter/one")]
        assert (verdict.verdict, verdict.reason) == ("not_replayable", "policy_code_changed")


async def test_a_decision_under_a_version_that_is_not_registered_is_refused(tmp_path: Path) -> None:
    async def it(actor: Trying) -> Any:
        with pytest.raises(PolicyNotRegisteredError, match="register it, or name one of these"):
            await actor.record_decision(rationale="because", policy="policy_v9_00000000")
        return "refused"

    assert await tried(tmp_path, it) == "refused"


async def test_precedents_are_found_by_facts_and_the_search_is_on_record(tmp_path: Path) -> None:
    async def it(actor: Trying) -> Any:
        facts = Case(percent=15)
        found = await actor.find_precedents(facts, limit=3)
        actor.evaluate(facts)
        await actor.record_decision(rationale="because", outcome={"granted": True})
        return [each.decision_id for each in found]

    TRIED["it"] = it
    async with opened(tmp_path, agents=[Trying]) as loom:
        ref = loom.actor(Trying, "one")
        seen = [await ref.ask(Try()) for _ in range(3)]
        assert [len(each) for each in seen] == [0, 1, 2]
        assert (await kinds(loom, "trying/one")).count("precedent_referenced") == 3


@pytest.mark.parametrize(
    "arguments", [{}, {"text": "x", "limit": 0}, {"text": "x", "limit": -1}, {"text": "\ud800"}], ids=str
)
async def test_a_search_for_precedents_that_makes_no_sense_is_refused(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    async def it(actor: Trying) -> Any:
        await actor.find_precedents(**arguments)

    assert (await tried(tmp_path, it)).startswith("AdmissionError")


async def test_an_index_that_fails_is_on_record_and_fails_the_same_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def it(actor: Trying) -> Any:
        try:
            await actor.find_precedents(facets={"a": {"not": "scalar"}})
        except LookupFailedError as error:
            await actor.record(NotedEntry(text="after"))
            return str(error)

    live = await tried(tmp_path / "live", it)
    assert live.startswith("AdmissionError: facet [a]")
    async with opened(tmp_path / "live", agents=[Trying]) as loom:
        history = [each for each in await entries(loom) if each.kind != "turn_completed"]
    await lay_down(tmp_path / "resumed", history)
    assert await tried(tmp_path / "resumed", it) == live


async def test_a_group_of_errors_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    async def it(actor: Trying) -> Any:
        async def fails(what: str) -> None:
            raise OSError(what)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fails("one"))
            tasks.create_task(fails("two"))

    told = await tried(tmp_path, it)
    assert told.startswith("ExceptionGroup:")
    assert "[ExceptionGroup: OSError: one\nOSError: two]" in told


def test_a_group_in_a_group_is_told_by_its_leaves_a_line_each_and_no_more_than_can_be_read() -> None:
    inner = ExceptionGroup("inner", [ValueError("a"), ExceptionGroup("deeper", [KeyError("b")])])
    assert (
        failure_of(ExceptionGroup("outer", [inner, OSError("c")])).message == "ValueError: a\nKeyError: 'b'\nOSError: c"
    )
    lines = failure_of(ExceptionGroup("many", [ValueError(str(number)) for number in range(50)])).message.splitlines()
    assert lines[0] == "ValueError: 0"
    assert lines[20:] == ["and 30 more"]


async def test_what_is_journaled_of_a_turn_is_json_that_reads_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        verbs = ("fetch", "note", "perform", "evaluate", "precedents", "decide", "ask", "tell", "draw")
        program = [Do.model_validate({"verb": verb, "key": verb}) for verb in verbs]
        await loom.actor(Interpreter, "one").ask(Carry(program=list(program)))
        for each in await entries(loom):
            assert each.body is not None
            said = each.entry.model_dump_json(exclude_defaults=type(each.entry).leaves_out_defaults)
            assert json.loads(each.body) == json.loads(said)


async def test_turns_run_in_the_context_in_which_the_loom_was_opened(tmp_path: Path) -> None:
    async def it(actor: Trying) -> str:
        return _WHO.get()

    TRIED["it"] = it
    _WHO.set("whoever opens")
    async with opened(tmp_path, agents=[Trying]) as loom:
        _WHO.set("whoever asks")
        assert await loom.actor(Trying, "one").ask(Try()) == "whoever opens"
