"""Taking up an ended turn again, by a person: a new attempt of a failed one, or a fork of any.

The turn that takes it up is journaled with one append, and is then resumed, as one that was interrupted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from pydantic import JsonValue, ValidationError

from loom.actors.actor import commands_of
from loom.actors.cell import Cell
from loom.actors.change_entries import TurnTakenUpEntry
from loom.actors.command import COMMANDS, Command
from loom.actors.protected import is_protected, opened_payload
from loom.actors.steps import step_of
from loom.actors.system import ActorSystem
from loom.actors.taking_up import kept_steps, taken_up, turn_entries, unsure_effect
from loom.background import finished
from loom.errors import AdmissionError, CommandConflictError, EffectInDoubtError, NotReplayableError, TurnNotFoundError
from loom.identity import short
from loom.journal.entry import Recorded
from loom.journal.kinds import CommandReceivedEntry, TurnCompletedEntry, TurnFailedEntry
from loom.sealing.wording import problems, without_words

__all__ = ["sequence_of_step", "take_up"]


async def take_up(
    system: ActorSystem,
    journal: str,
    entry: TurnTakenUpEntry,
    *,
    command_id: str,
    at: int | str | None = None,
    changed: dict[str, JsonValue] | None = None,
) -> None:
    """Begin a turn that takes up an earlier one, and let it run where turns are resumed.

    `at` is the first step that is done again, by its sequence or as text; `changed` are fields of the command that the
    new turn gets with other values. Raises `TurnNotFoundError` for a turn that cannot be taken up so,
    `EffectInDoubtError` where an effect may happen twice, and `PolicyCodeChangedError` or `PolicyNotRegisteredError`
    where its policy version is gone.
    """
    cell = await system.cell(journal)

    async def one_at_a_time() -> None:
        async with cell.operator_lock:
            await _take_up(system, cell, entry, command_id=command_id, at=at, changed=changed)

    await finished(cell.keep_awake_for(one_at_a_time()))


async def _take_up(
    system: ActorSystem,
    cell: Cell,
    entry: TurnTakenUpEntry,
    *,
    command_id: str,
    at: int | str | None,
    changed: dict[str, JsonValue] | None,
) -> None:
    store, earlier = cell.services.store, await turn_entries(cell.services.store, cell.journal, entry.command_id)
    received = earlier[0].entry if earlier else None
    if not isinstance(received, CommandReceivedEntry) or any(each.body is None for each in earlier):
        raise NotReplayableError(
            f"turn [{cell.journal}#{entry.command_id}] cannot be taken up, as entries of it are gone; expected all of "
            "them: send a new command",
            reason="not_resumable: erased",
        )
    if entry.how == "retry":
        entry = await _checked_retry(cell, earlier, entry)
    if await store.find_command(cell.journal, command_id) is not None:
        raise CommandConflictError(
            f"command id [{command_id}] of journal [{cell.journal}] came before; expected a new one: use another id"
        )
    before = await taken_up(store, earlier)
    whole = [*(before.entries if before else ()), *earlier]
    entry = entry.model_copy(update={"before": None if at is None else sequence_of_step(whole, at)})
    version = cell.services.policies.resolve_hash(earlier[0].policy_hash or b"")
    if version.has_rule:
        cell.services.policies.runnable(version)
    kept, _ = kept_steps(whole, before=entry.before, fork=entry.how == "fork")
    unsure = None if entry.how == "fork" or entry.perform else unsure_effect(whole, kept)
    if unsure is not None:
        raise EffectInDoubtError(
            f"effect [{unsure}] of turn [{cell.journal}#{entry.command_id}] may have happened, and is not repeatable; "
            "expected a person to check: retry with --perform to have it done again"
        )
    command = await _command(cell, received, changed)
    text = await system.messenger.again(command, command_id, journal=cell.journal, first=received)
    drafts = (
        cell.draft(text, command_id=command_id, policy_hash=version.hash_bytes),
        cell.draft(entry, command_id=command_id, policy_hash=version.hash_bytes),
    )
    written = cell.write_together(drafts)
    cell.open[command_id] = cell.sequence - 1
    await asyncio.shield(written)
    if system.resumes:
        cell.resume(await cell.resumable([await turn_entries(store, cell.journal, command_id)], drive=True))
        cell.inbox.match()


async def _checked_retry(cell: Cell, earlier: Sequence[Recorded], entry: TurnTakenUpEntry) -> TurnTakenUpEntry:
    """Return the entry of a new attempt; one at a time, of a turn that failed and was not made good since."""
    name, end = f"turn [{cell.journal}#{entry.command_id}]", earlier[-1].entry
    if not isinstance(end, TurnFailedEntry) or end.reason in ("erased", "not_resumable"):
        raise TurnNotFoundError(f"{name} has not failed in a way that can be tried again; expected one that has")
    before = next((each.entry for each in earlier if isinstance(each.entry, TurnTakenUpEntry)), None)
    if before is not None and before.how == "retry":
        recovers = (*before.recovers, entry.command_id)
    else:
        recovers = (entry.command_id,)

    def is_open(recorded: Recorded) -> bool:
        return recorded.command_id in cell.open

    async for recorded in cell.services.store.read(cell.journal, after=earlier[-1].sequence):
        other = recorded.entry
        if isinstance(other, TurnCompletedEntry) and other.attempt and recorded.command_id in recovers:
            raise TurnNotFoundError(
                f"{name} was made good by attempt [{short(other.attempt)}]; expected one that is still failed: ask "
                "with its id for its reply"
            )
        if isinstance(other, TurnTakenUpEntry) and set(other.recovers) & set(recovers) and is_open(recorded):
            raise TurnNotFoundError(
                f"{name} is being tried again as [{short(str(recorded.command_id))}]; expected one attempt at a time: "
                "wait for its end, or abandon it"
            )
    return entry.model_copy(update={"recovers": recovers})


async def _command(cell: Cell, received: CommandReceivedEntry, changed: dict[str, JsonValue] | None) -> Command[object]:
    """Return the command of the new turn: that of the earlier one, with some fields changed."""
    commands = commands_of(cell.cls)
    payload, lost = await opened_payload(cell.services.vault, received, commands)
    if lost is not None:
        raise NotReplayableError(
            f"command [{received.command_type}] of journal [{cell.journal}] is [{lost}]; expected one that can be "
            "read: send a new command",
            reason=f"not_resumable: {lost}",
        )
    if changed is None:
        return COMMANDS.decode(received.command_type, payload, among=commands)
    if not isinstance(payload, dict):
        raise AdmissionError(
            f"command [{received.command_type}] has no fields; expected some to change: leave out with"
        )
    try:
        cls = COMMANDS.class_of(received.command_type, among=commands)
        return cls.model_validate_json(json.dumps({**payload, **changed}), extra="forbid")
    except ValidationError as error:
        hides = is_protected(cls)
        given = ", ".join(changed) if hides else json.dumps(changed)
        raise AdmissionError(
            f"command [{received.command_type}] cannot have [{given:.200}]: [{problems(error, hides=hides)}]; "
            "expected fields of that command: correct them"
        ) from (without_words(error) if hides else error)


def sequence_of_step(entries: Sequence[Recorded], at: int | str) -> int:
    """Return the sequence of the first entry of a step of a turn: by a sequence, or by its text as the journal has it.

    Raises `AdmissionError` where there is no such step, with those that there are.
    """
    steps: dict[str, int] = {}
    for each in entries:
        step = step_of(each)
        if step is not None and step.verb != "back_off":
            steps.setdefault(str(step), each.sequence)
    firsts = set(steps.values())
    if isinstance(at, int) or at.isdecimal():
        number = int(at)
        if number in firsts:
            return number
    else:
        found = [sequence for text, sequence in steps.items() if text == at] or [
            sequence for text, sequence in steps.items() if text.startswith(at)
        ]
        if len(found) == 1:
            return found[0]
    listed = ", ".join(f"{sequence} {text}" for text, sequence in list(steps.items())[:20])
    raise AdmissionError(
        f"step [{at!s:.200}] is no one step of the turn; expected one of [{listed or 'none: it has no steps'}]: name "
        "it by its sequence, or by the beginning of its text"
    )
