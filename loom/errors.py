"""Every error that loom raises, in one place.

A message says what happened [value]; what was expected [value]: what to do.
A rejected proposal, a denied approval or an exhausted budget is an entry in a journal, not an error.

Each class says what kind of answer it is. The status over HTTP, the exit code of the shell and the level in the log
follow from that kind, for errors of extensions, too: an error class of yours sets `kind` and is done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias, get_args

__all__ = [
    "KINDS_OF_ANSWERS",
    "ActorFailedError",
    "ActorNotStoppedError",
    "ActorPrunedError",
    "ActorStoppedError",
    "AdmissionError",
    "AmbiguousStepError",
    "AnswerKind",
    "AppendRefusedError",
    "AppendUnknownError",
    "ApprovalAnsweredError",
    "ApprovalExpiredError",
    "ApprovalMismatchError",
    "ApprovalNotFoundError",
    "AskCycleError",
    "AskTimeoutError",
    "CommandConflictError",
    "ConfigError",
    "ControlError",
    "CriticError",
    "DecisionNotFoundError",
    "DirectoryError",
    "DirectoryUnavailableError",
    "DiskFullError",
    "DivergenceError",
    "DuplicateCommandError",
    "DuplicateKindError",
    "DuplicateOwnIdError",
    "EffectFailedError",
    "EmbeddingError",
    "EntryUnreadableError",
    "EquivalenceRuleNotRegisteredError",
    "EquivalenceRuleTamperedError",
    "ErasedError",
    "ImportMapError",
    "ImportRefusedError",
    "InvalidNameError",
    "InvitationError",
    "JournalBusyError",
    "JournalClosedError",
    "JournalCorruptError",
    "JournalForeignError",
    "JournalFormatError",
    "JournalLockedError",
    "JournalNotFoundError",
    "JournalReadOnlyError",
    "KeysNotWrittenError",
    "LookupFailedError",
    "LoomClosedError",
    "LoomError",
    "MailboxFullError",
    "ModelBudgetError",
    "ModelCallError",
    "ModelOutputError",
    "ModelRateLimitedError",
    "ModelRefusedError",
    "ModelTimedOutError",
    "ModelTooLongError",
    "ModelUnknownError",
    "NoEligibleApproverError",
    "NoRuleError",
    "NoTurnError",
    "NodeRefusedError",
    "NodeUnreachableError",
    "NotAReaderError",
    "NotEligibleError",
    "NotOwnerError",
    "NotReplayableError",
    "OutOfRangeError",
    "PolicyCodeChangedError",
    "PolicyMismatchError",
    "PolicyNotRegisteredError",
    "PolicyRuleError",
    "PolicyTableError",
    "PolicyTamperedError",
    "PrecedentClassNotFoundError",
    "ProjectionFailedError",
    "ProjectionLagError",
    "ReactorLagError",
    "RetentionError",
    "RunConflictError",
    "RunNotFoundError",
    "SelfAdoptionError",
    "SelfApprovalError",
    "SelfReinstatementError",
    "SelfRoleError",
    "SeparationOfDutiesError",
    "SequenceConflictError",
    "SnapshotError",
    "StandingError",
    "SubjectHeldError",
    "SubjectNotFoundError",
    "SuggestionNotFoundError",
    "SuggestionSettledError",
    "SuggestionStaleError",
    "TurnAbandonedError",
    "TurnInterruptedError",
    "TurnNotFoundError",
    "TurnStuckError",
    "UnknownActorError",
    "UnsupportedFilesystemError",
    "ViewsDifferError",
    "WindowError",
    "WriterFencedError",
]


AnswerKind: TypeAlias = Literal["not_found", "conflict", "refused", "busy", "invalid", "fault"]
"""What kind of answer an error is.

