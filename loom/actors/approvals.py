"""Answers to requests for approval: by named people, or by a deadline, which can only deny or pass on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from loom.actors import interventions
from loom.actors.answers import Answer, Intervention, delivered_again, informed
from loom.actors.distinguishing import distinguished, earlier_cases
from loom.actors.keyed_lock import KeyedLock
from loom.actors.previewing import ChangesPreview, check_changes, preview_changes
from loom.actors.reminders import Reminders
from loom.actors.requests import asked_us
from loom.actors.services import Services
from loom.actors.system import ActorSystem
from loom.clock import datetime_from_us, instant
from loom.decisions.approvals import Approval, ApprovalChains
from loom.decisions.entries import ApprovalAnsweredEntry, ApprovalEscalatedEntry
from loom.decisions.quorum import after_deadline
from loom.decisions.shown import Shown
from loom.errors import (
    AdmissionError,
    ApprovalAnsweredError,
    ApprovalExpiredError,
    ConfigError,
    LoomError,
    SelfApprovalError,
)
from loom.identity import By, Identity, is_self, short
from loom.journal.kinds import CommandReceivedEntry
from loom.precedents.answered import EarlierAnswers
from loom.sealing import Openings, SealedValue
from loom.sealing.facts import placeholders_in
from loom.telemetry import get_logger

__all__ = ["Approvals"]

_log = get_logger("loom.actors")


class Approvals:
    """The requests for approval of a loom, and the only way to answer them."""

    def __init__(self, system: ActorSystem, chains: ApprovalChains, openings: Openings | None = None) -> None:
        self._system = system
        self._services: Services = system.services
        self._requests = system.services.requests
        self._chains = chains
        self._openings = openings
        self._lock = KeyedLock()
        self._eligibility = system.services.eligibility
        self.reminders = Reminders(system)
        """When pending requests are delivered again."""

    async def pending(self, approver: str | None = None, *, limit: int = 100, after: int = 0) -> tuple[Approval, ...]:
        """Return the pending requests, oldest first; `after` is the position of the last one already seen."""
        return await self._chains.pending(approver, limit=limit, after=after)

    async def list(
        self, *, status: str | None = None, approver: str | None = None, limit: int = 50, before: int | None = None
    ) -> tuple[Approval, ...]:
        """Return requests of any status, newest first; `before` is the position of the last one already seen."""
        return await self._chains.list(status=status, approver=approver, limit=limit, before=before)

    async def get(self, approval_id: str) -> Approval:
        """Return a request by its id or an unambiguous beginning of it."""
        return await self._chains.get(approval_id)

    async def shown(self, approval_id: str, *, by: By, reason: str | None = None) -> Approval:
        """Return a request, opened for its approver; the access is journaled in `loom/access` first.

        It is allowed to the approver that the request names now, or to a person who holds that role by the directory,
        and to readers: by an identity that was established. Values that were erased since are `erased`; if there is
        one, or nothing opens, the others stay `sealed`. Raises `NotAReaderError`, and `ConfigError` where there is no
        vault.
        """
        approval, subjects = await self._chains.get(approval_id), self._services.subjects
        sealed = [each for _, each in placeholders_in(approval.facts) if isinstance(each, SealedValue)]
        if not sealed or approval.facts is None:
            return approval
        if subjects is None or self._openings is None:
            raise ConfigError("there is no vault; expected [sealing: {enabled: true}] in the config")
        readable = {each.subject for each in sealed if not subjects.erasures.is_ended(each.subject, each.generation)}
        opened = await self._openings.show(
            readable,
            to=by,
            asked_of=await self._eligibility.asked_of(approval, Identity.of(by), await self._requesters(approval)),
            reason=reason or f"asked for consent: {approval.reason}",
            what={"approval_id": approval.approval_id, "journal": approval.journal, "shown": approval.shown},
        )
        found = await opened.facts(approval.facts)
        facts: Any = subjects.erasures.shown(approval.facts) if found.facts is None else found.facts
        return approval.model_copy(update={"facts": facts})

    async def grant(
        self,
        approval_id: str,
        *,
        by: By,
        comment: str | None = None,
        changes: Mapping[str, JsonValue] | None = None,
        shown: Shown | None = None,
        distinguished: str | None = None,
    ) -> Approval:
        """Grant a request in the name of a person, who must not be the requester; return it as answered.

        `changes` are values other than those asked for, where the request permits them. `shown` says what the person
        saw, and `distinguished` why the case differs from earlier ones that were answered otherwise.
        """
        given = Answer(True, comment=comment, changes=changes or {}, shown=shown, distinguished=distinguished)
        return await self._answer(approval_id, given, who=Identity.of(by))

    async def deny(
        self,
        approval_id: str,
        *,
        by: By,
        comment: str,
        shown: Shown | None = None,
        distinguished: str | None = None,
    ) -> Approval:
        """Deny a request in the name of a person, and say why; return it as answered. The rest is as in `grant`."""
        if not (comment or "").strip():
            raise AdmissionError("a denial has no comment; expected the reason in a person's words: add a comment")
        given = Answer(False, comment=comment, shown=shown, distinguished=distinguished)
        return await self._answer(approval_id, given, who=Identity.of(by))

    async def send_back(self, approval_id: str, *, by: By, question: str, shown: Shown | None = None) -> Approval:
        """Send a request back with a question, in the name of a person; return it as it is then.

        It waits for `inform`, and its deadline holds; or its turn gets the question, where it asked for that.
        """
        if not question.strip():
            raise AdmissionError("a request is sent back without a question; expected what the approver has to know")
        return await self._answer(approval_id, Answer(False, question=question, shown=shown), who=Identity.of(by))

    async def inform(self, approval_id: str, *, by: By, information: str) -> Approval:
        """Answer the question with which a request was sent back, and deliver it again; return it as it is then."""
        if not information.strip():
            raise AdmissionError("information is blank; expected what the approver asked for: say it")
        who = Identity.of(by)
        approval_id = (await self._chains.get(approval_id)).approval_id
        async with self._lock.hold(approval_id):
            approval = await self._chains.again(await self._chains.get(approval_id))
            _check_pending(approval)
            if approval.question is None:
                raise ApprovalAnsweredError(
                    f"approval [{short(approval_id)}] has no open question; expected one that was sent back: see "
                    "`loom approvals`"
                )
            request = informed(approval, who, information)
            await self._append(approval, request)
        await self._services.deliver(delivered_again(approval, request), journal=approval.journal)
        return await self._chains.again(approval)

    async def preview(self, approval_id: str, changes: Mapping[str, JsonValue]) -> ChangesPreview:
        """Return what would come of granting a request with changes: nothing is done.

        Raises `AdmissionError` for changes that the request does not permit.
        """
        return await preview_changes(self._services, await self._chains.get(approval_id), changes)

    async def earlier(self, approval_id: str) -> EarlierAnswers:
        """Return how people answered earlier cases of the class of a request; none where it has no class."""
        return await earlier_cases(self._services, await self._chains.get(approval_id))

    async def expire_due(self) -> int:
        """Deny or pass on every request whose deadline has passed; return how many were handled."""
        done = 0
        while due := await self._requests.due():
            seen_to = [await self._expire_quietly(approval) for approval in due]
            done += sum(seen_to)
            if not all(seen_to):
                break
        return done

    async def next_deadline(self) -> datetime | None:
        """Return the next deadline of the pending requests."""
        following = await self._requests.next_deadline()
        return None if following is None else following[0]

    async def _answer(self, approval_id: str, given: Answer, *, who: Identity) -> Approval:
        approval = await self._chains.get(approval_id)
        approval_id = approval.approval_id
        async with self._lock.hold(approval_id):
            approval = await self._chains.again(approval)
            _check_pending(approval)
            requesters = await self._requesters(approval)
            if is_self(who, *(each.name for each in requesters), approval.journal, approval.actor_type):
                raise SelfApprovalError(
                    f"approval [{short(approval_id)}] was requested by [{approval.requested_by or approval.journal}]; "
                    f"expected a person other than [{who.name}] to answer it: ask another person"
                )
            if await self._requests.expired(approval):
                await self._append(approval, await self._at_deadline(approval))
                raise ApprovalExpiredError(
                    f"approval [{short(approval_id)}] expired at [{approval.deadline:%Y-%m-%d %H:%M:%S} UTC]; expected "
                    f"an answer before that: it was {'denied' if approval.on_deadline == 'deny' else 'passed on'}"
                )
            confirmed = await self._eligibility.confirm(approval, who, requesters, granted=given.granted)
            await check_changes(self._services, approval, given.changes)
            given = await distinguished(self._services, approval, given)
            entry = given.entry(approval, who)
            written = (
                confirmed.written() if given.question is None else {**confirmed.written(), "decides": entry.decides}
            )
            await self._append(approval, entry.model_copy(update=written))
            approval = await self._chains.again(approval)
        await self._deny_if_hopeless(approval)
        return await self._chains.again(approval)

    async def _requesters(self, approval: Approval) -> tuple[Identity, ...]:
        """Return the requesters, by the request and by the command of its turn; they must not answer it."""
        assert approval.command_id is not None  # noqa: S101 - only turns ask
        received = await self._services.store.find_command(approval.journal, approval.command_id)
        sender = received.entry.identity if received and isinstance(received.entry, CommandReceivedEntry) else None
        return tuple(each for each in (approval.requester, sender) if each is not None)

    @property
    def has_directory(self) -> bool:
        """Whether a directory says who may answer."""
        return self._eligibility.has_directory

    async def deny_hopeless(self) -> None:
        """Deny every request that cannot be granted any more.

        The directory may have changed, or the delegate of an absent person may have had the last voice.
        """
        for approval in await self._requests.pending():
            try:
                await self._deny_if_hopeless(approval)
            except LoomError as error:
                _log.warning("request_not_looked_at", approval=approval.approval_id, error=str(error))

    async def _deny_if_hopeless(self, approval: Approval) -> None:
        """Deny a request that too few are left to grant (law 6)."""
        if not approval.pending or not self._eligibility.has_directory:
            return
        async with self._lock.hold(approval.approval_id):
            approval = await self._chains.again(approval)
            why = await self._eligibility.hopeless(approval, await self._requesters(approval))
            if approval.pending and why is not None:
                denied = ApprovalAnsweredEntry(
                    approval_id=approval.approval_id, granted=False, by=None, shown=approval.shown, comment=why
                )
                await self._append(approval, denied)

    async def _expire_quietly(self, approval: Approval) -> bool:
        """Do what a request says for its deadline; one that fails now does not delay the others."""
        try:
            async with self._lock.hold(approval.approval_id):
                approval = await self._chains.again(approval)
                if approval.pending and await self._requests.expired(approval):
                    await self._append(approval, await self._at_deadline(approval))
        except LoomError as error:
            _log.warning("deadline_not_seen_to", approval=approval.approval_id, error=str(error))
            return False
        return True

    async def _at_deadline(self, approval: Approval) -> ApprovalAnsweredEntry | ApprovalEscalatedEntry:
        """Return the answer that the request names for its deadline; a deadline never grants (law 6)."""
        assert approval.deadline is not None  # noqa: S101 - it has come
        following = after_deadline(approval.asked)
        if following is not None:
            patience = await self._patience(approval)  # each has as long as the one before
            now = instant(self._services.sources.clock)
            deadline = datetime_from_us(now.now_us) + patience
            self._requests.set_deadline(approval.approval_id, deadline, at=now)
            return ApprovalEscalatedEntry(
                approval_id=approval.approval_id,
                approver=following.approver,
                passed_over=approval.approver,
                deadline=deadline,
            )
        return ApprovalAnsweredEntry(
            approval_id=approval.approval_id,
            granted=False,
            by=None,
            shown=approval.shown,
            comment=f"no answer before the deadline {approval.deadline:%Y-%m-%d %H:%M:%S} UTC",
        )

    async def _patience(self, approval: Approval) -> timedelta:
        """Return how much time the last approver had for an answer, by the clock as it was then."""
        assert approval.deadline is not None  # noqa: S101 - it has come
        assert approval.command_id is not None  # noqa: S101 - only turns ask
        marks = await self._services.store.marks([(approval.journal, approval.command_id)])
        said_us = asked_us(approval, {each.position: each for each in marks})
        return max(approval.deadline - datetime_from_us(said_us), timedelta(0))

    async def _append(self, approval: Approval, entry: Intervention) -> None:
        assert approval.command_id is not None  # noqa: S101 - only turns ask
        try:
            await interventions.answer(self._system, approval.journal, approval.command_id, entry)
        finally:  # whatever came of it
            self._requests.look_again(approval.journal, approval.command_id)


def _check_pending(approval: Approval) -> None:
    if not approval.pending:
        raise ApprovalAnsweredError(
            f"approval [{short(approval.approval_id)}] is [{approval.status}] by [{approval.answerer or 'no one'}]; "
            "expected one that is pending: see `loom approvals`"
        )
