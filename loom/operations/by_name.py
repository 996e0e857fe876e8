"""Operations: what a running loom can do or report on request, by name, with plain JSON in and out.

The control socket serves them to the shell of the same machine, and the shell calls them itself where it has opened
the workspace. Everything a person does is done in the given name (law 6).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, JsonValue, ValidationError

from loom.actors import ActorSystem, Approvals, Turns
from loom.actors.checkpointing import Checkpoints
from loom.archive import Adoption, Archives, BodyPruning, Due, Retention
from loom.background import Background, awaiting
from loom.config import LoomConfig
from loom.decisions import Runs
from loom.errors import ControlError
from loom.evolution import Suggestions
from loom.extension import Extension
from loom.identity import Edge
from loom.journal.store import JournalStore
from loom.operations.actors import RestartActor, actor_restarted, actors_listed
from loom.operations.answering import deny, grant, inform, list_approvals, send_back, show_approval
from loom.operations.archives import (
    AddArchive,
    EncryptArchive,
    PruneArchive,
    add_archive,
    encrypt_archive,
    prune_archive,
)
from loom.operations.arguments import (
    Abandon,
    Adopt,
    AuditDecisions,
    CompareDecisions,
    Deny,
    EndRun,
    Fork,
    Grant,
    Inform,
    Judge,
    JudgeDecisions,
    Keep,
    ListApprovals,
    ListTurns,
    Look,
    Nothing,
    Register,
    ResolveContradiction,
    Retry,
    Send,
    SendBack,
    ShowApproval,
)
from loom.operations.contradicting import resolve_contradiction
from loom.operations.judging import audit_decisions, compare_decisions, judge_decisions, keep_judgement
from loom.operations.oversight import oversight_operations
from loom.operations.people import known_as, people_operations
from loom.operations.policies import adopt_suggestion, adopt_version, approve_suggestion, register_table
from loom.operations.pruning import PruneClear, PruneSubject, prune_clear, prune_subject, scan_clear
from loom.operations.retention import (
    AdoptRetention,
    RunRetention,
    WithdrawRetention,
    adopt_retention,
    list_due,
    run_retention,
    withdraw_retention,
)
from loom.operations.sending import command_of, ending_of
from loom.operations.subjects import (
    EraseSubject,
    ExportSubject,
    HoldSubject,
    LiftHold,
    erase_subject,
    export_subject,
    hold_subject,
    lift_hold,
)
from loom.people import People
from loom.people.oversight import Oversight
from loom.precedents import OpenContradictions
from loom.projections import ProjectionStatus
from loom.replay import Replay
from loom.replay.audit import AuditedPolicies
from loom.sealing import HandingOut, Subjects
from loom.sealing.wording import problems

__all__ = ["Operations", "Served"]

_IN_PROCESS = Edge("python")
_FIRST_LOOK_S = 0.01
_LOOK_EVERY_S = 0.25
_MOST = 10_000


class Served(Protocol):
    """What operations need of a loom that is open."""

    actors: ActorSystem
    approvals: Approvals
    background: Background
    contradictions: OpenContradictions
    oversight: Oversight
    people: People
    replay: Replay
    runs: Runs
    store: JournalStore
    subjects: Subjects
    suggestions: Suggestions
    turns: Turns

    @property
    def policies(self) -> AuditedPolicies:
        """The registry of policies."""
        ...

    @property
    def config(self) -> LoomConfig:
        """What it is set to."""
        ...

    @property
    def workspace(self) -> str:
        """The name of the workspace."""
        ...

    @property
    def extensions(self) -> Sequence[Extension]:
        """The extensions that it was opened with."""
        ...

    @property
    def parts(self) -> Mapping[str, Any]:
        """What its extensions started."""
        ...

    def projections(self) -> tuple[ProjectionStatus, ...]:
        """Return the position of each projection."""
        ...


class Operations:
    """The operations of one open loom."""

    def __init__(self, loom: Served) -> None:
        self._loom = loom
        proposed = (loom.policies, loom.suggestions)
        retention = Retention.of(loom.config.retention)
        archives = Archives(loom.store, retention=retention, subjects=loom.subjects)
        adoption = Adoption(loom.store, retention)
        checkpoints = Checkpoints(loom.actors, loom.subjects)
        pruning = BodyPruning(loom.store, archives, loom.subjects, checkpoints, retention=retention)
        due = Due(
            loom.store, adoption, loom.subjects.erasures, now=loom.store.now, vault=loom.subjects.vault, pruning=pruning
        )
        handing_out = HandingOut(loom.store, loom.subjects)
        self._table: dict[str, _Operation] = {
            "actors.list": _Operation(Nothing, partial(actors_listed, loom.actors)),
            "actors.restart": _Operation(RestartActor, partial(actor_restarted, loom.actors)),
            "actors.send": _Operation(Send, self._send),
            "archives.add": _Operation(AddArchive, partial(add_archive, archives)),
            "archives.encrypt": _Operation(
                EncryptArchive, partial(encrypt_archive, loom.store, archives, loom.subjects, retention)
            ),
            "archives.prune": _Operation(PruneArchive, partial(prune_archive, archives, loom.actors)),
            "approvals.deny": _Operation(Deny, partial(deny, loom.approvals)),
            "approvals.grant": _Operation(Grant, partial(grant, loom.approvals)),
            "approvals.inform": _Operation(Inform, partial(inform, loom.approvals)),
            "approvals.list": _Operation(ListApprovals, partial(list_approvals, loom.approvals)),
            "approvals.send_back": _Operation(SendBack, partial(send_back, loom.approvals)),
            "approvals.show": _Operation(ShowApproval, partial(show_approval, loom.approvals)),
            **{name: _Operation(*each) for name, each in oversight_operations(loom.oversight).items()},
            **{name: _Operation(*each) for name, each in people_operations(loom.people).items()},
            "contradictions.resolve": _Operation(
                ResolveContradiction, partial(resolve_contradiction, loom.contradictions)
            ),
            "policies.audit": _Operation(AuditDecisions, partial(audit_decisions, loom.policies, loom.replay)),
            "policies.adopt": _Operation(Adopt, partial(adopt_version, loom.policies)),
            "policies.register": _Operation(Register, partial(register_table, loom.policies)),
            "replay.keep": _Operation(Keep, partial(keep_judgement, loom.replay)),
            "replay.judge": _Operation(JudgeDecisions, partial(judge_decisions, loom.replay)),
            "replay.compare": _Operation(CompareDecisions, partial(compare_decisions, loom.replay)),
            "subjects.erase": _Operation(EraseSubject, partial(erase_subject, loom.subjects)),
            "subjects.export": _Operation(ExportSubject, partial(export_subject, handing_out)),
            "subjects.hold": _Operation(HoldSubject, partial(hold_subject, loom.subjects)),
            "subjects.lift": _Operation(LiftHold, partial(lift_hold, loom.subjects)),
            "subjects.prune": _Operation(PruneSubject, partial(prune_subject, loom.store, loom.subjects, pruning)),
            "subjects.prune_clear": _Operation(PruneClear, partial(prune_clear, loom.store, loom.actors, pruning)),
            "subjects.scan": _Operation(Nothing, partial(scan_clear, loom.store, loom.actors)),
            "suggestions.adopt": _Operation(Judge, partial(adopt_suggestion, *proposed)),
            "suggestions.approve": _Operation(Judge, partial(approve_suggestion, *proposed)),
            "suggestions.look": _Operation(Look, self._look),
            "suggestions.reject": _Operation(Judge, self._reject_suggestion),
            "retention.adopt": _Operation(AdoptRetention, partial(adopt_retention, adoption)),
            "retention.due": _Operation(Nothing, partial(list_due, due)),
            "retention.run": _Operation(RunRetention, partial(run_retention, due, archives, loom.actors)),
            "retention.withdraw": _Operation(WithdrawRetention, partial(withdraw_retention, adoption)),
            "runs.end": _Operation(EndRun, self._end_run),
            "status": _Operation(Nothing, self._status),
            "turns.abandon": _Operation(Abandon, self._abandon),
            "turns.fork": _Operation(Fork, self._fork),
            "turns.list": _Operation(ListTurns, self._list_turns),
            "turns.retry": _Operation(Retry, self._retry),
        }
        for extension in loom.extensions:
            for word, brought in extension.operations.items():
                work = partial(brought.work, loom.parts.get(extension.name))
                self._table[f"{extension.name}.{word}"] = _Operation(brought.arguments, work)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all operations, in order."""
        return tuple(sorted(self._table))

    def arguments(self) -> Mapping[str, frozenset[str]]:
        """Return, by the name of each operation, what it is given."""
        return {name: frozenset(each.arguments.model_fields) for name, each in self._table.items()}

    async def call(self, name: str, arguments: Mapping[str, JsonValue], *, edge: Edge = _IN_PROCESS) -> JsonValue:
        """Do the named operation and return its result as plain JSON; raise `ControlError` for an unknown name.

        `edge` is where the arguments came in, and what is known of the account that sent them.
        """
        operation = self._table.get(name)
        if operation is None:
            raise ControlError(
                f"operation [{name!r:.80}] is not known here; expected one of [{', '.join(self.names)}]: "
                "the shell may be of another version than the running loom",
                kind="invalid",
            )
        try:
            given = operation.arguments.model_validate(dict(arguments), context={"edge": edge})
        except ValidationError as error:
            raise ControlError(
                f"operation [{name}] was asked for with [{problems(error, hides=False)}]; expected other arguments: "
                "correct them",
                kind="invalid",
            ) from error
        return await operation.work(known_as(self._loom.people, given))

    # --- people ---------------------------------------------------------------------------------

    async def _retry(self, given: Retry) -> JsonValue:
        return _model_json(
            await self._loom.turns.retry(given.id, by=given.by, reason=given.reason, perform=given.perform)
        )

    async def _fork(self, given: Fork) -> JsonValue:
        forked = await self._loom.turns.fork(
            given.id,
            at=given.at,
            by=given.by,
            changed=given.changed,
            perform=given.perform,
            reason=given.reason,
            id=given.new_id,
        )
        return _model_json(forked)

    async def _abandon(self, given: Abandon) -> JsonValue:
        return _model_json(await self._loom.turns.abandon(given.id, by=given.by, reason=given.reason))

    async def _look(self, given: Look) -> JsonValue:
        return [_model_json(each) for each in await self._loom.suggestions.look(given.policy)]

    async def _reject_suggestion(self, given: Judge) -> JsonValue:
        return _model_json(await self._loom.suggestions.reject(given.id, by=given.by, reason=given.reason))

    async def _end_run(self, given: EndRun) -> JsonValue:
        run = await self._loom.runs.get(given.id)
        await self._loom.runs.end(run.run_id, status=given.status, reason=given.reason, by=given.by)
        return _model_json(await self._loom.runs.get(run.run_id))

    # --- asking ---------------------------------------------------------------------------------

    async def _list_turns(self, given: ListTurns) -> JsonValue:
        found: list[JsonValue] = []
        async for each in self._loom.turns.every(unfinished=given.unfinished, journal=given.journal):
            if given.status in (None, each.status):
                found.append(_model_json(each))
            if len(found) == given.limit:
                break
        return found

    async def _status(self, _: Nothing) -> JsonValue:
        loom = self._loom
        return {
            "workspace": loom.workspace,
            "pid": os.getpid(),
            "position": loom.store.acknowledged,
            "actors_awake": loom.actors.awake,
            "resumes": loom.actors.resumes,
            "projections": [
                {"name": each.name, "position": each.position, "lag": each.lag, "failed": each.failed}
                for each in loom.projections()
            ],
            "background": {
                "running": list(loom.background.running),
                "failed": [each._asdict() for each in loom.background.failures],
            },
            "operations": list(self.names),
        }

    # --- commands -------------------------------------------------------------------------------

    async def _send(self, given: Send) -> JsonValue:
        """Send a command and wait until its turn has ended or waits for a person, for `timeout_s` at most."""
        system = self._loom.actors
        cell = system.detached_cell(given.journal)
        command = command_of(cell.cls, given.command_type, given.payload)
        command_id = given.id or system.services.sources.new_id()
        asking = system.messenger.ask(cell.cls, cell.key, command, command_id=command_id, by=given.by)
        async with awaiting(asking) as asked:  # on the way out the wait is cancelled, never the turn
            status = await self._settled(asked, given.journal, command_id, given.timeout_s)
            said: dict[str, JsonValue] = {"journal": given.journal, "command_id": command_id, "status": status}
            if status == "ended":
                return {**said, **ending_of(asked)}
            waits_for = [
                _model_json(each)
                for each in await self._loom.approvals.list(status="pending", limit=_MOST)
                if (each.journal, each.command_id) == (given.journal, command_id)
            ]
            return {**said, "reply": None, "error": None, "approvals": waits_for}

    async def _settled(
        self, asked: asyncio.Future[JsonValue], journal: str, command_id: str, timeout_s: float | None
    ) -> str:
        loop = asyncio.get_running_loop()
        end = None if timeout_s is None else loop.time() + timeout_s
        look_after = _FIRST_LOOK_S
        while True:
            done, _ = await asyncio.wait({asked}, timeout=look_after)
            if done:
                return "ended"
            turn = self._loom.actors.running(journal, command_id)
            if turn is not None and turn.parked:
                return "parked"
            if end is not None and loop.time() >= end:
                return "running"
            look_after = min(look_after * 2, _LOOK_EVERY_S)


# --- what operations are given -------------------------------------------------------------------


class _Operation(NamedTuple):
    arguments: type[BaseModel]
    work: Callable[[Any], Awaitable[JsonValue]]


# --- plain words and values ----------------------------------------------------------------------


def _model_json(model: BaseModel) -> JsonValue:
    plain: JsonValue = model.model_dump(mode="json")
    return plain
