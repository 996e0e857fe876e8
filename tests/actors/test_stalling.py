"""When it is certain that a turn diverges: at once where it is, and never where something in it could still ask."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from loom.actors import Actor, Command, stalling
from loom.errors import DivergenceError, LookupFailedError
from loom.journal import Recorded
from loom.replay.turn_verification import verify_turns
from tests.actors.support import entries, lay_down, opened, until

PATIENCE_S = 600.0
"""So long that a test which has to wait for it fails."""


class Look(BaseModel):
    """Look something up: it takes so many rounds of the loop, then it is there, or fails."""

    what: Literal["look"] = "look"
    key: str
    rounds: int = 0
    fails: bool = False


class Pause(BaseModel):
    """Wait for something that is no verb."""

    what: Literal["pause"] = "pause"
    how: Literal["sleep", "loop", "event", "thread", "timer"]


class Branches(BaseModel):
    """Do several things at the same time; where one of them fails, the others are cut short, and the turn goes on."""

    what: Literal["branches"] = "branches"
    how: Literal["asyncio", "anyio", "gather", "wait", "await", "body"]
    branches: list[list[Any]]


class Within(BaseModel):
    """Do something within a time that it may not have, and go on if it had not."""

    what: Literal["within"] = "within"
    how: Literal["timeout", "wait_for", "anyio"]
    body: list[Any]


class Shape(Command[list[str]]):
    body: list[Any]


_KINDS: dict[str, type[BaseModel]] = {"look": Look, "pause": Pause, "branches": Branches, "within": Within}
_SHORT_S = 0.01
_LONG_S = 0.05


class Shaper(Actor[None]):
    """Does what its command says, in every shape that tasks can have."""

    actor_type = "shaper"
    limits_passed: ClassVar[list[str]] = []

    async def execute(self, command: Shape) -> list[str]:
        said: list[str] = []
        try:
            await self._all(command.body, said)
        except (LookupFailedError, ExceptionGroup):
            said.append("failed")
        return sorted(said)

    async def _all(self, body: list[Any], said: list[str]) -> None:
        for each in body:
            step = _KINDS[each["what"]].model_validate(each)
            if isinstance(step, Look):
                await self._look(step, said)
            elif isinstance(step, Pause):
                await _pause(step.how)
            elif isinstance(step, Branches):
                await self._branches(step, said)
            elif isinstance(step, Within):
                await self._within(step, said)

    async def _look(self, step: Look, said: list[str]) -> None:
        async def fetch() -> str:
            for _ in range(step.rounds):
                await asyncio.sleep(0)
            if step.rounds > 3:
                await asyncio.sleep(_LONG_S)
            while step.key == "slow" and "quick" not in said:  # whatever the machine makes of it, it comes later
                await asyncio.sleep(0.001)
            if step.fails:
                raise OSError(step.key)
            return step.key

        said.append(await self.gather_context(system="s", entity="e", query=step.key, fetcher=fetch))

    async def _branches(self, step: Branches, said: list[str]) -> None:
        work: list[Callable[[], Awaitable[None]]] = [
            lambda branch=branch: self._all(branch, said)  # type: ignore[misc]
            for branch in step.branches
        ]
        try:
            await _TOGETHER[step.how](work)
        except (LookupFailedError, ExceptionGroup):
            said.append("one failed")

    async def _within(self, step: Within, said: list[str]) -> None:
        try:
            if step.how == "timeout":
                async with asyncio.timeout(_SHORT_S):
                    await self._all(step.body, said)
            elif step.how == "wait_for":
                await asyncio.wait_for(self._all(step.body, said), _SHORT_S)
            else:
                with anyio.fail_after(_SHORT_S):
                    await self._all(step.body, said)
        except TimeoutError:
            self.limits_passed.append(step.how)
        except (LookupFailedError, ExceptionGroup):
            said.append("one failed")


async def _pause(how: str) -> None:
    loop = asyncio.get_running_loop()
    match how:
        case "sleep":
            await asyncio.sleep(_SHORT_S)
        case "loop":
            for _ in range(60):
                await asyncio.sleep(0)
        case "event":
            event = asyncio.Event()
            loop.call_later(_SHORT_S, event.set)
            await event.wait()
        case "thread":
            await asyncio.to_thread(time.sleep, _SHORT_S)
        case "timer":
            done = loop.create_future()
            loop.call_later(_SHORT_S, done.set_result, None)
            await done


Work = list[Callable[[], Any]]


async def _in_group(work: Work) -> None:
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each())


async def _in_nursery(work: Work) -> None:
    async with anyio.create_task_group() as nursery:
        for each in work:
            nursery.start_soon(each)


async def _gathered(work: Work) -> None:
    await asyncio.gather(*(each() for each in work))


async def _waited_for(work: Work) -> None:
    tasks = [asyncio.ensure_future(each()) for each in work]
    try:
        await asyncio.wait(tasks)
        for task in tasks:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _awaited(work: Work) -> None:
    tasks = [asyncio.ensure_future(each()) for each in work]
    try:
        for task in tasks:
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _in_the_body(work: Work) -> None:
    async with asyncio.TaskGroup() as group:
        for each in work[1:]:
            group.create_task(each())
        await work[0]()


_TOGETHER = {
    "asyncio": _in_group,
    "anyio": _in_nursery,
    "gather": _gathered,
    "wait": _waited_for,
    "await": _awaited,
    "body": _in_the_body,
}


async def recorded(directory: Path, shape: list[BaseModel]) -> tuple[list[str], list[Recorded]]:
    async with opened(directory, agents=[Shaper]) as loom, asyncio.timeout(60):
        body = [each.model_dump() for each in shape]
        reply = await loom.actor(Shaper, "one").ask(Shape(body=body), id="the-command")
        return reply, await entries(loom)


# --- never where it could go on --------------------------------------------------------------------

_keys = st.integers(0, 10**9).map(str)
_looks = st.builds(Look, key=_keys, rounds=st.integers(0, 6), fails=st.booleans() | st.just(False))
_pauses = st.builds(Pause, how=st.sampled_from(["sleep", "loop", "event", "thread", "timer"]))


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    bodies = st.lists(inner, min_size=1, max_size=3)
    return st.builds(
        Branches,
        how=st.sampled_from(["asyncio", "anyio", "gather", "wait", "await", "body"]),
        branches=st.lists(bodies, min_size=1, max_size=3),
    ) | st.builds(Within, how=st.sampled_from(["timeout", "wait_for", "anyio"]), body=bodies)


_shapes = st.lists(st.recursive(_looks | _pauses, _nested, max_leaves=8), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(shape=_shapes, cut=st.floats(0, 1))
async def test_the_code_that_recorded_a_turn_never_diverges_whatever_the_shape_of_its_tasks(
    shape: list[BaseModel], cut: float
) -> None:
    numbered = _numbered(shape)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        # The first look that finds it certain decides, and it is looked at all the time.
        patch.setattr(stalling, "_LOOKS", 1)
        patch.setattr(stalling, "_FIRST_LOOK_S", 0.0005)
        patch.setattr(stalling, "_LOOK_AT_LEAST_EVERY_S", 0.002)
        _, history = await recorded(Path(name, "whole"), numbered)
        begin = next(i for i, each in enumerate(history) if each.kind == "command_received")
        end = begin + 1 + round(cut * (len(history) - 2 - begin))
        await lay_down(Path(name, "cut"), history[:end])
        Shaper.limits_passed.clear()
        async with opened(Path(name, "cut"), agents=[Shaper], divergence_timeout_s=PATIENCE_S) as loom:
            async with asyncio.timeout(60):
                await until(lambda: _ended(loom), timeout_s=60)
            # Time is no step: a limit of it that passes may cut short what was recorded, which then is never asked for,
            # and rightly given up. Where none has passed, nothing that waits is.
            stuck = str(loom.actors.stuck("shaper/one", "the-command"))
            assert "nothing in it can ask" not in stuck or Shaper.limits_passed
            Shaper.limits_passed.clear()
            found = [each async for each in verify_turns(loom.store, loom.actors, "shaper/one")]
            assert all("nothing in it can ask" not in str(each.reason) for each in found) or Shaper.limits_passed, found


async def _ended(loom: Any) -> bool:
    stuck = loom.actors.stuck("shaper/one", "the-command")
    return stuck is not None or not await loom.turns.unfinished()


def _numbered(shape: list[Any]) -> list[Any]:
    """Give every look-up a key of its own."""
    count = iter(range(10_000))

    def walk(each: Any) -> Any:
        if isinstance(each, Look):
            return each.model_copy(update={"key": f"k{next(count)}"})
        if isinstance(each, Branches):
            return each.model_copy(update={"branches": [[walk(one) for one in branch] for branch in each.branches]})
        return each.model_copy(update={"body": [walk(one) for one in each.body]}) if isinstance(each, Within) else each

    return [walk(each) for each in shape]


SLOW, QUICK = Look(key="slow"), Look(key="quick")
HOWS = ("asyncio", "anyio", "gather", "wait", "await", "body")
MAY_STILL_ASK: dict[str, list[BaseModel]] = {
    **{f"a limit of time by {how}": [Within(how=how, body=[SLOW]), QUICK] for how in ("timeout", "wait_for", "anyio")},
    **{
        f"a task in a thread, in {how}": [Branches(how=how, branches=[[SLOW], [Pause(how="thread"), QUICK]])]  # type: ignore[arg-type]
        for how in HOWS
    },
    **{
        f"a task that waits for a {pause}": [Branches(how="asyncio", branches=[[SLOW], [Pause(how=pause), QUICK]])]
        for pause in ("sleep", "loop", "event", "timer")
    },
    "a task that is cut short by another": [
        Branches(how="asyncio", branches=[[SLOW], [Look(key="fails", rounds=2, fails=True)]]),
        QUICK,
    ],
    "a task in a group in a group": [
        Branches(
            how="anyio",
            branches=[[SLOW], [Branches(how="asyncio", branches=[[Pause(how="thread")], [Look(key="x")]]), QUICK]],
        )
    ],
}


@pytest.mark.parametrize("name", MAY_STILL_ASK)
async def test_a_turn_is_not_given_up_while_something_in_it_may_still_ask(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalling, "_LOOKS", 1)
    monkeypatch.setattr(stalling, "_FIRST_LOOK_S", 0.0005)
    monkeypatch.setattr(stalling, "_LOOK_AT_LEAST_EVERY_S", 0.002)
    _, history = await recorded(tmp_path / "whole", MAY_STILL_ASK[name])
    until_quick = next(i for i, each in enumerate(history) if b'"query":"quick"' in (each.body or b""))
    assert not any(b'"query":"slow"' in (each.body or b"") for each in history[:until_quick]), "it was not there yet"
    await lay_down(tmp_path / "cut", history[: until_quick + 1])
    async with opened(tmp_path / "cut", agents=[Shaper], divergence_timeout_s=PATIENCE_S) as loom:
        await until(lambda: _ended(loom))
        assert loom.actors.stuck("shaper/one", "the-command") is None
        assert [each.verdict async for each in verify_turns(loom.store, loom.actors, "shaper/one")] == ["same"]


# --- at once where it could not --------------------------------------------------------------------

FIRST, LOST, LAST, NEW = (Look(key=key) for key in ("first", "lost", "last", "new"))
WRAPPED: dict[str, Callable[[list[Any]], list[Any]]] = {
    "plain": lambda body: body,
    **{
        how: lambda body, how=how: [Branches(how=how, branches=[body, [Look(key="beside")]])]  # type: ignore[misc]
        for how in ("asyncio", "anyio", "gather", "wait", "await", "body")
    },
    "nested": lambda body: [
        Branches(how="asyncio", branches=[[Branches(how="anyio", branches=[body])], [Look(key="beside")]])
    ],
}


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("now", [[FIRST, NEW, LOST, LAST], [FIRST, LAST]], ids=["a new step", "a step that is gone"])
async def test_a_step_that_nobody_can_ask_for_any_more_is_reported_at_once(
    wrapped: str, now: list[Any], tmp_path: Path
) -> None:
    shaped = WRAPPED[wrapped]
    _, history = await recorded(tmp_path / "whole", shaped([FIRST, LOST, LAST]))
    changed = [each.model_dump() for each in shaped(now)]

    class Changed(Shaper):
        actor_type = "shaper"

        async def execute(self, command: Shape) -> list[str]:
            return await super().execute(Shape(body=changed))

    await lay_down(tmp_path / "cut", history[:-1])
    async with opened(tmp_path / "cut", agents=[Changed], divergence_timeout_s=PATIENCE_S) as loom:
        await until(lambda: loom.actors.stuck("shaper/one", "the-command"))
        error = loom.actors.stuck("shaper/one", "the-command")
        assert isinstance(error, DivergenceError)
        assert "gather_context s/e/lost" in error.expected
        assert ("gather_context s/e/new" if NEW in now else "gather_context s/e/last") in error.found
    await lay_down(tmp_path / "replayed", history)
    async with opened(tmp_path / "replayed", agents=[Changed], divergence_timeout_s=PATIENCE_S) as loom:
        async with asyncio.timeout(20):
            [found] = [each async for each in verify_turns(loom.store, loom.actors, "shaper/one")]
        assert found.verdict == "diverged"


@pytest.mark.parametrize("how", ["sleep", "event", "thread", "timer"])
async def test_a_task_that_awaits_what_is_no_verb_has_the_patience_of_the_config(how: str, tmp_path: Path) -> None:
    _, history = await recorded(tmp_path / "whole", [FIRST, LOST, LAST])
    beside: list[list[Any]] = [[NEW], [Pause(how=how), Pause(how=how), LOST, LAST]]  # type: ignore[arg-type]
    changed = [FIRST.model_dump(), Branches(how="asyncio", branches=beside).model_dump()]

    class Slow(Shaper):
        actor_type = "shaper"

        async def execute(self, command: Shape) -> list[str]:
            return await super().execute(Shape(body=changed))

    await lay_down(tmp_path / "cut", history[:-1])
    async with opened(tmp_path / "cut", agents=[Slow], divergence_timeout_s=PATIENCE_S) as loom:
        await until(lambda: _ended(loom))
        assert loom.actors.stuck("shaper/one", "the-command") is None, "it asked in the end"


async def test_where_the_loop_shows_nothing_patience_decides_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, history = await recorded(tmp_path / "whole", [FIRST, LOST])

    class Changed(Shaper):
        actor_type = "shaper"

        async def execute(self, command: Shape) -> list[str]:
            return await super().execute(Shape(body=[NEW.model_dump()]))

    monkeypatch.setattr(stalling, "_context_of", lambda _: None)
    await lay_down(tmp_path / "cut", history[:-1])
    async with opened(tmp_path / "cut", agents=[Changed], divergence_timeout_s=0.3) as loom:
        await until(lambda: loom.actors.stuck("shaper/one", "the-command"))
        assert "it stalled for 0.3 s" in str(loom.actors.stuck("shaper/one", "the-command"))
