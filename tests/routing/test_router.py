"""The router when things go wrong: the caller has an answer, and no optimisation is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.errors import (
    AdmissionError,
    AppendUnknownError,
    CommandConflictError,
    DiskFullError,
    InvalidNameError,
    LoomError,
    NotReplayableError,
    PolicyCodeChangedError,
    TurnNotFoundError,
)
from loom.identity import Identity
from loom.journal.store import Append, Receipt
from loom.routing import AgentSignals, ForbiddenSignalError, RearmRefusedError, Router, SelfRearmError, care_optimizer
from loom.routing.baseline import Baseline
from loom.routing.entries import AnsweredWithBaselineEntry
from loom.routing.optimizer import OptimizerParams
from tests.routing.support import CANDIDATES, REQUEST, Given, candidate, decisions, history_for_b, observe, routing


def fail(
    loom: Loom,
    monkeypatch: pytest.MonkeyPatch,
    *,
    when: Callable[[Append], bool],
    error: Callable[[Append], LoomError],
    written: bool = False,
) -> None:
    """Let appends fail that match; `written` ones are in the journal all the same."""
    real = loom.store.submit

    def submit(append: Append) -> asyncio.Future[Receipt]:
        if not when(append):
            return real(append)
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        if written:
            real(append).add_done_callback(lambda _: future.set_exception(error(append)))
        else:
            future.get_loop().call_soon(future.set_exception, error(append))
        return future

    monkeypatch.setattr(loom.store, "submit", submit)
    monkeypatch.setattr(loom.store, "extend", lambda *_: False)  # each entry an append of its own


def full(_: Append) -> LoomError:
    return DiskFullError("disk is full; expected room: make some")


def of_router(append: Append) -> bool:
    return append.journal == "router/care"


async def closed(loom: Loom) -> list[AnsweredWithBaselineEntry]:
    return [
        each.entry async for each in loom.store.read("router/care") if isinstance(each.entry, AnsweredWithBaselineEntry)
    ]


async def test_an_unwritable_journal_gives_the_baseline_and_says_so_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        with monkeypatch.context() as patch:
            fail(loom, patch, when=of_router, error=full)
            choice = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
            assert (choice.agent, choice.selected) == ("agent-a", "baseline_selected")
            assert choice.note == "the router could not answer: DiskFullError"
            again = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
            assert again.agent == "agent-a"
        await router.settled()
        [entry] = await closed(loom)
        assert (entry.request_id, entry.agent, entry.decision_id) == ("r-1", "agent-a", None)
        # Asked again it is still the baseline, although history speaks for the other.
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-1")).agent == "agent-a"
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-2")).agent == "agent-b"
        assert len(await decisions(loom)) == 1


async def test_a_journal_that_turns_unwritable_at_the_decision_gives_the_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends_r_1(append: Append) -> bool:
        return (append.drafts[0].kind, append.drafts[0].command_id) == ("turn_completed", "r-1")

    async def nobody_knows(error: AppendUnknownError) -> Receipt | None:
        raise error

    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        with monkeypatch.context() as patch:
            fail(loom, patch, when=lambda append: append.drafts[0].kind == "decision", error=full)
            choice = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
            assert choice.agent == "agent-a"
            assert await decisions(loom) == []
        await router.settled()
        found = await decisions(loom)
        [entry] = await closed(loom)
        # The turn was resumed once it could be, and decided; what follows says that nobody used that.
        assert [each.decision_id for each in found] == [entry.decision_id]
        [told] = await router.timeline()
        assert told.not_used == "the router could not answer: TurnInterruptedError"
        assert told.text.endswith("Not used: the router could not answer: TurnInterruptedError")
        again = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        assert (again.agent, again.selected) == ("agent-a", "baseline_selected")
    async with routing(tmp_path) as loom:
        assert (await Router.of(loom).choose(REQUEST, CANDIDATES, request_id="r-1")).agent == "agent-a"


async def test_an_unknown_append_that_was_written_is_followed_by_an_entry_that_it_was_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    injected = []

    def unknown(append: Append) -> LoomError:
        injected.append(append)
        return AppendUnknownError(
            "nobody knows", journal=append.journal, sequence=append.expected + 1, entry_hash=b"\0" * 32
        )

    def ends_r_1(append: Append) -> bool:
        return (append.drafts[0].kind, append.drafts[0].command_id) == ("turn_completed", "r-1")

    async def nobody_knows(error: AppendUnknownError) -> Receipt | None:
        raise error

    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        with monkeypatch.context() as patch:
            fail(loom, patch, when=ends_r_1, error=unknown, written=True)
            patch.setattr(loom.store, "resolve", nobody_knows)
            choice = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        await router.settled()
        assert len(injected) == 1
        found = await decisions(loom)
        assert len(found) == 1
        assert choice.selected == "baseline_selected"
        [entry] = await closed(loom)
        assert entry.decision_id == found[0].decision_id
        again = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        assert (again.agent, again.selected) == ("agent-a", "baseline_selected")


async def test_a_caller_that_does_not_wait_has_the_baseline_and_the_journal_says_so(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        go_on = asyncio.Event()
        real = router.source.read

        async def slowly(candidates: Any) -> Any:
            await go_on.wait()
            return await real(candidates)

        router.source.read = slowly  # type: ignore[method-assign]
        choice = await router.choose(REQUEST, CANDIDATES, request_id="r-1", timeout_s=0.05)
        assert (choice.agent, choice.note) == ("agent-a", "the router could not answer: AskTimeoutError")
        go_on.set()
        await router.settled()
        [entry] = await closed(loom)
        assert entry.decision_id == (await decisions(loom))[0].decision_id


async def test_what_was_answered_outside_is_journaled_before_the_loom_is_closed(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        go_on = asyncio.Event()
        real = router.source.read

        async def slowly(candidates: Any) -> Any:
            await go_on.wait()
            return await real(candidates)

        router.source.read = slowly  # type: ignore[method-assign]
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-1", timeout_s=0.05)).agent == "agent-a"
        go_on.set()
    async with routing(tmp_path) as loom:
        [entry] = await closed(loom)
        assert entry.decision_id == (await decisions(loom))[0].decision_id
        assert (await Router.of(loom).choose(REQUEST, CANDIDATES, request_id="r-1")).agent == "agent-a"


async def test_signals_that_fail_give_the_baseline_with_a_note(tmp_path: Path) -> None:
    nan = {"agent-a": AgentSignals.model_construct(samples=50, values={"success_rate": float("nan")})}
    for number, values in enumerate((RuntimeError("gone"), nan, {"agent-a": "what"})):
        async with routing(tmp_path / str(number)) as loom:
            router = Router.of(loom)
            router.source.read = Given(values).read  # type: ignore[method-assign]
            choice = await router.choose(REQUEST, CANDIDATES, request_id="r-1")
            assert choice.agent == "agent-a"
            assert choice.note is not None
            assert choice.note.startswith("signals failed: ")
            assert await decisions(loom) == []


async def test_a_request_is_answered_once_whatever_is_asked_at_the_same_time(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        asked = [router.choose(REQUEST, CANDIDATES, request_id="r-1") for _ in range(20)]
        answers = await asyncio.gather(*asked)
        assert {each.decision_id for each in answers} == {answers[0].decision_id}
        assert len(await decisions(loom)) == 1
        await router.set_mode("disabled", by="mira")
        await router.kill(by="mira", reason="to see")
        # It was answered before: whoever asks again gets what was said, and not two agents for one request.
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-1")).agent == "agent-b"
        with pytest.raises(CommandConflictError):
            await router.choose(REQUEST.model_copy(update={"domain": "sales"}), CANDIDATES, request_id="r-1")


async def test_a_cancelled_caller_takes_nothing_with_it(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        asked = asyncio.create_task(router.choose(REQUEST, CANDIDATES, request_id="r-1"))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-1")).agent == "agent-b"
        assert len(await decisions(loom)) == 1


async def test_bad_requests_are_the_callers(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        router = Router.of(loom)
        none = await router.choose(REQUEST, [], request_id="r-none")
        assert (none.agent, none.note) == (None, "no candidate passed the stages")
        one = await router.choose(REQUEST, CANDIDATES[:1], request_id="r-one")
        assert one.agent == "agent-a"
        with pytest.raises(AdmissionError, match="more than once"):
            await router.choose(REQUEST, [*CANDIDATES, candidate("agent-a", metric="cost")], request_id="r-2")
        with pytest.raises(AdmissionError, match="request id"):
            await router.choose(REQUEST, CANDIDATES, request_id="")
        nobody = await router.choose(REQUEST, [candidate("x", domains=("sales",))], request_id="r-3")
        assert nobody.agent is None
        assert nobody.baseline.candidates[0].reason == "does not know the domain support"


async def test_the_choice_belongs_to_no_run_and_may_be_made_within_a_turn(tmp_path: Path) -> None:
    from loom import Actor, Command

    class Work(Command[str]):
        pass

    class Worker(Actor[None]):
        async def execute(self, command: Work) -> str:
            async def choose() -> str | None:
                return (await router.choose(REQUEST, CANDIDATES, request_id="r-in-turn")).agent

            chosen: str = await self.gather_context(system="care", entity="agent", query="r-in-turn", fetcher=choose)
            return chosen

    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        async with loom.runs.run(run_id="season"):
            assert await loom.actor(Worker, "one").ask(Work()) == "agent-b"
            await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        assert [each.run_id for each in await decisions(loom)] == [None, None]


async def test_another_optimiser_version_is_adopted_by_a_person_and_named_by_the_decision(tmp_path: Path) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        only_cost = care_optimizer.with_params(OptimizerParams(success_rate=0, latency_p50=0, cost_per_run=1))
        version = await loom.policies.register(only_cost, by="mira")
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-1")).agent == "agent-b"
        await loom.policies.adopt(version.hash, by="vera", reason="costs count now")
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-2")).note == "history speaks for agent-a, too"
        assert not (await router.replay("r-1")).diverged, "it is judged under the version of then"
        [first] = await decisions(loom)
        assert first.under.hash != version.hash
        judged = await loom.replay.judge([first.decision_id], under=version.hash)
        assert judged.cases == 1


# --- replay --------------------------------------------------------------------------------------


async def test_a_replay_that_diverges_halts_optimisation_until_a_person_re_arms_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(request: Any, candidates: Any) -> Baseline:
        from loom.routing.baseline import choose_baseline

        real = choose_baseline(request, candidates)
        return real.model_copy(update={"agent": "agent-b"})

    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        with monkeypatch.context() as patch:
            patch.setattr("loom.routing.replay.choose_baseline", changed)
            looked = await router.replay("r-1", halt=False)
            assert looked.diverged
            assert not router.switch.engaged
            replayed = await router.replay("r-1")
        assert replayed.diverged
        assert "baseline was [agent-a], now [agent-b]" in replayed.differences
        status = await router.status()
        assert (status.killed, status.switch_trigger, status.switch_by) == (True, "system", "loom")
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-2")).agent == "agent-a"
        with pytest.raises(InvalidNameError):
            await router.rearm(by=" ", reason="nobody does")
        for by in ("loom", "LOOM", "router", "care", "agent-b", Identity("AGENT-B", "api_key:7", "http")):
            with pytest.raises(SelfRearmError, match="expected a person to re-arm it"):
                await router.rearm(by=by, reason="history speaks for me", cause="none")
        assert (await router.status()).killed
        with pytest.raises(AdmissionError, match="reason is blank"):
            await router.rearm(by="mira", reason=" ", cause="a deployment")
        with pytest.raises(RearmRefusedError, match="expected the cause, and a replay that has passed"):
            await router.rearm(by="mira", reason="it will be all right")
        with monkeypatch.context() as patch:
            patch.setattr("loom.routing.replay.choose_baseline", changed)
            with pytest.raises(RearmRefusedError, match=r"replay of request \[r-1\] does not pass"):
                await router.rearm(by="mira", reason="it looks good", cause="a deployment of the wrong branch")
        await router.rearm(by="mira", reason="the code is back", cause="a deployment of the wrong branch")
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-3")).agent == "agent-b"


async def test_what_cannot_be_replayed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)
        with pytest.raises(TurnNotFoundError):
            await router.replay("nobody asked")
        await router.choose(REQUEST, CANDIDATES, request_id="r-1")
        with monkeypatch.context() as patch:
            patch.setattr(loom.policies, "runnable", code_changed)
            replayed = await router.replay("r-1")
        assert replayed.not_replayable == "the code is another one"
        assert not replayed.diverged
        leaky = AgentSignals(samples=50, values={"user_feedback": "five stars"})
        router.source.read = Given({"agent-a": leaky}).read  # type: ignore[method-assign]
        with pytest.raises(ForbiddenSignalError):
            await router.choose(REQUEST, CANDIDATES, request_id="r-2")
        with pytest.raises(NotReplayableError, match=r"request \[r-2\] has no answer in the journal"):
            await router.replay("r-2")


def code_changed(_: object) -> Any:
    raise PolicyCodeChangedError("the code is another one")


# --- modes, switch, config -------------------------------------------------------------------------


async def test_what_was_set_at_run_time_beats_the_config_also_after_a_restart(tmp_path: Path) -> None:
    async with routing(tmp_path, "disabled") as loom:
        router = Router.of(loom)
        status = await router.status()
        assert (status.mode, status.source, status.set_by) == ("disabled", "config", "mira")
    async with routing(tmp_path, "shadow") as loom:
        assert (await Router.of(loom).status()).mode == "shadow", "nobody has said otherwise than the config"
        assert await Router.of(loom).set_mode("active", by="jonas", reason="two weeks of shadow", version="v1.1")
        assert not await Router.of(loom).set_mode("active", by="jonas", reason="again")
    async with routing(tmp_path, "shadow") as loom:
        status = await Router.of(loom).status()
        assert (status.mode, status.version, status.set_by) == ("active", "v1.1", "jonas")
        await history_for_b(loom)
        choice = await Router.of(loom).choose(REQUEST, CANDIDATES, request_id="r-1")
        assert choice.agent == "agent-b"
        [decision] = await decisions(loom)
        details: Any = decision.context["details"]
        assert details["optimization_version"] == "v1.1"


async def test_the_switch_is_engaged_here_even_where_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with routing(tmp_path) as loom:
        await history_for_b(loom)
        router = Router.of(loom)

        async def refuse(_: Append) -> Any:
            raise DiskFullError("disk is full; expected room: make some")

        with monkeypatch.context() as patch:
            patch.setattr(loom.store, "append", refuse)
            with pytest.raises(DiskFullError):
                await router.kill(by="mira", reason="now")
        assert (await router.choose(REQUEST, CANDIDATES, request_id="r-1")).agent == "agent-a"
        with monkeypatch.context() as patch:
            patch.setattr(loom.store, "append", refuse)
            with pytest.raises(DiskFullError):
                await router.rearm(by="mira", reason="not so fast")
        assert (await router.status()).killed
        await router.rearm(by="mira", reason="now it is written")
        assert not (await router.status()).killed
        await asyncio.gather(*(router.kill(by="mira", reason=f"{number}") for number in range(5)))
        assert [each.kind async for each in loom.store.read("care/kill-switch")] == [
            "care.kill_switch_rearmed",
            "care.kill_switch_engaged",
        ]


async def test_the_signals_are_those_of_the_last_hundred_executions(tmp_path: Path) -> None:
    from tests.routing.support import executions

    async with routing(tmp_path) as loom:
        await observe(loom, *executions("agent-a", count=100, latency_ms=10_000, failed=100, context_size="large"))
        for half in (executions("agent-a", count=90, latency_ms=100), executions("agent-a", count=10, latency_ms=900)):
            await observe(loom, *half)
        read = await Router.of(loom).signals.read([candidate("agent-a", availability="degraded"), candidate("x")])
        assert read["agent-a"].samples == 100
        assert read["agent-a"].values == {
            "latency_p50": 100.0,
            "latency_p95": 900.0,
            "cost_per_run": 0.001,
            "success_rate": 1.0,
            "recovery_occurred": False,
            "agent_availability": "degraded",
            "context_size_bucket": None,
        }
        assert (read["x"].samples, read["x"].values["success_rate"]) == (0, None)
        before = await loom.queries.fetch("SELECT * FROM care_signals", names=["routing"])
        await loom.rebuild()
        after = await loom.queries.fetch("SELECT * FROM care_signals", names=["routing"])
        assert [tuple(row) for row in before] == [tuple(row) for row in after]


async def test_a_loom_without_the_extension_says_how_to_have_it(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}", by="mira") as loom:
        with pytest.raises(InvalidNameError, match=r"fill in care_optimization: in the config"):
            Router.of(loom)
