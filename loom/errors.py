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
    "KeysUnavailableError",
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
    """A configuration file, key or environment variable is missing or makes no sense.

    To do: correct what the message names; it lists every problem at once. `loom docs config` has every key.
    """

    kind = "fault"


class InvalidNameError(LoomError, ValueError):
    """A workspace, actor type, key, person or id is not of the form that names must have.

    To do: choose a name of the form that the message shows.
    """

    kind = "invalid"


class OutOfRangeError(LoomError, ValueError):
    """A number that the caller gave, such as a limit, is not one that it may be.

    To do: pass a number within the bounds that the message names.
    """

    kind = "invalid"


class AdmissionError(LoomError, ValueError):
    """A value cannot be journaled: too large, too deep, not JSON, NaN, a lone surrogate, …

    `path` says where in the value, as in `$.inputs[2].result`.

    To do: make the value smaller or plainer at `path`; keep a large one elsewhere, and journal its digest and where
    it is.
    """

    kind = "invalid"

    def __init__(self, message: str, *, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class DuplicateKindError(LoomError):
    """Two entry classes claim the same kind.

    To do: give one of the two classes another `kind`; where a module is imported twice under two names, import it
    once.
    """

    kind = "fault"


class UnknownActorError(LoomError):
    """An actor type is not known to this process: its class was neither registered nor imported.

    To do: list the module of the class under `modules` of the config, or pass it as `actors=` to `Loom.open`.
    """

    kind = "invalid"


# --- the journal -----------------------------------------------------------------------------


class JournalNotFoundError(LoomError):
    """There is no journal where one was to be read.

    To do: name the place with `--config` or `--journal`, or run something first, as in `loom init` and `loom run`.
    """

    kind = "invalid"  # a wrong place to ask: `loom verify` must not exit with what says that it found something


class JournalLockedError(LoomError):
    """Another process writes this journal; one journal has one writing process.

    To do: use the shell while that process runs, as it asks it over its control socket; or stop the process that
    `holder` names.
    """

    kind = "busy"

    def __init__(self, message: str, *, holder: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.holder = holder or {}


class JournalForeignError(LoomError):
    """The file is a database, but not a journal of loom's, or of another workspace.

    To do: name another file, or the workspace that this one belongs to.
    """

    kind = "fault"


class JournalFormatError(LoomError):
    """The journal was written by a newer loom, in a format that this one does not know.

    To do: use that version of loom, or a later one. An older format is read: `loom upgrade` copies it into the
    present one.
    """

    kind = "fault"


class JournalCorruptError(LoomError):
    """The journal is damaged, cut or rewritten.

    To do: stop writing, run `loom verify`, restore the last backup with its heads file, and keep the damaged file
    for the auditor.
    """

    kind = "fault"


class JournalReadOnlyError(LoomError):
    """The journal cannot be written: opened read-only, or switched so after repeated failures.

    To do: look at the disk and the permissions of the directory, then restart the process.
    """

    kind = "busy"


class JournalClosedError(LoomError):
    """The store was closed, or belongs to the parent of this forked process.

    To do: open a loom of its own in each process, and use it only while it is open.
    """

    kind = "busy"


class JournalBusyError(LoomError):
    """More is waiting to be written than the bounded queue of the writer may hold.

    To do: send less at once and try again; `journal.max_pending_entries` is the bound.
    """

    kind = "busy"


class UnsupportedFilesystemError(LoomError):
    """The journal lies on a file system on which SQLite cannot keep its promises.

    To do: put the journal on a local disk. `journal.allow_unsupported_filesystem` lifts the check, and with it the
    promise.
    """

    kind = "fault"


class EntryUnreadableError(LoomError):
    """The body of a known kind does not have the shape that its class expects.

    To do: give the class an `upcast` step from the version that was written, or bring back its former shape.
    """

    kind = "fault"


class AppendRefusedError(LoomError):
    """Nothing was appended, for certain.

    To do: try again: nothing was written.
    """

    kind: AnswerKind = "busy"


class DiskFullError(AppendRefusedError):
    """Nothing was appended: the disk is full, or too nearly so to begin something new.

    To do: make room on the disk. Nothing else is needed; `journal.min_free_bytes` is what must be free.
    """


class SequenceConflictError(AppendRefusedError):
    """Nothing was appended: the journal has moved on since the caller looked.

    To do: rebuild the actor from its journal and try again.
    """

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
    """Nothing was appended: a command with this id was received before.

    To do: ask again with the same id: the recorded reply is returned.
    """

    kind = "conflict"

    def __init__(self, *, journal: str, command_id: str) -> None:
        super().__init__(f"journal [{journal}] has received command [{command_id}] before: read its reply instead")
        self.journal = journal
        self.command_id = command_id


class DuplicateOwnIdError(AppendRefusedError):
    """Nothing was appended: a decision with this own id was imported before.

    To do: compare the row with the decision that is there, and import the others.
    """

    kind = "conflict"

    def __init__(self, *, own_id: str) -> None:
        super().__init__(f"own id [{own_id}] was imported before: compare the rows, and import the others")
        self.own_id = own_id


class WriterFencedError(AppendRefusedError):
    """Nothing was appended: a later writer took the journal over (its epoch is higher), or this process was fenced.

    To do: let this process end: another one writes now. Open the loom again if this one should write.
    """


class NotOwnerError(LoomError):
    """An actor is not woken here: another process is its owner, at `address` where that is known.

    To do: send the command to that process, or again when the owner is known.
    """

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

    To do: call `store.resolve(error)`, which says whether it is durable; append again only if it is not.
    """

    kind = "busy"

    def __init__(self, message: str, *, journal: str, sequence: int, entry_hash: bytes) -> None:
        super().__init__(message)
        self.journal = journal
        self.sequence = sequence
        self.entry_hash = entry_hash


# --- projections -----------------------------------------------------------------------------


class ProjectionFailedError(LoomError):
    """A projection raised on an entry and has stopped there; the others go on.

    To do: correct the projection and raise its `version`, or delete the views file: it is rebuilt from the journal.
    """

    kind = "fault"


class ViewsDifferError(LoomError):
    """A row of the views differs from its entries in the journal: it is not shown, and nothing relies on it.

    To do: delete the views file or call `loom.rebuild()`; where it comes back, run `loom verify`.
    """

    kind = "fault"


class ProjectionLagError(LoomError):
    """A projection did not reach the asked position in the time allowed.

    To do: ask again later; `projections.query_timeout_s` is how long a query waits.
    """

    kind = "busy"


class ReactorLagError(LoomError):
    """A reactor has not dealt with a position in time.

    To do: wait longer, or look in the log for a reactor that fails.
    """

    kind = "busy"


class ErasedError(LoomError):
    """What was sealed cannot be read any more: its subject was erased, its key is gone, or it was changed.

    To do: nothing brings it back if it was erased. Where `journal.keys` is missing, restore it from the backup.
    """

    kind = "not_found"
    gone = True


class RetentionError(LoomError):
    """A journal is younger than its retention: it is not archived for pruning unless a person overrides that.

    To do: wait until the retention has passed. `loom docs archives` says how a person overrides it.
    """

    kind = "refused"


class KeysNotWrittenError(LoomError):
    """The file of keys of a vault cannot be written: nothing was sealed, or a key is not destroyed yet.

    To do: make the directory of `journal.keys` writable, or make room, and try again.
    """

    kind = "busy"


class KeysUnavailableError(LoomError):
    """The keys of what is sealed cannot be read: their database, or the key service, does not answer.

    To do: check that the server of `sealing.keys_url` runs, and that its account is let in; then try again.
    """

    kind = "busy"


class SubjectHeldError(LoomError):
    """A subject is on hold: nothing of it is erased or pruned until a person lifts the hold.

    To do: have a person lift the hold (`loom subjects`), then erase again.
    """

    kind = "refused"


class NotAReaderError(LoomError):
    """A person who would open sealed data is not among the readers, or their name is only claimed.

    To do: ask as one of the readers, with a key or an account that establishes the name: see `loom docs subjects`.
    """

    kind = "refused"


class SubjectNotFoundError(LoomError):
    """There is nothing of a subject: no key, no erasure and no hold has this name.

    To do: look at the names with `loom subjects`; a subject is known by its pseudonym.
    """

    kind = "not_found"


class StandingError(LoomError):
    """The standing of a subject does not allow the request.

    To do: look at the standing and its reason; a person reinstates a suspended subject.
    """

    kind = "conflict"


class SnapshotError(LoomError):
    """A state cannot be written as a snapshot.

    To do: make the state a pydantic model that can be written as JSON and read back; until then it is rebuilt from
    entries.
    """

    kind = "fault"


# --- policies --------------------------------------------------------------------------------


class PolicyRuleError(LoomError):
    """A Python rule cannot be a policy: it is impure, or depends on something that is not declared.

    To do: correct what the message names in the rule: pass values as parameters, and keep clocks, chance and I/O
    out.
    """

    kind = "invalid"


class PolicyTableError(PolicyRuleError):
    """A table cannot be a policy: it is not of the format, or the linter found an error in it.

    To do: correct the table at the place that the message names; `loom policies lint FILE` checks it alone.
    """


class PolicyNotRegisteredError(LoomError):
    """A policy version is not in the registry.

    To do: name one of the versions that `loom policies` lists, or register this one.
    """

    kind = "not_found"


class PolicyTamperedError(LoomError):
    """What the registry holds for a version does not give the hash of that version.

    To do: treat the journal as changed: run `loom verify`, and restore a backup.
    """

    kind = "fault"


class PolicyMismatchError(LoomError):
    """A version was named that belongs to another policy than the decisions do.

    To do: name a version of the policy that these decisions were made under.
    """

    kind = "invalid"


class PolicyCodeChangedError(LoomError):
    """The code at hand is not the code of the policy version: it is never run in its name.

    To do: deploy the code of that version together with the new code, or register the new code as a version of its
    own.
    """

    kind = "conflict"


class NoRuleError(LoomError):
    """The actor has no policy to evaluate, only the implicit version of its class.

    To do: give the actor a `policy`, or record the decision without calling `evaluate`.
    """

    kind = "fault"


# --- precedents ------------------------------------------------------------------------------


class EquivalenceRuleNotRegisteredError(LoomError):
    """An equivalence rule is not in the registry.

    To do: name one that `loom precedents rules` lists, or register it.
    """

    kind = "not_found"


class EquivalenceRuleTamperedError(LoomError):
    """What the registry holds for an equivalence rule does not give the hash of that rule.

    To do: treat the journal as changed: run `loom verify`, and restore a backup.
    """

    kind = "fault"


class ContradictionNotFoundError(LoomError):
    """There is no contradiction with this situation, or more than one begins with it.

    To do: name more of its id: `loom contradictions` lists them.
    """

    kind = "not_found"


class PrecedentClassNotFoundError(LoomError):
    """There is no class of precedents with this key, or more than one begins with it.

    To do: name more of its key: `loom precedents` lists the classes.
    """

    kind = "not_found"


class CriticError(LoomError):
    """A critic gave no analysis. `cost_micro_usd` is what it cost nevertheless, none if that is unknown.

    To do: look at the model's endpoint, its key and its limits. Decisions do not depend on it.
    """

    kind = "busy"

    def __init__(self, message: str, *, cost_micro_usd: int | None = None) -> None:
        super().__init__(message)
        self.cost_micro_usd = cost_micro_usd


class WhatIfUnavailableError(LoomError):
    """The process that judges for pages gave no answer: it ended, took too long, or has too much to do.

    To do: ask again later, or judge fewer decisions at once.
    """

    kind = "busy"


class EmbeddingError(LoomError):
    """Texts could not be turned into vectors by the function that was given for it.

    To do: look at the function of `similarity.embed`; search by words and facets works without it.
    """

    kind = "busy"


class WindowError(LoomError):
    """Two windows cannot be compared: one names no decisions, both the same ones, or their classes are of two rules.

    To do: choose two windows that each have decisions, of the same rule of equivalence, and do not select the same
    ones.
    """

    kind = "invalid"


class SuggestionNotFoundError(LoomError):
    """There is no suggestion with this id, or more than one whose id begins so.

    To do: name more of its id: `loom suggestions` lists them.
    """

    kind = "not_found"


class SuggestionStaleError(LoomError):
    """The version that a suggestion starts from is not the adopted one any more.

    To do: look for suggestions again: the adopted version has changed since.
    """

    kind = "conflict"


class SuggestionSettledError(LoomError):
    """The suggestion was adopted or rejected already.

    To do: look at what was decided with `loom suggestions show ID`.
    """

    kind = "conflict"


# --- actors and turns ------------------------------------------------------------------------


class LoomClosedError(LoomError):
    """The loom is closed or closing and takes no more commands.

    To do: send commands while the loom is open; a command with an id may be sent again after the restart.
    """

    kind = "busy"


class MailboxFullError(LoomError):
    """The actor has as many commands waiting as its mailbox may hold; nothing was journaled.

    To do: slow down and send it again; `actors.mailbox_size` is the bound.
    """

    kind = "busy"


class CommandConflictError(LoomError):
    """A command id came a second time with other contents.

    To do: give the new command an id of its own.
    """

    kind = "conflict"


class ActorFailedError(LoomError):
    """`execute` raised: the turn is recorded as failed. `type_name` names the exception's type.

    To do: read the exception in the entry `turn_failed` (`loom journal TYPE/KEY`), correct the code, then `loom
    turns retry ID`.
    """

    kind = "fault"

    def __init__(self, message: str, *, type_name: str) -> None:
        super().__init__(message)
        self.type_name = type_name


class ActorStoppedError(LoomError):
    """The actor failed too often within its window and was stopped. It comes back after a back-off, or is restarted.

    `retry_after_s` is how long that takes, none where a person has to restart it.

    To do: `loom actors` says why and until when. Correct the cause; `loom actors restart TYPE/KEY --by NAME` brings
    it back at once.
    """

    kind: AnswerKind = "busy"
    retry_after_s: float | None = None


class ActorNotStoppedError(LoomError):
    """An actor that takes commands cannot be restarted.

    To do: nothing: it takes commands.
    """

    kind = "conflict"


class ActorPrunedError(ActorStoppedError):
    """The beginning of an actor's journal was pruned: it takes no commands any more.

    To do: send the command to another key; the archive has what was pruned.
    """

    kind = "not_found"
    gone = True


class AskTimeoutError(LoomError, TimeoutError):
    """No reply came in time; the turn goes on, and the same command id gives its reply later.

    To do: ask again with the same command id, and wait longer.
    """

    kind = "busy"


class AskCycleError(LoomError):
    """Actors would wait for each other in a circle.

    To do: use `tell` for one of the asks, or let one actor do both parts.
    """

    kind = "fault"


class TurnInterruptedError(LoomError):
    """The turn was interrupted and will be resumed; its caller cannot know the reply yet.

    To do: ask again with the same command id; the turn is resumed with the actor's next command, or when the
    journal is opened.
    """

    kind = "busy"


class TurnAbandonedError(LoomError):
    """A person abandoned the turn; it will never have a reply.

    To do: send a new command, with another id, if it should be done after all.
    """

    kind = "conflict"


class TurnStuckError(LoomError):
    """The turn cannot go on by itself and waits for `loom turns retry` or `loom turns abandon`.

    To do: `loom turns` says why. Correct the cause, then `loom turns retry ID --by NAME`, or `loom turns abandon ID
    --by NAME --reason WHY`.
    """

    kind = "conflict"


class TurnNotFoundError(LoomError):
    """There is no such turn, or it is not in a state in which this can be done.

    To do: name one that `loom turns` lists, and what can be done in its state.
    """

    kind = "not_found"


class EffectInDoubtError(LoomError):
    """A new attempt of a turn would do an effect again that may have happened, and must not happen twice.

    To do: find out whether the effect happened, then abandon the turn, or fork it with what is known (`loom turns
    fork`).
    """

    kind = "conflict"


class NoTurnError(LoomError):
    """A verb was called where no turn is running: outside `execute`, or after its turn ended.

    To do: call verbs inside `execute`, and await tasks that call them before it returns.
    """

    kind = "fault"


class AmbiguousStepError(LoomError):
    """Two equal steps run at once; an explicit `key=` has to distinguish them.

    To do: pass a different `key=` to each of the steps.
    """

    kind = "fault"


class DivergenceError(LoomError):
    """A resumed turn did not do what its journal says it did; it has done nothing.

    `expected` are the recorded steps that were not asked for, `found` what the code asks for instead, `what` how it
    shows.

    To do: bring back the code that recorded the turn and retry, keep both branches with `self.version`, or abandon
    it. `loom check` finds this before a deploy.
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
    """A replay reached a step that it may not do. `reason` is one of a few stable words.

    To do: read `reason`: a replay never makes up what was not recorded. Judge the rule alone instead, or record it
    from now on.
    """

    kind = "conflict"

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class LookupFailedError(LoomError):
    """A look-up raised, timed out or returned what is no JSON; live and resumed alike.

    To do: catch it where the turn can go on without the answer; else correct the source and send the command again.
    """

    kind = "fault"

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}")
        self.type_name = type_name
        self.message = message


class EffectFailedError(LoomError):
    """An effect of `perform` raised; live and resumed alike.

    To do: catch it where the turn can compensate; else correct the cause and retry the turn.
    """

    kind = "fault"

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}")
        self.type_name = type_name
        self.message = message