- `not_found`: what was named does not exist, or no longer.
- `conflict`: the request contradicts the present state.
- `refused`: this may not be done, however it is asked for.
- `busy`: it cannot be done now; the same request may succeed later.
- `invalid`: the request is wrong and stays wrong until it is changed.
- `fault`: something is broken: the journal, the machine, the config, or code. Only its operator can repair it.
"""

KINDS_OF_ANSWERS: tuple[AnswerKind, ...] = get_args(AnswerKind)
"""All of them."""


class LoomError(Exception):
    """The root of all errors that loom raises on purpose. A class that does not say its `kind` counts as a fault."""

    kind: AnswerKind = "fault"
    """What kind of answer it is: a class says it, its subclasses inherit it."""
    gone: bool = False
    """Of a `not_found`: whether it was there once and never comes back."""


# --- what comes in ---------------------------------------------------------------------------


class ConfigError(LoomError):
    """A configuration file, key or environment variable is missing or makes no sense."""

    kind = "fault"


class InvalidNameError(LoomError, ValueError):
    """A workspace, actor type, key, person or id is not of the form that names must have."""

    kind = "invalid"


class OutOfRangeError(LoomError, ValueError):
    """A number that the caller gave, such as a limit, is not one that it may be."""

    kind = "invalid"


class AdmissionError(LoomError, ValueError):
    """A value cannot be journaled: too large, too deep, not JSON, NaN, a lone surrogate, …

    `path` says where in the value, as in `$.inputs[2].result`.
    """

    kind = "invalid"

    def __init__(self, message: str, *, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class DuplicateKindError(LoomError):
    """Two entry classes claim the same kind."""

    kind = "fault"


class UnknownActorError(LoomError):
    """An actor type is not known to this process: its class was neither registered nor imported."""

    kind = "invalid"


# --- the journal -----------------------------------------------------------------------------


class JournalNotFoundError(LoomError):
    """There is no journal where one was to be read."""

    kind = "invalid"  # a wrong place to ask: `loom verify` must not exit with what says that it found something


class JournalLockedError(LoomError):
    """Another process writes this journal; one journal has one writing process."""

    kind = "busy"

    def __init__(self, message: str, *, holder: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.holder = holder or {}


class JournalForeignError(LoomError):
    """The file is a database, but not a journal of loom's, or of another workspace."""

    kind = "fault"


class JournalFormatError(LoomError):
    """The journal was written by a newer loom, in a format that this one does not know."""

    kind = "fault"


class JournalCorruptError(LoomError):
    """The journal is damaged, cut or rewritten."""

    kind = "fault"


class JournalReadOnlyError(LoomError):
    """The journal cannot be written: opened read-only, or switched so after repeated failures."""

    kind = "busy"


class JournalClosedError(LoomError):
    """The store was closed, or belongs to the parent of this forked process."""

    kind = "busy"


class JournalBusyError(LoomError):
    """More is waiting to be written than the bounded queue of the writer may hold."""

    kind = "busy"


class UnsupportedFilesystemError(LoomError):
    """The journal lies on a file system on which SQLite cannot keep its promises."""

    kind = "fault"


class EntryUnreadableError(LoomError):
    """The body of a known kind does not have the shape that its class expects."""

    kind = "fault"


class AppendRefusedError(LoomError):
    """Nothing was appended, for certain."""

    kind: AnswerKind = "busy"


class DiskFullError(AppendRefusedError):
    """Nothing was appended: the disk is full, or too nearly so to begin something new."""


class SequenceConflictError(AppendRefusedError):
    """Nothing was appended: the journal has moved on since the caller looked."""

    kind = "conflict"

    def __init__(self, *, journal: str, at: int, expected: int) -> None:
        super().__init__(
            f"journal [{journal}] is at sequence [{at}], expected [{expected}]: "
            "another writer appended first; rebuild the actor and try again"
        )
        self.journal = journal
        self.at = at
        self.expected = expected


class DuplicateCommandError(AppendRefusedError):
    """Nothing was appended: a command with this id was received before."""

    kind = "conflict"

    def __init__(self, *, journal: str, command_id: str) -> None:
        super().__init__(f"journal [{journal}] has received command [{command_id}] before: read its reply instead")
        self.journal = journal
        self.command_id = command_id


class DuplicateOwnIdError(AppendRefusedError):
    """Nothing was appended: a decision with this own id was imported before."""

    kind = "conflict"

    def __init__(self, *, own_id: str) -> None:
        super().__init__(f"own id [{own_id}] was imported before: compare the rows, and import the others")
        self.own_id = own_id


class WriterFencedError(AppendRefusedError):
    """Nothing was appended: a later writer took the journal over (its epoch is higher), or this process was fenced."""


class NotOwnerError(LoomError):
    """An actor is not woken here: another process is its owner, at `address` where that is known."""

    kind = "busy"

    def __init__(self, *, journal: str, address: str | None) -> None:
        where = f"at [{address}]" if address else "which is not known now"
        super().__init__(
            f"actor [{journal}] has its owner in another process, {where}; expected one that this process owns: "
            "send it there"
        )
        self.journal = journal
        self.address = address


class AppendUnknownError(LoomError):
    """The append may or may not have happened: ask `JournalStore.resolve` before anything else.

    Carries what `resolve` needs: the journal, and sequence and hash of the last entry of the append.
    """

    kind = "busy"

    def __init__(self, message: str, *, journal: str, sequence: int, entry_hash: bytes) -> None:
        super().__init__(message)
        self.journal = journal
        self.sequence = sequence
        self.entry_hash = entry_hash


