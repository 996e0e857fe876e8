"""The lock of an actor: one turn holds it, the others follow in order, and who left does not hold anybody up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from loom.actors.turn_lock import TurnLock


@dataclass(eq=False)
class Turn:
    closed: bool = False


def lock() -> tuple[TurnLock[Turn], list[str]]:
    freed: list[str] = []
    return TurnLock(lambda: freed.append("free")), freed


def owner(held: TurnLock[Turn]) -> Turn | None:
    return held.owner


def is_free(held: TurnLock[Turn]) -> bool:
    return held.free


async def a_little() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_free_lock_is_claimed_at_once_and_others_take_a_place_in_line() -> None:
    held, freed = lock()
    first, second, third = Turn(), Turn(), Turn()
    assert is_free(held)
    held.claim(first)
    held.claim(second)
    held.claim(third)
    held.claim(second)
    held.claim(first)
    assert owner(held) is first
    assert not is_free(held)
    held.release(first)
    assert owner(held) is second, "who claimed again kept its place"
    held.release(second)
    assert owner(held) is third
    assert freed == []
    held.release(third)
    assert (owner(held), held.free, freed) == (None, True, ["free"])


async def test_a_line_without_an_owner_is_not_free() -> None:
    held, _ = lock()
    first, second = Turn(), Turn()
    held.claim(first)
    held.claim(second)
    held.owner = None
    assert not is_free(held)


async def test_all_tasks_of_a_turn_get_the_lock_together_and_before_turns_that_came_later() -> None:
    held, _ = lock()
    first, second, third = Turn(), Turn(), Turn()
    await held.acquire(first)
    await held.acquire(first)
    order: list[str] = []

    async def acquire(turn: Turn, name: str) -> None:
        await held.acquire(turn)
        order.append(name)

    tasks = [asyncio.ensure_future(acquire(turn, name)) for turn, name in ((second, "a"), (third, "c"), (second, "b"))]
    await a_little()
    assert order == []
    held.release(first)
    await a_little()
    assert (order, owner(held)) == (["a", "b"], second)
    held.release(second)
    await asyncio.gather(*tasks)
    assert (order, owner(held)) == (["a", "b", "c"], third)


async def test_the_turn_that_frees_the_lock_may_claim_it_for_the_next() -> None:
    following = Turn()
    held: TurnLock[Turn] = TurnLock(lambda: held.claim(following))
    first = Turn()
    held.claim(first)
    held.release(first)
    assert owner(held) is following


async def test_a_turn_that_leaves_the_line_is_passed_over() -> None:
    held, freed = lock()
    first, second, third = Turn(), Turn(), Turn()
    held.claim(first)
    leaving = asyncio.ensure_future(held.acquire(second))
    waiting = asyncio.ensure_future(held.acquire(third))
    await a_little()
    second.closed = True
    held.release(second)
    await asyncio.wait_for(leaving, 1)
    assert owner(held) is first, "a place in line is not the lock"
    assert freed == []
    held.release(first)
    await asyncio.wait_for(waiting, 1)
    assert owner(held) is third
    held.release(second)
    held.release(first)
    assert owner(held) is third, "who does not hold it cannot release it"


async def test_a_task_that_gave_up_takes_the_lock_from_nobody() -> None:
    held, _ = lock()
    first, second = Turn(), Turn()
    held.claim(first)
    gave_up = asyncio.ensure_future(held.acquire(second))
    stays = asyncio.ensure_future(held.acquire(second))
    await a_little()
    gave_up.cancel()
    await a_little()
    held.release(first)
    await asyncio.wait_for(stays, 1)
    assert gave_up.cancelled()
    assert owner(held) is second


async def test_a_turn_that_has_ended_does_not_wait() -> None:
    held, _ = lock()
    held.claim(Turn())
    ended = Turn(closed=True)
    await asyncio.wait_for(held.acquire(ended), 1)
    assert owner(held) is not ended


async def test_a_turn_that_was_woken_and_has_lost_the_lock_again_waits_again() -> None:
    held, _ = lock()
    first, second, third = Turn(), Turn(), Turn()
    held.claim(first)
    waiting = asyncio.ensure_future(held.acquire(second))
    await a_little()
    held.claim(third)
    held.release(first)
    held.release(second)  # before its task ran
    await a_little()
    assert (owner(held), waiting.done()) == (third, False)
    held.release(third)
    await asyncio.wait_for(waiting, 1)
    assert owner(held) is second
