"""Check the code at hand against the turns that it would resume, before it is deployed.

Each open turn is driven through its recorded steps, as a loom that resumes it does, and stopped where it would continue
for real. Nothing is fetched, performed, asked or written (law 5).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from loom.actors.open_turns import open_turns
from loom.actors.recovery import replayed_turn
from loom.actors.stalling import Stall, divergence
from loom.actors.steps import REACTION
from loom.actors.system import ActorSystem
from loom.actors.turn import Turn
from loom.background import awaiting
from loom.decisions.entries import EvaluatedEntry
from loom.errors import DivergenceError, LoomError, NotReplayableError, PolicyCodeChangedError, UnknownActorError
from loom.journal.entry import Entry, Recorded
from loom.journal.kinds import ENDINGS, CommandReceivedEntry
from loom.journal.store import JournalReader, JournalStore
from loom.replay.turn_verification import TurnVerification, execute, has_turn, verify_turn
from loom.sealing.wording import problems

__all__ = ["TurnCheck", "check_open_turns", "sample_ended_turns"]

_TRIES_FOR_EACH = 20
_LAST_WORDS_S = 1.0


class TurnCheck(BaseModel):
    """Whether the code at hand could resume an open turn.

    `continues`: it asks for every recorded step. `diverges`: it does not, and the turn would wait for a person.
    `cannot_continue`: its code, its command or its policy version is missing, or what it needs cannot be read.
    """

    model_config = ConfigDict(frozen=True)

    journal: str
    command_id: str
    command_type: str | None
    verdict: Literal["continues", "diverges", "cannot_continue"]
    steps: tuple[str, ...] = ()
    """Of a turn that diverges: the first recorded steps that the code does not ask for."""
    reason: str | None = None


async def check_open_turns(store: JournalReader, system: ActorSystem) -> AsyncIterator[TurnCheck]:
    """Yield whether the code at hand could resume each turn without an end."""
    async for entries in open_turns(store):
        yield await _checked(system, entries)


async def sample_ended_turns(
    store: JournalStore, system: ActorSystem, number: int, *, seed: int | None = None
) -> AsyncIterator[TurnVerification]:
    """Drive some ended turns again, chosen at random by their entries, and yield the result of each.

    The more entries a turn has, the likelier it is chosen. Fewer than `number` are yielded where there are not as many.
    """
    chance = random.Random(seed)  # noqa: S311 - a sample, which a seed repeats
    last = store.acknowledged
    done: set[tuple[str, str]] = set()
    for _ in range(number * _TRIES_FOR_EACH if last else 0):
        position = chance.randint(1, last)
        found = (await store.at([position])).get(position)
        if found is None or found.command_id is None or (found.journal, found.command_id) in done:
            continue
        done.add((found.journal, found.command_id))
        entries = await _ended_turn(store, found)
        if entries and has_turn(system, entries[0]):
            yield await verify_turn(system, found.journal, entries)
            number -= 1
        if not number:
            return


async def _ended_turn(store: JournalReader, one: Recorded) -> list[Recorded]:
    """Return the entries of an ended turn of which one is known; none where it has no end."""
    received = await store.find_command(one.journal, str(one.command_id))
    entries: list[Recorded] = []
    if received is None:
        return entries
    async for recorded in store.read(one.journal, after=received.sequence - 1):
        if recorded.command_id == one.command_id:
            entries.append(recorded)
            if recorded.kind in ENDINGS:
                return entries
    return []


async def _checked(system: ActorSystem, entries: list[Recorded]) -> TurnCheck:
    first = entries[0]
    received = first.entry
    base = TurnCheck(
        journal=first.journal,
        command_id=str(first.command_id),
        command_type=received.command_type if isinstance(received, CommandReceivedEntry) else None,
        verdict="continues",
    )
    try:
        turn = await replayed_turn(system.detached_cell(first.journal), entries, compare=_not_compared)
        turn.is_open = True
        _check_policy(turn, entries)
        error = await _driven(turn)
    except UnknownActorError as missing:
        return base.model_copy(update={"verdict": "cannot_continue", "reason": str(missing)})
    except (LoomError, ValidationError) as unreadable:
        words = problems(unreadable, hides=True) if isinstance(unreadable, ValidationError) else str(unreadable)
        return base.model_copy(update={"verdict": "cannot_continue", "reason": words})
    if error is None:
        return base
    return base.model_copy(update={"verdict": "diverges", "steps": tuple(error.expected[:5]), "reason": str(error)})


def _check_policy(turn: Turn, entries: list[Recorded]) -> None:
    """Raise `PolicyCodeChangedError` for a turn that is going to evaluate, and whose rule is not there any more."""
    if turn.policy.has_rule and not any(isinstance(each.entry, EvaluatedEntry) for each in entries):
        turn.services.policies.runnable(turn.policy)


async def _driven(turn: Turn) -> DivergenceError | None:
    """Drive a turn until all its recorded steps are matched; return how it diverges, if it does."""
    steps = turn.recorded_steps
    assert steps is not None  # noqa: S101 - a replayed turn has recorded steps
    if turn.stopped is not None:
        raise turn.stopped
    task = turn.task = turn.host.spawn(execute(turn))
    stall = Stall(turn, steps, turn.services.options.divergence_timeout_s, looks=1)
    try:
        async with awaiting(steps.matched()) as matched:
            while not steps.finished and not task.done():
                if (stalled := stall.look()) is not None:
                    return stalled
                await asyncio.wait([task, matched], timeout=stall.delay_s, return_when=asyncio.FIRST_COMPLETED)
        for _ in range(2 * REACTION):  # so that it may show that it is another branch of its code
            await asyncio.sleep(0)
        return _ended(turn, task)
    finally:
        turn.stop(_over(turn))
        turn.close()
        task.cancel()
        await asyncio.wait([task], timeout=_LAST_WORDS_S)


def _ended(turn: Turn, task: asyncio.Task[object]) -> DivergenceError | None:
    """Return how a turn diverges whose steps are all matched, or whose code ended before."""
    assert turn.recorded_steps is not None  # noqa: S101 - a replayed turn has recorded steps
    if isinstance(turn.stopped, DivergenceError):
        return turn.stopped
    if turn.recorded_steps.finished:
        return None
    if isinstance(turn.stopped, PolicyCodeChangedError | NotReplayableError):
        raise turn.stopped
    error = None if task.cancelled() else task.exception()
    what = "its code replied" if error is None else f"its code raised [{type(error).__name__}]"
    return divergence(turn, turn.recorded_steps, what)


def _over(turn: Turn) -> LoomError:
    return NotReplayableError(
        f"the check of turn [{turn}] is over; expected nothing more of it: await what the turn started",
        reason="checked",
    )


def _not_compared(recorded: Recorded, again: Entry) -> None:
    """Compare nothing: a turn that is resumed gets what was recorded, whatever its code would write."""