# --- projections -----------------------------------------------------------------------------


class ProjectionFailedError(LoomError):
    """A projection raised on an entry and has stopped there; the others go on."""

    kind = "fault"


class ViewsDifferError(LoomError):
    """A row of the views differs from its entries in the journal: it is not shown, and nothing relies on it."""

    kind = "fault"


class ProjectionLagError(LoomError):
    """A projection did not reach the asked position in the time allowed."""

    kind = "busy"


class ReactorLagError(LoomError):
    """A reactor has not dealt with a position in time."""

    kind = "busy"


class ErasedError(LoomError):
    """What was sealed cannot be read any more: its subject was erased, its key is gone, or it was changed."""

    kind = "not_found"
    gone = True


class RetentionError(LoomError):
    """A journal is younger than its retention: it is not archived for pruning unless a person overrides that."""

    kind = "refused"


class KeysNotWrittenError(LoomError):
    """The file of keys of a vault cannot be written: nothing was sealed, or a key is not destroyed yet."""

    kind = "busy"


class SubjectHeldError(LoomError):
    """A subject is on hold: nothing of it is erased or pruned until a person lifts the hold."""

    kind = "refused"


class NotAReaderError(LoomError):
    """A person who would open sealed data is not among the readers, or their name is only claimed."""

    kind = "refused"


class SubjectNotFoundError(LoomError):
    """There is nothing of a subject: no key, no erasure and no hold has this name."""

    kind = "not_found"


class StandingError(LoomError):
    """The standing of a subject does not allow the request."""

    kind = "conflict"


class SnapshotError(LoomError):
    """A state cannot be written as a snapshot."""

    kind = "fault"


# --- policies --------------------------------------------------------------------------------


class PolicyRuleError(LoomError):
    """A Python rule cannot be a policy: it is impure, or depends on something that is not declared."""

    kind = "invalid"


class PolicyTableError(PolicyRuleError):
    """A table cannot be a policy: it is not of the format, or the linter found an error in it."""


class PolicyNotRegisteredError(LoomError):
    """A policy version is not in the registry."""

    kind = "not_found"


class PolicyTamperedError(LoomError):
    """What the registry holds for a version does not give the hash of that version."""

    kind = "fault"


class PolicyMismatchError(LoomError):
    """A version was named that belongs to another policy than the decisions do."""

    kind = "invalid"


class PolicyCodeChangedError(LoomError):
    """The code at hand is not the code of the policy version: it is never run in its name."""

    kind = "conflict"


class NoRuleError(LoomError):
    """The actor has no policy to evaluate, only the implicit version of its class."""

    kind = "fault"


# --- precedents ------------------------------------------------------------------------------


class EquivalenceRuleNotRegisteredError(LoomError):
    """An equivalence rule is not in the registry."""

    kind = "not_found"


class EquivalenceRuleTamperedError(LoomError):
    """What the registry holds for an equivalence rule does not give the hash of that rule."""

    kind = "fault"


class ContradictionNotFoundError(LoomError):
    """There is no contradiction with this situation, or more than one begins with it."""

    kind = "not_found"


class PrecedentClassNotFoundError(LoomError):
    """There is no class of precedents with this key, or more than one begins with it."""

    kind = "not_found"


class CriticError(LoomError):
    """A critic gave no analysis. `cost_micro_usd` is what it cost nevertheless, none if that is unknown."""

    kind = "busy"

    def __init__(self, message: str, *, cost_micro_usd: int | None = None) -> None:
        super().__init__(message)
        self.cost_micro_usd = cost_micro_usd


class WhatIfUnavailableError(LoomError):
    """The process that judges for pages gave no answer: it ended, took too long, or has too much to do."""

    kind = "busy"


class EmbeddingError(LoomError):
    """Texts could not be turned into vectors by the function that was given for it."""

    kind = "busy"


class WindowError(LoomError):
    """Two windows cannot be compared: one names no decisions, both the same ones, or their classes are of two rules."""

    kind = "invalid"


class SuggestionNotFoundError(LoomError):
    """There is no suggestion with this id, or more than one whose id begins so."""

    kind = "not_found"


class SuggestionStaleError(LoomError):
    """The version that a suggestion starts from is not the adopted one any more."""

    kind = "conflict"


class SuggestionSettledError(LoomError):
    """The suggestion was adopted or rejected already."""

    kind = "conflict"


# --- actors and turns ------------------------------------------------------------------------


class LoomClosedError(LoomError):
    """The loom is closed or closing and takes no more commands."""

    kind = "busy"


