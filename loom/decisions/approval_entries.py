"""The entries of approvals: a request, its answers, and that it was passed on."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal, TypeGuard

from pydantic import Field, JsonValue

from loom.absent import is_empty, is_none, is_one, is_true
from loom.decisions.adjustable import AdjustableField
from loom.decisions.decision import ApprovalGiven, NeedsInformation
from loom.journal.entry import Entry, PersonEntry
from loom.policies.evaluation import Evaluation

__all__ = [
    "TOO_FEW",
    "UNANSWERABLE",
    "ApprovalAnsweredEntry",
    "ApprovalEscalatedEntry",
    "ApprovalRefusedEntry",
    "ApprovalRequestedEntry",
    "ends_approval",
    "is_unanswerable",
]


class ApprovalRequestedEntry(PersonEntry):
    """A person's approval was requested. `shown` is a digest of its basis.

    Schema 3 has the failed condition of a rule of a table as data, not only as text. Until then `shown` covers facts,
    evaluation and policy version. Schema 4 may name the effect to come, with its arguments; its `shown` also covers the
    reason and that effect. `bound` is a digest of the arguments, keyed where they hold protected values. Schema 5 may
    say what the approver may change, what a question of the approver does, and the class of the case. `after` is the
    request that was granted with changes which this one is about. With `information` a request is asked again that was
    sent back: `requested_by` is who informed. Schema 6 may need several persons: `quorum` of them to grant,
    `deny_quorum` to deny. `directory` is the version of the directory that had persons for it.
    """

    kind: ClassVar[str] = "approval_requested"
    schema_version: ClassVar[int] = 6
    person: ClassVar[str] = "requested_by"

    approval_id: str
    approver: str
    reason: str
    shown: str
    facts: dict[str, JsonValue] | None = None
    evaluation: Evaluation | None = None
    requested_by: str | None = None
    deadline: datetime | None = None
    on_deadline: Literal["deny", "escalate"] = "deny"
    escalate_to: tuple[str, ...] = ()
    action: str | None = Field(default=None, exclude_if=is_none)
    arguments: dict[str, JsonValue] | None = Field(default=None, exclude_if=is_none)
    bound: str | None = Field(default=None, exclude_if=is_none)
    adjustable: tuple[AdjustableField, ...] = Field(default=(), exclude_if=is_empty)
    on_question: Literal["park", "return"] = Field(default="park", exclude_if=lambda what: what == "park")
    situation: str | None = Field(default=None, exclude_if=is_none)
    after: str | None = Field(default=None, exclude_if=is_none)
    information: str | None = Field(default=None, exclude_if=is_none)
    quorum: int = Field(default=1, ge=1, exclude_if=is_one)
    deny_quorum: int = Field(default=1, ge=1, exclude_if=is_one)
    directory: str | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of schema 2 to 5 as it is: it names no effect, permits no change, and one person answers it."""
        return body if version in (2, 3, 4, 5) else super().upcast(version, body)


UNANSWERABLE = "a subject of its turn was erased"
"""The comment of a denial by no one, of what cannot be answered any more."""

TOO_FEW = "too few persons are left to grant it"
"""How the comment of a denial by no one begins, of what the directory has too few persons for."""


def is_unanswerable(comment: str | None) -> bool:
    """Tell whether the comment of a denial by no one is of what cannot be answered any more; else its deadline came."""
    return comment == UNANSWERABLE or (comment or "").startswith(TOO_FEW)


class ApprovalAnsweredEntry(PersonEntry):
    """A named person granted or denied; or it was denied by none, as the deadline came or it is `UNANSWERABLE`.

    `by` is none then. The first answer that `decides` counts; where a quorum is needed, those before it do not decide.

    `role` is the role that a directory confirmed; None without such a confirmation. In entries of schema 1 it is the
    role that the request asked for, or that the person claimed.

    Schema 3 may have `changes`: values other than those asked for, with which it was granted. A `question` sends the
    request back: it grants nothing. An answer with `decides` false leaves the request open. `rendering` says which
    version of which page the person saw, and `rendered` is the digest of the fields on it. `distinguished` says why the
    case differs from the earlier decisions in `against`, which were answered otherwise.

    Schema 4 says which person of the directory it was (`member`), by which version of it, in place of which absent
    holder, and which `others` had answered the same, where several had to. `holders` are all who hold the role, where
    the directory is not loom's own.
    """

    kind: ClassVar[str] = "approval_answered"
    schema_version: ClassVar[int] = 4
    is_referred_to: ClassVar[bool] = True

    approval_id: str
    granted: bool
    by: str | None
    role: str | None = None
    comment: str | None = None
    shown: str
    changes: dict[str, JsonValue] = Field(default_factory=dict, exclude_if=is_empty)
    question: str | None = Field(default=None, exclude_if=is_none)
    decides: bool = Field(default=True, exclude_if=is_true)
    rendering: str | None = Field(default=None, exclude_if=is_none)
    rendered: str | None = Field(default=None, exclude_if=is_none)
    distinguished: str | None = Field(default=None, exclude_if=is_none)
    against: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    member: str | None = Field(default=None, exclude_if=is_none)
    in_place_of: str | None = Field(default=None, exclude_if=is_none)
    directory: str | None = Field(default=None, exclude_if=is_none)
    holders: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    others: tuple[str, ...] = Field(default=(), exclude_if=is_empty)

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of schema 2 or 3 as it is: it changes and asks nothing, and no directory confirmed it."""
        return body if version in (2, 3) else super().upcast(version, body)

    def as_given(self, approver: str, answered_at: datetime) -> ApprovalGiven:
        """Return the answer as an approval of a decision of its turn; `approver` is who was asked."""
        given = ApprovalGiven(
            approval_id=self.approval_id,
            approver=approver,
            granted=self.granted,
            by=self.by,
            identity_source=self.identity_source,
            via=self.via,
            role=self.role,
            answered_at=answered_at,
            comment=self.comment,
            changes=self.changes,
            others=self.others,
        )
        return given if self.question is None else NeedsInformation(**given.model_dump(), question=self.question)


def ends_approval(entry: Entry) -> TypeGuard[ApprovalAnsweredEntry]:
    """Tell whether an entry is the answer with which its approval ends; one that leaves the request open is not."""
    return isinstance(entry, ApprovalAnsweredEntry) and entry.decides


class ApprovalRefusedEntry(Entry):
    """A request for approval was refused when it was made: too few persons hold what it asked for."""

    kind: ClassVar[str] = "approval_refused"

    approver: str
    quorum: int
    reason: str


class ApprovalEscalatedEntry(Entry):
    """The deadline passed and the request went on to the next approver, with a deadline of its own."""

    kind: ClassVar[str] = "approval_escalated"

    approval_id: str
    approver: str
    passed_over: str
    deadline: datetime