class ModelCallError(LoomError):
    """A call of a model has no answer that can be used; live and resumed alike. It is journaled with its reason.

    To do: read its type and message; a subclass says which kind of failure it is.
    """

    kind: AnswerKind = "fault"

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(f"{type_name}: {message}")
        self.type_name = type_name
        self.message = message


class ModelUnknownError(ModelCallError):
    """No such model, at this provider or at all, or its provider cannot be used here.

    To do: correct the name of the model, or install the provider's package: `pip install 'loom-journal[llm]'`.
    """

    kind = "invalid"


class ModelRefusedError(ModelCallError):
    """The provider refused the request: its key, its content or its form.

    To do: look at the provider's key, and at what was sent.
    """

    kind = "invalid"


class ModelRateLimitedError(ModelCallError):
    """The provider takes no more requests now: too many, or a quota is used up.

    To do: wait and retry, as with `call_model(retry=…)`, or ask less at once.
    """

    kind = "busy"


class ModelTimedOutError(ModelCallError):
    """The model did not answer in time.

    To do: retry, or raise `models.timeout_s`.
    """

    kind = "busy"


class ModelTooLongError(ModelCallError):
    """The messages are longer than the model reads, or its answer was cut off.

    To do: send less, or raise `max_tokens` of the call.
    """

    kind = "invalid"


