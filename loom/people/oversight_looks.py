"""Blind second looks: decided cases that another person answers again, without the outcome.

A case is drawn by the hash of its answer's entry, which is random: no person can choose which cases are drawn,
drawing twice draws the same ones, and everyone can check the draw.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.decisions.approvals import Approval
from loom.errors import (
    SecondLookAnsweredError,
    SecondLookNotFoundError,
    SelfApprovalError,
)
from loom.identity import By, Identity, derived_id, is_self, short
from loom.journal.entry import Entry, PersonEntry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft
from loom.people.oversight_figures import Look
from loom.policies.evaluation import Evaluation

__all__ = [
    "OVERSIGHT_JOURNAL",
    "BlindCase",
    "SecondLook",
    "SecondLookAnsweredEntry",
    "SecondLookDrawnEntry",
    "SecondLooks",
    "is_drawn",
]

OVERSIGHT_JOURNAL = "loom/oversight"
"""The journal of second looks."""


class SecondLookDrawnEntry(PersonEntry):
    """A decided case is to be looked at again. `answer` is the position of the answer that it is about."""

    kind: ClassVar[str] = "second_look_drawn"
    sources_since: ClassVar[int] = 1

    look_id: str
    approval_id: str
    answer: int
    share: float = Field(gt=0, le=1)
    """The share of all answers that was drawn."""
    by: str


class SecondLookAnsweredEntry(PersonEntry):
    """Another person answered a case without knowing its outcome. `agrees` says whether it is the first answer."""

    kind: ClassVar[str] = "second_look_answered"
    sources_since: ClassVar[int] = 1

    look_id: str
    granted: bool
    agrees: bool
    by: str
    comment: str | None = None


class BlindCase(BaseModel):
    """A case as it was asked: neither how it was answered, nor by whom, nor what came of it."""

    model_config = ConfigDict(frozen=True)

    look_id: str
    role: str
    reason: str
    facts: dict[str, JsonValue] | None
    evaluation: Evaluation | None
    action: str | None
    arguments: dict[str, JsonValue] | None
    requested_by: str | None
    requested_identity_source: str | None
    requested_via: str | None
    drawn_at: datetime

    @property
    def requester(self) -> Identity | None:
        """Who asked, and the source of the name; None where no person was named."""
        by, source, via = self.requested_by, self.requested_identity_source, self.requested_via
        return None if by is None else Identity(by, source, via)

    @classmethod
    def of(cls, look: SecondLook, approval: Approval) -> BlindCase:
        """Return what a second person is shown of a request."""
        return cls(
            look_id=look.look_id,
            role=approval.approver,
            reason=approval.reason,
            facts=approval.facts,
            evaluation=approval.evaluation,
            action=approval.action,
            arguments=approval.arguments,
            requested_by=approval.requested_by,
            requested_identity_source=approval.requested_identity_source,
            requested_via=approval.requested_via,
            drawn_at=look.drawn_at,
        )


class SecondLook(NamedTuple):
    """A drawn case, and its second answer where there is one."""

    look_id: str
    approval_id: str
    answer: int
    drawn_at: datetime
    answered: SecondLookAnsweredEntry | None = None


class SecondLooks:
    """The drawn cases, from one journal: `load` them first."""

    def __init__(self, store: JournalReader, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = SingletonJournal(store, OVERSIGHT_JOURNAL, self._fold, make_draft=make_draft)
        self._looks: dict[str, SecondLook] = {}

    async def load(self) -> None:
        """Read what was journaled since the last call."""
        await self._journal.load()

    @property
    def all(self) -> tuple[SecondLook, ...]:
        """Every drawn case, in order."""
        return tuple(self._looks.values())

    @property
    def answered(self) -> dict[int, Look]:
        """Answer → the second look at it, for those that are answered."""
        return {
            each.answer: Look(each.approval_id, each.answer, each.answered.agrees)
            for each in self._looks.values()
            if each.answered is not None
        }

    def get(self, look_id: str) -> SecondLook:
        """Return the drawn case with this id, or the only one whose id begins with it."""
        found = [each for each in self._looks.values() if look_id and each.look_id.startswith(look_id)]
        if len(found) == 1:
            return found[0]
        raise SecondLookNotFoundError(
            f"second look [{look_id!r:.80}] is {'ambiguous' if found else 'not known'}; expected [the id of one, or an "
            "unambiguous beginning of it]: see `loom oversight looks`"
        )

    async def draw(self, approval_id: str, answer: int, *, share: float, by: Identity) -> bool:
        """Journal that a case is to be looked at again; return whether it was not drawn before."""
        look_id = derived_id("second-look", approval_id, str(answer))
        entry = SecondLookDrawnEntry(
            look_id=look_id, approval_id=approval_id, answer=answer, share=share, **by.written()
        )
        is_new = False

        def missing() -> Entry | None:
            nonlocal is_new
            is_new = look_id not in self._looks
            return entry if is_new else None

        await self._journal.append_if_missing(missing)
        return is_new

    async def answer(
        self, look: SecondLook, approval: Approval, *, granted: bool, by: By, comment: str | None
    ) -> SecondLook:
        """Journal a second answer, and whether it agrees with the first one.

        Raises `SelfApprovalError` for a person who asked for the case or answered it, `SecondLookAnsweredError` where
        it has been answered again already.
        """
        who = Identity.of(by)
        first = {event.position: event for event in approval.events}[look.answer]
        others = [event.by for event in approval.events if event.event in ("granted", "denied")]
        if is_self(who, approval.requested_by, *others):
            raise SelfApprovalError(
                f"second look [{short(look.look_id)}] would be answered by [{who.name}], who asked for the case or "
                "answered it before; expected another person: ask one"
            )
        entry = SecondLookAnsweredEntry(
            look_id=look.look_id,
            granted=granted,
            agrees=granted == (first.event == "granted"),
            comment=comment,
            **who.written(),
        )

        def missing() -> Entry | None:
            held = self._looks[look.look_id].answered
            if held is not None:
                raise SecondLookAnsweredError(
                    f"second look [{short(look.look_id)}] is answered already, by [{held.by}]; expected an open one: "
                    "see `loom oversight looks`"
                )
            return entry

        await self._journal.append_if_missing(missing)
        return self._looks[look.look_id]

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, SecondLookDrawnEntry):
            look = SecondLook(entry.look_id, entry.approval_id, entry.answer, recorded.recorded_at)
            self._looks.setdefault(entry.look_id, look)
        elif isinstance(entry, SecondLookAnsweredEntry) and entry.look_id in self._looks:
            look = self._looks[entry.look_id]
            if look.answered is None:
                self._looks[entry.look_id] = look._replace(answered=entry)


def is_drawn(entry_hash: bytes, share: float) -> bool:
    """Tell whether the entry with this hash is among a share of all. A larger share has all of a smaller one."""
    return int.from_bytes(entry_hash[:8], "big") < share * 2**64
