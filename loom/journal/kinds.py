"""The entries that frame a turn, the one that declares a body gone, and the one that raises the format floor.

What happens inside a turn is recorded by the kinds of `loom.decisions` and `loom.actors`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from loom.absent import is_empty, is_none, is_one
from loom.journal.entry import Entry, PersonEntry

__all__ = [
    "ENDINGS",
    "MARKS",
    "OWN_IDS",
    "CommandReceivedEntry",
    "FloorRaisedEntry",
    "PrunedEntry",
    "TurnAbandonedEntry",
    "TurnCompletedEntry",
    "TurnContinuedEntry",
    "TurnDivergedEntry",
    "TurnFailedEntry",
    "TurnResumedEntry",
    "TurnRetriedEntry",
    "TurnStartedEntry",
]


class CommandReceivedEntry(PersonEntry):
    """A command was accepted: the first entry of its turn. Its id is unique in the journal among these entries."""

    kind: ClassVar[str] = "command_received"
    schema_version: ClassVar[int] = 4

    command_type: str
    payload: JsonValue
    by: str | None = None
    correlation_id: str
    causation_id: str | None = None
    """The command id of the turn that sent this command, where a turn did."""
    waiting: tuple[str, ...] = ()
    """The journals whose turns wait for the reply, outermost first: an ask back into one of them would never end."""
    run_id: str | None = Field(default=None, exclude_if=is_none)
    """The run that the turn belongs to, and whatever it sends; not written down where there is none."""
    subject: str | None = Field(default=None, exclude_if=is_none)
    """Whose the declared fields of the payload are; not written down where nothing is declared."""
    proofs: dict[str, str] = Field(default_factory=dict, exclude_if=is_empty)
    """Subject → keyed hash over all of the payload as it came in, where something of it is sealed or hashed."""

    command_version: int = Field(default=1, exclude_if=is_one)
    """The version of the command's shape; not written down where it is 1."""

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return an older body as it is: in schema 2 nothing was protected, in schema 3 commands had one shape."""
        return body if version in (2, 3) else super().upcast(version, body)


class TurnStartedEntry(Entry):
    """A turn that had waited in the mailbox began; the entries before this one made the state that it saw."""

    kind: ClassVar[str] = "turn_started"


class TurnContinuedEntry(Entry):
    """A parked turn went on: `step` is the approval that was answered, none if other work of the turn went on."""

    kind: ClassVar[str] = "turn_continued"


class TurnResumedEntry(Entry):
    """A turn that was cut short had all its recorded steps fed back and went on for real."""

    kind: ClassVar[str] = "turn_resumed"
    schema_version: ClassVar[int] = 2

    attempt: int
    """How often it was resumed without getting any further, this time included."""
    takeover: bool = Field(default=False, exclude_if=is_empty)
    """Whether its journal was taken over from another process: that counts as no attempt."""

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of schema 1 as it is: one process had written the journal."""
        return body


class TurnCompletedEntry(Entry):
    """A turn ended with a reply.

    Schema 2 may be a second end, of a turn that has failed: its `attempt` succeeded, and has the reply.
    """

    kind: ClassVar[str] = "turn_completed"
    schema_version: ClassVar[int] = 2

    reply: JsonValue
    attempt: str | None = Field(default=None, exclude_if=is_none)
    """The command id of the attempt that has the reply; this entry has none then."""
    reply_version: int = Field(default=1, exclude_if=is_one)
    """The version of the reply's shape; not written down where it is 1."""

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of schema 1 as it is: it has its own reply."""
        return body if version == 1 else super().upcast(version, body)


class TurnFailedEntry(Entry):
    """A turn ended because `execute` raised: its entries stay, its decisions are no precedents."""

    kind: ClassVar[str] = "turn_failed"
    schema_version: ClassVar[int] = 2

    type_name: str
    message: str
    reason: Literal["raised", "policy_code_changed", "not_resumable", "erased"] = "raised"
    """`erased` says that a subject of the turn was erased while it was under way."""

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body from before turns ended as `erased` as it is."""
        return body if version == 1 else super().upcast(version, body)


class TurnDivergedEntry(Entry):
    """A turn that was driven again does not do what its journal says; it did nothing, and waits for its code.

    `expected` are the recorded steps that it did not ask for, `found` what it asks for instead, the first of each;
    `what` is how that shows.
    """

    kind: ClassVar[str] = "turn_diverged"

    what: str
    expected: tuple[str, ...]
    found: tuple[str, ...]

    def in_words(self) -> str:
        """Return it as a sentence without its beginning: what shows, and both sides."""
        found = f", and it asks for [{', '.join(self.found)}]" if self.found else ""
        return f"{self.what}; its journal has [{', '.join(self.expected)}] next{found}"


class TurnRetriedEntry(PersonEntry):
    """A person let a stuck turn try again."""

    kind: ClassVar[str] = "turn_retried"
    schema_version: ClassVar[int] = 2

    by: str
    reason: str | None = None


class TurnAbandonedEntry(PersonEntry):
    """A person abandoned a turn."""

    kind: ClassVar[str] = "turn_abandoned"
    schema_version: ClassVar[int] = 2

    by: str
    reason: str


ENDINGS = frozenset({TurnCompletedEntry.kind, TurnFailedEntry.kind, TurnAbandonedEntry.kind})
"""The kinds with which a turn has ended."""

MARKS = ENDINGS | {"approval_requested", "approval_escalated", "approval_answered"}
"""The kinds that say how a turn got on: whom it asked, what came of that, and its end. Stores find them by turn."""


OWN_IDS = frozenset({"decision_observed"})
"""The kinds whose header has an own id of its source where others have a command id: each is taken once."""


class PrunedEntry(PersonEntry):
    """The bodies of a range of a journal were pruned on purpose; the chain still verifies without them."""

    kind: ClassVar[str] = "pruned"
    schema_version: ClassVar[int] = 3

    journal: str
    first_sequence: int
    last_sequence: int
    by: str
    reason: str
    archive: str | None = None
    """The digest of the archive that holds them; None in entries from before that was written down."""

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body from before the archive was named as it is."""
        return body if version == 2 else super().upcast(version, body)


class FloorRaisedEntry(PersonEntry):
    """A person said that no process of an earlier loom is left: from here on entries may have the shapes of a level."""

    kind: ClassVar[str] = "format_floor_raised"
    sources_since: ClassVar[int] = 1

    level: int
    release: str
    """The loom that raised it: this one and later ones can read the journal."""
    by: str
    reason: str = ""