class ModelOutputError(ModelCallError):
    """The answer does not fit what was asked for, also when it was asked for again, or it cannot be journaled.

    To do: make the output type easier to meet, raise `models.output_retries`, or choose another model.
    """

    kind = "fault"


class ModelBudgetError(ModelCallError):
    """The call was not made: a limit of `budgets.models` or of `models` would be exceeded, or its price is unknown.

    To do: wait for the next day, raise the limit, or set a price for the model: `loom costs` shows what is left.
    """

    kind = "refused"


# --- approvals and decisions -----------------------------------------------------------------


class ApprovalNotFoundError(LoomError):
    """There is no approval with this id, or more than one begins with it.

    To do: name more of its id: `loom approvals` lists them.
    """

    kind = "not_found"


class ApprovalAnsweredError(LoomError):
    """The approval was answered before; the first answer in sequence wins.

    To do: nothing: `loom why` of the decision shows who answered.
    """

    kind = "conflict"


class SecondLookNotFoundError(LoomError):
    """There is no second look with this id, or more than one begins with it.

    To do: name more of its id: `loom oversight` lists second looks.
    """

    kind = "not_found"


class SecondLookAnsweredError(LoomError):
    """The second look was answered before; the first answer counts.

    To do: nothing: the first answer counts.
    """

    kind = "conflict"