class MailboxFullError(LoomError):
    """The actor has as many commands waiting as its mailbox may hold; nothing was journaled."""

    kind = "busy"


class CommandConflictError(LoomError):
    """A command id came a second time with other contents."""

    kind = "conflict"


class ActorFailedError(LoomError):
    """`execute` raised: the turn is recorded as failed. `type_name` names the exception's type."""

    kind = "fault"

    def __init__(self, message: str, *, type_name: str) -> None:
        super().__init__(message)
        self.type_name = type_name


class ActorStoppedError(LoomError):
    """The actor failed too often within its window and was stopped. It comes back after a back-off, or is restarted.

    `retry_after_s` is how long that takes, none where a person has to restart it.
    """

    kind: AnswerKind = "busy"
    retry_after_s: float | None = None


class ActorNotStoppedError(LoomError):
    """An actor that takes commands cannot be restarted."""

    kind = "conflict"


class ActorPrunedError(ActorStoppedError):
    """The beginning of an actor's journal was pruned: it takes no commands any more."""

    kind = "not_found"
    gone = True


class AskTimeoutError(LoomError, TimeoutError):
    """No reply came in time; the turn goes on, and the same command id gives its reply later."""

    kind = "busy"


class AskCycleError(LoomError):
    """Actors would wait for each other in a circle."""

    kind = "fault"


class TurnInterruptedError(LoomError):
    """The turn was interrupted and will be resumed; its caller cannot know the reply yet."""

    kind = "busy"


class TurnAbandonedError(LoomError):
    """A person abandoned the turn; it will never have a reply."""

    kind = "conflict"


class TurnStuckError(LoomError):
    """The turn cannot go on by itself and waits for `loom turns retry` or `loom turns abandon`."""

    kind = "conflict"


class TurnNotFoundError(LoomError):
    """There is no such turn, or it is not in a state in which this can be done."""

    kind = "not_found"


class EffectInDoubtError(LoomError):
    """A new attempt of a turn would do an effect again that may have happened, and must not happen twice."""

    kind = "conflict"


class NoTurnError(LoomError):
    """A verb was called where no turn is running: outside `execute`, or after its turn ended."""

    kind = "fault"


class AmbiguousStepError(LoomError):
    """Two equal steps run at once; an explicit `key=` has to distinguish them."""

    kind = "fault"


class DivergenceError(LoomError):
    """A resumed turn did not do what its journal says it did; it has done nothing.

    `expected` are the recorded steps that were not asked for, `found` what the code asks for instead, `what` how it
    shows.
    """

    kind = "fault"

    def __init__(
        self, message: str, *, what: str = "", expected: Sequence[str] = (), found: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.what = what
        self.expected = tuple(expected)
        self.found = tuple(found)


class NotReplayableError(LoomError):
    """A replay reached a step that it may not do. `reason` is one of a few stable words."""

    kind = "conflict"

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class LookupFailedError(LoomError):
    """A look-up raised, timed out or returned what is no JSON; live and resumed alike."""

    kind = "fault"

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}")
        self.type_name = type_name
        self.message = message


class EffectFailedError(LoomError):
    """An effect of `perform` raised; live and resumed alike."""

    kind = "fault"

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}")
        self.type_name = type_name
        self.message = message


class ModelCallError(LoomError):
    """A call of a model has no answer that can be used; live and resumed alike. It is journaled with its reason."""

    kind: AnswerKind = "fault"

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}")
        self.type_name = type_name
        self.message = message


class ModelUnknownError(ModelCallError):
    """No such model, at this provider or at all, or its provider cannot be used here."""

    kind = "invalid"


class ModelRefusedError(ModelCallError):
    """The provider refused the request: its key, its content or its form."""

    kind = "invalid"


class ModelRateLimitedError(ModelCallError):
    """The provider takes no more requests now: too many, or a quota is used up."""

    kind = "busy"


class ModelTimedOutError(ModelCallError):
    """The model did not answer in time."""

    kind = "busy"


class ModelTooLongError(ModelCallError):
    """The messages are longer than the model reads, or its answer was cut off."""

    kind = "invalid"


class ModelOutputError(ModelCallError):
    """The answer does not fit what was asked for, also when it was asked for again, or it cannot be journaled."""

    kind = "fault"


class ModelBudgetError(ModelCallError):
    """The call was not made: a limit of `budgets.models` or of `models` would be exceeded, or its price is unknown."""

    kind = "refused"


# --- approvals and decisions -----------------------------------------------------------------


class ApprovalNotFoundError(LoomError):
    """There is no approval with this id, or more than one begins with it."""

    kind = "not_found"


