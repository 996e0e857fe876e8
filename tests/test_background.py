"""Background work: one owner, children with names, failures that are heard; and no task begun outside of it."""

from __future__ import annotations

import ast
import asyncio
import gc
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from loom import background as room
from loom.background import Background, awaiting, finished, stopped, to_its_end

LOOM = Path(room.__file__).parent

OWN_TASKS = {
    "actors/system.py": "the task of a turn: its cell waits for it, and its caller gets its failure",
    "actors/steps.py": "the last step of a resumed turn, which ends with its turn",
    "background.py": "the owner itself",
    "journal/postgres/pump.py": "the commits of batches: those who wait for an append get its outcome",
    "journal/postgres/store.py": "closing a store: shared by those who close it",
    "journal/sqlite/reading.py": "opening a connection: shared by those who wait for it, who get its failure",
    "journal/sqlite/store.py": "closing a store: shared by those who close it",
}


def bare_tasks(path: Path) -> Iterator[int]:
    """Yield the lines that begin a task of asyncio; `create_task` of a task group that is entered there is none."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    entered = (item for node in ast.walk(tree) if isinstance(node, ast.AsyncWith) for item in node.items)
    groups = {item.optional_vars.id for item in entered if isinstance(item.optional_vars, ast.Name)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        owner = called.value if isinstance(called, ast.Attribute) else None
        if name in ("create_task", "ensure_future") and not (isinstance(owner, ast.Name) and owner.id in groups):
            yield node.lineno


def test_no_task_is_begun_outside_of_its_owner() -> None:
    found = {str(path.relative_to(LOOM)): list(bare_tasks(path)) for path in sorted(LOOM.rglob("*.py"))}

    begun = {name: lines for name, lines in found.items() if lines}

    assert set(begun) == set(OWN_TASKS), "start it through `Background`, or `async with awaiting(…)`"


async def fails() -> None:
    raise ValueError("no such thing")


async def test_work_that_is_stopped_has_ended_whatever_it_raises_then() -> None:
    owner, ended = Background(), []
    begun = {how: asyncio.Event() for how in ("well", "badly")}

    async def ends(how: str) -> None:
        begun[how].set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(how)
            if how == "badly":
                raise ValueError(how)

    work = [owner.start(ends(how), name=how) for how in begun]
    for each in begun.values():
        await each.wait()
    await stopped(None, *work)
    assert sorted(ended) == ["badly", "well"]
    await stopped()
    await owner.close()


async def test_a_child_that_fails_is_logged_and_listed_and_the_others_go_on() -> None:
    owner, end = Background(), asyncio.Event()
    other = owner.start(end.wait(), name="other")

    failed = owner.start(fails(), name="bad")

    with capture_logs() as logs, pytest.raises(ValueError, match="no such thing"):
        await failed
    await asyncio.sleep(0)
    assert [(each["event"], each["task"], each["log_level"]) for each in logs] == [
        ("background_task_failed", "bad", "error")
    ]
    assert [(each.name, each.error, each.times) for each in owner.failures] == [("bad", "ValueError: no such thing", 1)]
    assert list(owner.running) == ["other"]
    end.set()
    assert await other is True
    await owner.close()


async def test_a_failure_that_its_caller_awaits_is_not_listed() -> None:
    owner = Background()
    with pytest.raises(ValueError, match="no such thing"):
        await owner.start(fails(), name="mine", awaited=True)
    assert owner.failures == ()


async def test_what_is_to_keep_running_begins_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_AGAIN_S", 0.0)
    owner, times = Background(), 0

    async def follow() -> None:
        nonlocal times
        times += 1
        if times < 3:
            raise OSError(times)

    await owner.keep_running(follow, name="follower")

    assert times == 3
    [failure] = owner.failures
    assert tuple(failure) == ("follower", "OSError: 2", 2, True)


async def test_it_is_closed_in_another_task_than_it_was_used_in_and_cancels_its_children() -> None:
    owner, ends = Background(), list[str]()

    async def works() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # a cancelled child may await: it is cancelled once
            ends.append("ended")

    async with asyncio.TaskGroup() as group:
        child = await group.create_task(begun(owner, works))
    await asyncio.sleep(0)
    async with asyncio.TaskGroup() as group:
        group.create_task(owner.close())

    assert child.cancelled()
    assert ends == ["ended"]
    assert owner.start(asyncio.sleep(0), name="late").cancelled()


async def begun(owner: Background, work: Any) -> Any:
    return owner.start(work(), name="worker")


async def test_a_child_that_ignores_its_cancellation_does_not_hold_up_the_end() -> None:
    owner, free = Background(), asyncio.Event()

    async def stubborn() -> None:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    child = owner.start(stubborn(), name="stubborn")
    await asyncio.sleep(0.01)

    await owner.close(within_s=0.01)

    assert list(owner.running) == ["stubborn"]
    free.set()
    await asyncio.wait([child])


async def test_one_child_after_the_other_gets_an_owner_and_its_own_context() -> None:
    owner, where = Background(), ContextVar("where", default="outside")

    async def read() -> str:
        return where.get()

    assert await owner.start(read(), name="first") == "outside"
    where.set("inside")
    second, third = owner.start(read(), name="second"), owner.start(read(), name="third")
    assert (await second, await third) == ("inside", "inside")
    await asyncio.sleep(0)
    assert not owner.running


async def test_a_child_that_is_cancelled_before_it_begins_does_nothing() -> None:
    owner, done = Background(), list[int]()

    async def works() -> None:
        done.append(1)

    child = owner.start(works(), name="early")
    child.cancel()

    await asyncio.wait([child])
    assert (child.cancelled(), done) == (True, [])


@pytest.mark.parametrize("waits", [finished, to_its_end])
async def test_work_is_done_to_its_end_when_its_caller_is_cancelled(waits: Any) -> None:
    entered, goes_on, done = asyncio.Event(), asyncio.Event(), list[int]()

    async def works() -> None:
        entered.set()
        await goes_on.wait()
        done.append(1)

    async with asyncio.TaskGroup() as group:
        caller = group.create_task(waits(works()))
        await entered.wait()
        caller.cancel()
        group.create_task(asyncio.sleep(0)).add_done_callback(lambda _: goes_on.set())
    while not done:
        await asyncio.sleep(0)

    assert caller.cancelled()


@pytest.mark.parametrize("waits", [finished, to_its_end])
async def test_work_that_fails_after_its_caller_left_is_logged(waits: Any) -> None:
    entered, goes_on, unheard = asyncio.Event(), asyncio.Event(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))

    async def works() -> None:
        entered.set()
        await goes_on.wait()
        await fails()

    with capture_logs() as logs:
        caller = asyncio.ensure_future(waits(works()))
        await entered.wait()
        caller.cancel()
        await asyncio.sleep(0)
        goes_on.set()
        await asyncio.wait([caller])
        for _ in range(5):  # the work fails, its task ends, and what waits for that is called
            await asyncio.sleep(0)
        gc.collect()

    assert [(each["event"], each["error"]) for each in logs] == [
        ("failed_after_its_caller_left", "ValueError('no such thing')")
    ]
    assert (caller.cancelled(), unheard) == (True, [])


async def test_what_is_awaited_meanwhile_is_cancelled_on_the_way_out() -> None:
    async with awaiting(asyncio.Event().wait()) as waits, awaiting(asyncio.sleep(0, "result")) as done:
        assert await done == "result"
    assert waits.cancelled()


async def test_a_callback_of_the_event_loop_starts_a_child_too() -> None:
    owner, loop = Background(), asyncio.get_running_loop()
    started: asyncio.Future[asyncio.Future[str]] = loop.create_future()

    loop.call_soon(lambda: started.set_result(owner.start(asyncio.sleep(0, "done"), name="called")))

    assert await (await started) == "done"