class NoticeNotFoundError(LoomError):
    """There is no dead letter with this id, or more than one begins with it.

    To do: name more of its id: `loom notices` lists dead letters.
    """

    kind = "not_found"


class NoticeLagError(LoomError):
    """Notices were not delivered within the time that was given.

    To do: look at the receiver; undelivered notices are tried again.
    """

    kind = "busy"


class ApprovalExpiredError(LoomError):
    """The deadline of the approval has passed.

    To do: send the command again; give requests a longer deadline.
    """

    kind = "conflict"


class ApprovalMismatchError(LoomError):
    """An effect is not the one that was approved: nothing was done.

    To do: ask for approval of what is to be done now; the former grant covers only what was shown.
    """

    kind = "refused"


class NoEligibleApproverError(LoomError):
    """A request for approval cannot be met: too few persons of the directory hold what it asks for.

    To do: give the role to enough persons (`loom people`), or ask for fewer.
    """

    kind = "refused"


class NotEligibleError(LoomError):
    """A person may not answer a request for approval: the directory does not say that they hold the role.

    To do: have a holder of the role answer, or be given it: `loom people`.
    """

    kind = "refused"


class DirectoryError(LoomError):
    """The directory of persons has no such person or role, or cannot become what was asked.

    To do: correct the person or role that the message names; `loom people` lists them.
    """

    kind = "invalid"


