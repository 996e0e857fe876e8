"""Retries: failed attempts are on record, the delay is a wait, and a resumed turn has the attempts that are left."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.actors import Command
from loom.actors.entries import AttemptFailedEntry, EffectPerformedEntry
from loom.actors.retrying import Retry, exponential
from loom.decisions.entries import ContextGatheredEntry
from loom.errors import ActorFailedError, AdmissionError, EffectFailedError, LookupFailedError
from loom.journal.entry import Recorded
from loom.runtime import Loom
from tests.actors.agents import Folding, World
from tests.actors.support import entries, kinds, lay_down, opened, until

SOON = exponential(0.001, maximum=0.002)
LATE = exponential(3_600, maximum=3_600, jitter=False)


class Fetch(Command[str]):
    """Look something up that fails so many times; then decide."""

    effect: bool = False


class Trying(Folding):
    """Does what its command says, with the retry and the world of a test."""

    retry: Retry | None = Retry(attempts=3, backoff=SOON)

    async def execute(self, command: Fetch | Ping) -> str:
        if isinstance(command, Ping):
            return "pong"
        try:
            if command.effect:
                found = await self.perform(
                    action="mail", effect=lambda key: self.world.call("sent", key), key="m-1", retry=self.retry
                )
            else:
                found = await self.gather_context(
                    system="crm",
                    entity="account",
                    query="acme",
                    fetcher=lambda: self.world.call("fetched", "found"),
                    retry=self.retry,
                )
        except (LookupFailedError, EffectFailedError) as error:
            return str(error)
        await self.record_decision(rationale="as found")
        return str(found)


class Ping(Command[str]):
    """What another turn of the actor does meanwhile."""


class Flaky(World):
    """Fails as often as it should, with the errors of a list."""

    def __init__(self, *errors: BaseException) -> None:
        super().__init__()
        self.errors = list(errors)

    async def call(self, name: str, value: Any = None) -> Any:
        came = await super().call(name, value)
        if self.errors:
            raise self.errors.pop(0)
        return came


def agent(retry: Retry | None) -> type[Trying]:
    return type("Trying", (Trying,), {"retry": retry, "actor_type": "trying"})


def parked(loom: Loom) -> bool:
    turn = loom.actors.running("trying/one", "c")
    return turn is not None and turn.parked


async def asked(
    directory: Path, world: World, *, retry: Retry | None, effect: bool = False
) -> tuple[str, list[Recorded]]:
    async with opened(directory, world, agents=[agent(retry)]) as loom:
        reply = await loom.actor(agent(retry), "one").ask(Fetch(effect=effect), id="c")
        return reply, await entries(loom, "trying/one")


@pytest.mark.parametrize("effect", [False, True], ids=["look-up", "effect"])
async def test_failed_attempts_are_on_record_and_the_last_one_gives_the_value(tmp_path: Path, *, effect: bool) -> None:
    world = Flaky(OSError("no network"), TimeoutError("late"))
    reply, recorded = await asked(tmp_path, world, retry=Retry(attempts=3, backoff=SOON), effect=effect)

    failed = [each.entry for each in recorded if isinstance(each.entry, AttemptFailedEntry)]
    [last] = [each.entry for each in recorded if isinstance(each.entry, ContextGatheredEntry | EffectPerformedEntry)]
    assert reply == ("m-1" if effect else "found")
    assert [(each.attempt, each.failure.type_name, each.failure.message) for each in failed] == [
        (1, "OSError", "no network"),
        (2, "TimeoutError", "late"),
    ]
    assert all(each.step == last.step for each in failed)
    assert last.failed_attempts == ("OSError", "TimeoutError")
    assert sum(world.calls.values()) == 3
    async with opened(tmp_path, agents=[agent(None)]) as loom:
        [decision] = await loom.traces.find()
        explained = (await loom.traces.explain(decision.decision_id)).text(400)
        assert "after 2 failed attempts: OSError, TimeoutError" in explained


@pytest.mark.parametrize(
    ("retry", "errors", "calls"),
    [
        (Retry(attempts=2, backoff=SOON), [OSError("1"), OSError("2"), OSError("3")], 2),
        (Retry(attempts=1, backoff=SOON), [OSError("1")], 1),
        (Retry(attempts=5, backoff=SOON, on=(TimeoutError,)), [OSError("1")], 1),
        (Retry(backoff=SOON, on=(OSError,)), [ExceptionGroup("both", [OSError("1"), ValueError("2")])], 1),
        (Retry(backoff=SOON, on=(OSError,)), [ExceptionGroup("both", [OSError("1"), OSError("2")])], 2),
        (None, [OSError("1")], 1),
    ],
)
async def test_what_is_not_worth_another_attempt_fails_at_once(
    tmp_path: Path, retry: Retry | None, errors: list[Exception], calls: int
) -> None:
    world = Flaky(*errors)

    await asked(tmp_path, world, retry=retry)

    assert world.calls["fetched"] == calls


@pytest.mark.parametrize("value", [b"bytes", float("nan"), object()], ids=["bytes", "nan", "object"])
async def test_an_effect_that_returned_what_is_no_json_is_not_done_again(tmp_path: Path, value: Any) -> None:
    class Odd(World):
        async def call(self, name: str, _: Any = None) -> Any:
            return await super().call(name, value)

    world = Odd()
    reply, _ = await asked(tmp_path, world, retry=Retry(backoff=SOON), effect=True)

    assert reply.startswith("AdmissionError:")
    assert world.calls["sent"] == 1


@pytest.mark.parametrize("effect", [False, True], ids=["look-up", "effect"])
async def test_a_turn_cut_anywhere_goes_on_with_the_attempts_that_are_left(tmp_path: Path, *, effect: bool) -> None:
    """At each place where a crash could cut it: no attempt that is on record is made again."""
    retry = Retry(attempts=3, backoff=SOON)
    reply, history = await asked(tmp_path / "whole", Flaky(OSError("1"), OSError("2")), retry=retry, effect=effect)
    for number, cut in enumerate(range(1, len(history))):
        before = history[:cut]
        made = sum(isinstance(each.entry, AttemptFailedEntry) for each in before)
        over = any(isinstance(each.entry, ContextGatheredEntry | EffectPerformedEntry) for each in before)
        await lay_down(tmp_path / str(number), before)
        world = Flaky(*[OSError("again")] * (2 - made))

        again, recorded = await asked(tmp_path / str(number), world, retry=retry, effect=effect)

        assert again == reply
        assert sum(world.calls.values()) == (0 if over else 3 - made)
        assert sum(isinstance(each.entry, AttemptFailedEntry) for each in recorded) == 2


async def test_a_turn_in_its_delay_lets_others_run_and_can_be_abandoned(tmp_path: Path) -> None:
    trying = agent(Retry(attempts=2, backoff=LATE))
    async with opened(tmp_path, Flaky(OSError("1")), agents=[trying]) as loom:
        asking = asyncio.create_task(loom.actor(trying, "one").ask(Fetch(), id="c"))
        await until(lambda: parked(loom))

        assert await loom.actor(trying, "one").ask(Ping()) == "pong"
        assert (await loom.turns.get("c")).status == "parked"
        await loom.turns.abandon("c", by="alice", reason="it takes too long")
        [outcome] = await asyncio.gather(asking, return_exceptions=True)
        assert "abandoned by [alice" in str(outcome)


async def test_a_delay_goes_on_after_a_restart_and_is_not_begun_again(tmp_path: Path) -> None:
    trying = agent(Retry(attempts=2, backoff=LATE))
    async with opened(tmp_path, Flaky(OSError("1")), agents=[trying], shutdown_grace_s=0) as loom:
        asking = asyncio.create_task(loom.actor(trying, "one").ask(Fetch(), id="c"))
        await until(lambda: parked(loom))
    await asyncio.gather(asking, return_exceptions=True)
    world = World()
    async with opened(tmp_path, world, agents=[trying], shutdown_grace_s=0) as loom:
        await until(lambda: parked(loom))
        assert await loom.actor(trying, "one").ask(Ping()) == "pong"  # it holds its actor back no more than before
        assert world.calls == {}
        assert "turn_resumed" not in await kinds(loom, "trying/one")  # nothing ran for real


async def test_a_replay_and_code_without_the_retry_follow_the_recorded_attempts(tmp_path: Path) -> None:
    await asked(tmp_path, Flaky(OSError("1")), retry=Retry(backoff=SOON))
    async with opened(tmp_path, agents=[agent(None)]) as loom:
        (verdict,) = [each async for each in loom.replay.verify("trying/one")]
        assert verdict.verdict == "same"


async def test_an_effect_that_may_not_be_repeated_is_retried_only_on_named_errors(tmp_path: Path) -> None:
    class Once(Folding):
        actor_type = "once"
        on: tuple[type[BaseException], ...] | None = None

        async def execute(self, command: Fetch) -> str:
            return str(
                await self.perform(
                    action="pay",
                    effect=lambda key: self.world.call("paid", key),
                    key="p-1",
                    repeatable=False,
                    retry=Retry(backoff=SOON, on=self.on),
                )
            )

    world = Flaky(ConnectionRefusedError("nothing was sent"))
    async with opened(tmp_path, world, agents=[Once]) as loom:
        with pytest.raises(ActorFailedError, match=r"\[pay\] is not repeatable"):
            await loom.actor(Once, "one").ask(Fetch())
        assert world.calls == {}
        Once.on = (ConnectionRefusedError,)
        assert await loom.actor(Once, "one").ask(Fetch()) == "p-1"
        assert world.calls["paid"] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Retry(attempts=0),
        lambda: Retry(attempts=101),
        lambda: Retry(attempts=True),
        lambda: Retry(on=()),
        lambda: Retry(on=("OSError",)),  # type: ignore[arg-type]
        lambda: exponential(-1),
        lambda: exponential(2, maximum=1),
        lambda: exponential(float("nan")),
        lambda: exponential(1, maximum=float("inf")),
        lambda: Retry(backoff=lambda *_: float("nan")).delay_s(1, 0.5),
        lambda: Retry(backoff=lambda *_: -1.0).delay_s(1, 0.5),
    ],
)
def test_a_retry_that_cannot_be_one_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(AdmissionError, match="expected"):
        wrong()


@given(first=st.floats(0, 1e6), more=st.floats(0, 1e6), chances=st.lists(st.floats(0, 0.999), min_size=1, max_size=100))
def test_a_delay_is_never_longer_than_its_maximum_and_half_of_what_it_would_be_at_least(
    first: float, more: float, chances: list[float]
) -> None:
    plain, random = (exponential(first, maximum=first + more, jitter=jitter) for jitter in (False, True))
    for attempt, chance in enumerate(chances, 1):
        assert plain(attempt, chance) / 2 <= random(attempt, chance) <= plain(attempt, chance) <= first + more
    for earlier, later in itertools.pairwise(range(1, 80)):
        assert plain(earlier, 0) <= plain(later, 0)
