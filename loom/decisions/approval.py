"""A request for approval as it is now, with all that happened to it, in order."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.absent import is_empty, is_none, is_one, is_true
from loom.clock import us_from_datetime
from loom.decisions.adjustable import AdjustableField
from loom.decisions.quorum import Asked, Cast
from loom.identity import Identity
from loom.policies.evaluation import Evaluation

__all__ = ["Approval", "ApprovalEvent"]


class ApprovalEvent(BaseModel):
    """One event of a request. An answer that came too late does not count."""

    model_config = ConfigDict(frozen=True)

    event: Literal["requested", "escalated", "granted", "denied", "sent_back", "informed", "moot"]
    position: int
    at: datetime
    approver: str | None = None
    by: str | None = None
    identity_source: str | None = None
    via: str | None = None
    role: str | None = None
    comment: str | None = None
    deadline: datetime | None = None
    counts: bool = True
    changes: dict[str, JsonValue] = Field(default_factory=dict, exclude_if=is_empty)
    """The values with which it was granted, where they differ from those that were asked for."""
    rendering: str | None = Field(default=None, exclude_if=is_none)
    """The page, with its version, on which the person saw the request; None where it is not known."""
    rendered: str | None = Field(default=None, exclude_if=is_none)
    """The digest of the fields on that page."""
    distinguished: str | None = Field(default=None, exclude_if=is_none)
    """Why the case differs from earlier ones that were answered otherwise."""
    against: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    """Earlier decisions in the same situation that were answered otherwise."""
    decides: bool = Field(default=True, exclude_if=is_true)
    """Whether it was the answer that decided the request; where a quorum is needed, those before it did not."""
    member: str | None = Field(default=None, exclude_if=is_none)
    """Which person of the directory answered; None where no directory confirmed it."""
    in_place_of: str | None = Field(default=None, exclude_if=is_none)
    """The absent holder of the role whose delegate answered."""
    directory: str | None = Field(default=None, exclude_if=is_none)
    """By which version of the directory."""

    @property
    def capacity(self) -> str:
        """In which role a person answered, and what confirmed it, in words; empty where nothing is known of it."""
        place = f" in place of {self.in_place_of}" if self.in_place_of else ""
        by = f", by {self.directory}" if self.directory else ""
        return f"{self.role}{place}{by}" if self.role else ""

    @property
    def identity(self) -> Identity | None:
        """Who asked or answered, and the source of the name; None for a deadline."""
        return None if self.by is None else Identity(self.by, self.identity_source, self.via)


class Approval(BaseModel):
    """A request for a person's approval in its present state, with all its events in order.

    `moot` means that its turn ended before anyone answered, `sent_back` that its turn got a question as the answer. A
    pending request with a `question` waits for information.
    """

    model_config = ConfigDict(frozen=True)

    approval_id: str
    position: int
    journal: str
    command_id: str | None
    actor_type: str
    actor_key: str
    approver: str
    reason: str
    shown: str
    facts: dict[str, JsonValue] | None
    evaluation: Evaluation | None
    requested_by: str | None
    requested_identity_source: str | None = None
    requested_via: str | None = None
    requested_at: datetime
    deadline: datetime | None
    on_deadline: Literal["deny", "escalate"]
    escalate_to: tuple[str, ...]
    status: Literal["pending", "granted", "denied", "sent_back", "moot"]
    answered_by: str | None
    answered_identity_source: str | None = None
    answered_via: str | None = None
    role: str | None
    comment: str | None
    answered_at: datetime | None
    action: str | None = Field(default=None, exclude_if=is_none)
    """The effect that is to be approved; None where the request names none."""
    arguments: dict[str, JsonValue] | None = Field(default=None, exclude_if=is_none)
    adjustable: tuple[AdjustableField, ...] = Field(default=(), exclude_if=is_empty)
    """What the approver may change."""
    on_question: Literal["park", "return"] = "park"
    """What a question of the approver does: the request waits for information, or its turn gets the question."""
    situation: str | None = Field(default=None, exclude_if=is_none)
    """The class of the case before its outcome, by the actor's equivalence rule."""
    after: str | None = Field(default=None, exclude_if=is_none)
    """The request that was granted with the changes that this one is about."""
    question: str | None = Field(default=None, exclude_if=is_none)
    """What the approver asked; None where nothing is to be answered."""
    information: str | None = Field(default=None, exclude_if=is_none)
    """The last answer to a question of the approver."""
    changes: dict[str, JsonValue] = Field(default_factory=dict, exclude_if=is_empty)
    rendering: str | None = Field(default=None, exclude_if=is_none)
    rendered: str | None = Field(default=None, exclude_if=is_none)
    distinguished: str | None = Field(default=None, exclude_if=is_none)
    against: tuple[str, ...] = Field(default=(), exclude_if=is_empty)
    quorum: int = Field(default=1, exclude_if=is_one)
    """How many persons have to grant it."""
    deny_quorum: int = Field(default=1, exclude_if=is_one)
    """How many persons have to deny it."""
    directory: str | None = Field(default=None, exclude_if=is_none)
    """The version of the directory when it was requested; None where there was none."""
    events: tuple[ApprovalEvent, ...] = ()

    @property
    def pending(self) -> bool:
        """Whether it still waits for an answer."""
        return self.status == "pending"

    @property
    def asked(self) -> Asked:
        """What is asked of whom, and who has answered: for `loom.decisions.quorum`."""
        return Asked(self.approver, self.escalate_to, self.on_deadline, self.quorum, self.deny_quorum, cast=self.cast)

    @property
    def cast(self) -> tuple[Cast, ...]:
        """The answers of `counted` as `loom.decisions.quorum` takes them."""
        return tuple(
            Cast(each.member or str(each.by), each.event == "granted", each.in_place_of) for each in self.counted
        )

    @property
    def missing(self) -> str:
        """What a pending request waits for, in words: an answer, or so many persons more."""
        granted = [each.member or str(each.by) for each in self.counted if each.event == "granted"]
        if self.quorum == 1:
            return "an answer"
        more = f"{self.quorum - len(granted)} more of {self.quorum} persons"
        return f"{more}; granted by {', '.join(granted)}" if granted else f"{self.quorum} persons to grant it"

    @property
    def counted(self) -> tuple[ApprovalEvent, ...]:
        """The answers of persons up to now that count, in order; those from before an information do not."""
        since = max((at for at, each in enumerate(self.events) if each.event == "informed"), default=0)
        answers = (each for each in self.events[since:] if each.event in ("granted", "denied"))
        return tuple(each for each in answers if each.counts and each.by is not None)

    @property
    def requester(self) -> Identity | None:
        """Who asked, and the source of the name; None where no person was named."""
        by, source, via = self.requested_by, self.requested_identity_source, self.requested_via
        return None if by is None else Identity(by, source, via)

    @property
    def answerer(self) -> Identity | None:
        """Who answered, and the source of the name; None where there is no answer, or the deadline answered."""
        by, source, via = self.answered_by, self.answered_identity_source, self.answered_via
        return None if by is None else Identity(by, source, via)

    def waiting_s(self, now_us: int) -> float:
        """Return how long it has waited until now, or waited until its answer, in seconds."""
        until = now_us if self.answered_at is None else us_from_datetime(self.answered_at)
        return max(0.0, (until - us_from_datetime(self.requested_at)) / 1e6)

    def left_s(self, now_us: int) -> float | None:
        """Return the time until its deadline in seconds, negative after it; None without a deadline."""
        return None if self.deadline is None else (us_from_datetime(self.deadline) - now_us) / 1e6