class InvitationError(LoomError):
    """An invitation opens nothing: it is not known, was used, withdrawn, or is too old.

    To do: ask for a new invitation: `loom people invite`.
    """

    kind = "refused"


class DirectoryUnavailableError(LoomError):
    """The directory of persons did not answer.

    To do: try again when the directory answers; nothing was answered meanwhile.
    """

    kind = "busy"


class ChangesRefusedError(LoomError):
    """The rule refuses the case with the values that a person wants to grant.

    To do: choose values that the rule allows, or grant without changes.
    """

    kind = "refused"


class DistinctionRequiredError(LoomError):
    """An answer goes against those to earlier cases of its class, and does not say why this case differs.

    To do: say in the answer why this case differs from the earlier ones.
    """

    kind = "invalid"


class SeparationOfDutiesError(LoomError):
    """What is done needs another person than the one it is done for, or who proposed it.

    To do: have another person do it.
    """

    kind = "refused"


class SelfApprovalError(SeparationOfDutiesError):
    """The person or the actor that asked for something may not approve it.

    To do: have another person approve it.
    """


class SelfAdoptionError(SeparationOfDutiesError):
    """The person who proposed a policy version may not adopt it.

    To do: have another person adopt it.
    """


class SelfRoleError(SeparationOfDutiesError):
    """A person may not give themselves a role, an identity, or the voice of another.

    To do: have another person give it.
    """