class ApprovalAnsweredError(LoomError):
    """The approval was answered before; the first answer in sequence wins."""

    kind = "conflict"


class SecondLookNotFoundError(LoomError):
    """There is no second look with this id, or more than one begins with it."""

    kind = "not_found"


class SecondLookAnsweredError(LoomError):
    """The second look was answered before; the first answer counts."""

    kind = "conflict"


class NoticeNotFoundError(LoomError):
    """There is no dead letter with this id, or more than one begins with it."""

    kind = "not_found"


class NoticeLagError(LoomError):
    """Notices were not delivered within the time that was given."""

    kind = "busy"


class ApprovalExpiredError(LoomError):
    """The deadline of the approval has passed."""

    kind = "conflict"


class ApprovalMismatchError(LoomError):
    """An effect is not the one that was approved: nothing was done."""

    kind = "refused"


class NoEligibleApproverError(LoomError):
    """A request for approval cannot be met: too few persons of the directory hold what it asks for."""

    kind = "refused"


class NotEligibleError(LoomError):
    """A person may not answer a request for approval: the directory does not say that they hold the role."""

    kind = "refused"


class DirectoryError(LoomError):
    """The directory of persons has no such person or role, or cannot become what was asked."""

    kind = "invalid"


class InvitationError(LoomError):
    """An invitation opens nothing: it is not known, was used, withdrawn, or is too old."""

    kind = "refused"


class DirectoryUnavailableError(LoomError):
    """The directory of persons did not answer."""

    kind = "busy"


class ChangesRefusedError(LoomError):
    """The rule refuses the case with the values that a person wants to grant."""

    kind = "refused"


class DistinctionRequiredError(LoomError):
    """An answer goes against those to earlier cases of its class, and does not say why this case differs."""

    kind = "invalid"


class SeparationOfDutiesError(LoomError):
    """What is done needs another person than the one it is done for, or who proposed it."""

    kind = "refused"


class SelfApprovalError(SeparationOfDutiesError):
    """The person or the actor that asked for something may not approve it."""


class SelfAdoptionError(SeparationOfDutiesError):
    """The person who proposed a policy version may not adopt it."""


class SelfRoleError(SeparationOfDutiesError):
    """A person may not give themselves a role, an identity, or the voice of another."""


class SelfReinstatementError(SeparationOfDutiesError):
    """A subject may not give itself its standing back."""


class DecisionNotFoundError(LoomError):
    """There is no decision with this id, or more than one begins with it."""

    kind = "not_found"


class ImportMapError(LoomError):
    """The mapping of an import does not say which column is what."""

    kind = "invalid"


class ImportRefusedError(LoomError):
    """Nothing was imported: rows, or the file, cannot be; `report` says which and why, and it is bounded."""

    kind = "invalid"

    def __init__(self, message: str, *, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class RunNotFoundError(LoomError):
    """There is no run with this id, or more than one begins with it."""

    kind = "not_found"


class RunConflictError(LoomError):
    """A run was started or ended before with other contents, or has ended and cannot be continued."""

    kind = "conflict"


# --- the control socket ----------------------------------------------------------------------


class NodeUnreachableError(LoomError):
    """Another node of the cluster gave no answer: what was asked of it may have been done. Ask again."""

    kind = "busy"


class NodeRefusedError(LoomError):
    """A request between nodes of a cluster is not in order: its signature, its sender, its address or its identity."""

    kind: AnswerKind = "refused"

    def __init__(self, message: str, *, kind: AnswerKind = "refused") -> None:
        super().__init__(message)
        self.kind = kind


class ControlError(LoomError):
    """The running loom refused or failed what was asked over its control socket.

    `type_name` and `kind` are those of the error that it raised.
    """

    kind: AnswerKind = "fault"

    def __init__(self, message: str, *, type_name: str = "ControlError", kind: AnswerKind = "fault") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.kind = kind


def __getattr__(name: str) -> type[LoomError]:
    """Return an error that has moved to the extension that raises it; import it from there."""
    if name.endswith("Error"):
        import importlib.metadata
        import warnings

        for point in importlib.metadata.entry_points(group="loom.extensions"):
            with contextlib.suppress(Exception):  # a package that cannot be loaded brings no error
                point.load()
        found = next((each for each in _every(LoomError) if each.__name__ == name), None)
        if found is not None:
            warnings.warn(f"import {name} from {found.__module__}", DeprecationWarning, stacklevel=2)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _every(cls: type[LoomError]) -> Iterator[type[LoomError]]:
    for each in cls.__subclasses__():
        yield each
        yield from _every(each)