class SelfReinstatementError(SeparationOfDutiesError):
    """A subject may not give itself its standing back.

    To do: have a person reinstate it who is not the subject.
    """


class DecisionNotFoundError(LoomError):
    """There is no decision with this id, or more than one begins with it.

    To do: name more of its id: `loom decisions` lists them.
    """

    kind = "not_found"


class ImportMapError(LoomError):
    """The mapping of an import does not say which column is what.

    To do: name the columns in the map: `loom docs history` shows one.
    """

    kind = "invalid"


class ImportRefusedError(LoomError):
    """Nothing was imported: rows, or the file, cannot be; `report` says which and why, and it is bounded.

    To do: correct the rows that the report names, and import the whole file again.
    """

    kind = "invalid"

    def __init__(self, message: str, *, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class RunNotFoundError(LoomError):
    """There is no run with this id, or more than one begins with it.

    To do: name more of its id: `loom runs` lists them.
    """

    kind = "not_found"


class RunConflictError(LoomError):
    """A run was started or ended before with other contents, or has ended and cannot be continued.

    To do: choose another id for the new run.
    """

    kind = "conflict"


# --- the control socket ----------------------------------------------------------------------


class NodeUnreachableError(LoomError):
    """Another node of the cluster gave no answer: what was asked of it may have been done. Ask again.

    To do: ask again with the same command id; look whether that node runs and can be reached at its address.
    """

    kind = "busy"


class NodeRefusedError(LoomError):
    """A request between nodes of a cluster is not in order: its signature, its sender, its address or its identity.

    To do: give all nodes the same key, clocks that agree and addresses at which they reach each other.
    """

    kind: AnswerKind = "refused"

    def __init__(self, message: str, *, kind: AnswerKind = "refused") -> None:
        super().__init__(message)
        self.kind = kind


class ControlError(LoomError):
    """The running loom refused or failed what was asked over its control socket.

    `type_name` and `kind` are those of the error that it raised.

    To do: do what the error of that type asks for; `type_name` is its name.
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
