"""Suggestions: a pattern of exceptions as a new rule, with its impact measured on recorded decisions.

A suggestion is a table, bound to the version that it starts from. One person approves it, which registers its table in
that person's name; another one adopts it. Both fail where another version has been adopted meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.errors import (
    PolicyTableError,
    SelfAdoptionError,
    SuggestionNotFoundError,
    SuggestionSettledError,
    SuggestionStaleError,
)
from loom.evolution.cases import cases_of, cut_numbers
from loom.evolution.entries import (
    SuggestionAdoptedEntry,
    SuggestionApprovedEntry,
    SuggestionImplementedEntry,
    SuggestionMadeEntry,
    SuggestionRejectedEntry,
)
from loom.evolution.patterns import ExceptionPattern, mine
from loom.identity import By, Identity, derived_id, same_person
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, JournalStore, draft
from loom.policies.registry import PolicyRegistry
from loom.policies.tables import Table
from loom.policies.tables.table import table_of
from loom.policies.version import PolicyVersion
from loom.projections import Queries
from loom.replay import Judgement, Replay, Selection

__all__ = ["SUGGESTION_JOURNAL", "Suggestion", "Suggestions", "SuggestionsMade", "left_to_people", "patterns_of"]

SUGGESTION_JOURNAL = "loom/suggestions"
"""The journal of suggestions."""

_GROWN = 1.5
"""The factor by which the cases must grow before a rejected suggestion is made again."""


class Suggestion(BaseModel):
    """A suggestion from its journal. `impact` is the result of judging all recorded decisions under it."""

    model_config = ConfigDict(frozen=True)

    suggestion_id: str
    policy: str
    base: str
    table: dict[str, JsonValue]
    rule: str
    pattern: ExceptionPattern
    impact: Judgement
    made_at: datetime
    status: Literal["pending", "approved", "rejected", "implemented"] = "pending"
    by: str | None = None
    """Who approved or rejected it."""
    identity_source: str | None = None
    via: str | None = None
    reason: str | None = None
    adopted_by: str | None = None
    adopted_identity_source: str | None = None
    adopted_via: str | None = None
    version: str | None = None

    @property
    def identity(self) -> Identity | None:
        """Who approved or rejected it, and the source of the name; None while it is pending."""
        return None if self.by is None else Identity(self.by, self.identity_source, self.via)

    @property
    def adopter(self) -> Identity | None:
        """Who adopted it, and the source of the name; None where it is not adopted."""
        by, source, via = self.adopted_by, self.adopted_identity_source, self.adopted_via
        return None if by is None else Identity(by, source, via)


class SuggestionsMade:
    """Suggestions, with their status."""

    def __init__(self, store: JournalReader, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = SingletonJournal(store, SUGGESTION_JOURNAL, self._fold, make_draft=make_draft)
        self._made: dict[str, Suggestion] = {}

    async def get(self, suggestion_id: str) -> Suggestion:
        """Return the suggestion with this id, or an unambiguous beginning of it; raise `SuggestionNotFoundError`."""
        await self._journal.load()
        return self._known(suggestion_id)

    async def find(self, *, status: str | None = None) -> list[Suggestion]:
        """Return the suggestions, newest first."""
        await self._journal.load()
        return [each for each in reversed(self._made.values()) if status in (None, each.status)]

    def _known(self, suggestion_id: str) -> Suggestion:
        found = [each for name, each in self._made.items() if suggestion_id and name.startswith(suggestion_id)]
        if len(found) == 1:
            return found[0]
        raise SuggestionNotFoundError(
            f"suggestion [{suggestion_id!r:.40}] is {'ambiguous' if found else 'not known'}; expected [the id of one]: "
            "see `loom suggestions`"
        )

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, SuggestionMadeEntry):
            self._made[entry.suggestion_id] = Suggestion(
                suggestion_id=entry.suggestion_id,
                policy=entry.policy,
                base=entry.base,
                table=entry.table,
                rule=entry.rule,
                pattern=ExceptionPattern.model_validate(entry.pattern),
                impact=Judgement.model_validate(entry.impact),
                made_at=recorded.recorded_at,
            )
        elif isinstance(entry, SuggestionApprovedEntry):
            self._judged(entry, "approved")
        elif isinstance(entry, SuggestionAdoptedEntry):
            known = self._made.get(entry.suggestion_id)
            if known is not None and known.status == "pending":  # written before approval became a separate step
                self._judged(entry, "approved")
            source, via = entry.identity_source, entry.via
            adopted = {"adopted_by": entry.by, "adopted_identity_source": source, "adopted_via": via}
            self._turn(entry.suggestion_id, **adopted)
        elif isinstance(entry, SuggestionRejectedEntry):
            self._judged(entry, "rejected")
        elif isinstance(entry, SuggestionImplementedEntry):
            self._turn(entry.suggestion_id, status="implemented", version=entry.version)

    def _judged(
        self, entry: SuggestionApprovedEntry | SuggestionAdoptedEntry | SuggestionRejectedEntry, status: str
    ) -> None:
        who = {"by": entry.by, "identity_source": entry.identity_source, "via": entry.via}
        self._turn(entry.suggestion_id, status=status, reason=entry.reason, **who)

    def _turn(self, suggestion_id: str, **changes: object) -> None:
        if suggestion_id in self._made:
            self._made[suggestion_id] = self._made[suggestion_id].model_copy(update=changes)


class Suggestions(SuggestionsMade):
    """Finds patterns, makes suggestions from them, and records what people decide about them."""

    def __init__(
        self,
        store: JournalStore,
        queries: Queries,
        policies: PolicyRegistry,
        replay: Replay,
        *,
        make_draft: Callable[[Entry], Draft] = draft,
    ) -> None:
        super().__init__(store, make_draft=make_draft)
        self._queries = queries
        self._policies = policies
        self._replay = replay

    async def patterns(self, policy: str) -> list[ExceptionPattern]:
        """Return the patterns among the exceptions of a policy, those with most cases first."""
        return await patterns_of(self._queries, policy)

    async def look(self, policy: str | None = None) -> list[Suggestion]:
        """Look for patterns that are worth a rule, in one policy or all, and return the new suggestions.

        Rules are only suggested for policies whose adopted version is a table; `left_to_people` has the patterns of the
        others. Earlier suggestions, and those that were rejected on the same evidence, are not made again.
        """
        await self._journal.load()
        new: list[Suggestion] = []
        for name in self._policies.names() if policy is None else (policy,):
            base = self._policies.adopted(name)
            if base is None or not _is_table(base):
                continue
            for pattern in await self.patterns(name):
                cut = await cut_numbers(self._queries, pattern, table_of(base.document).layout)
                made = await self._suggest(cut, base) if cut.worthwhile else None
                if made is not None:
                    new.append(made)
        return new

    async def approve(self, suggestion_id: str, *, by: By, reason: str) -> PolicyVersion:
        """Register the table of a suggestion in the name of a person, who thereby proposes it; return its version.

        Raises `SuggestionStaleError` where new turns no longer pin the version that it starts from, and
        `SuggestionSettledError` where it was rejected. A second call has no further effect.
        """
        who = Identity.of(by)
        suggestion = await self.get(suggestion_id)

        def entry() -> Entry | None:
            now = self._made[suggestion.suggestion_id]
            if now.status == "rejected":
                raise _settled(now)
            if now.status != "pending":
                return None
            self._check_base(now)
            return SuggestionApprovedEntry(**who.written(), suggestion_id=now.suggestion_id, reason=reason)

        await self._journal.append_if_missing(entry)
        return await self._registered(self._made[suggestion.suggestion_id])

    async def adopt(self, suggestion_id: str, *, by: By, reason: str) -> PolicyVersion:
        """Let new turns pin an approved suggestion, in the name of another person than the one who approved it.

        Raises `SelfAdoptionError` for that person, and where no one has approved it; `SuggestionSettledError` where it
        was rejected, and `SuggestionStaleError` as `approve` does. A second call has no further effect.
        """
        who = Identity.of(by)
        suggestion = await self.get(suggestion_id)
        if suggestion.status == "pending":
            raise SelfAdoptionError(
                f"suggestion [{suggestion.suggestion_id}] would be approved and adopted by [{who.name}] alone; "
                "expected two persons: let one approve it, and another one adopt it"
            )
        if suggestion.status == "rejected":
            raise _settled(suggestion)
        version = await self._registered(suggestion)

        def entry() -> Entry | None:
            now = self._made[suggestion.suggestion_id]
            if now.status == "implemented":
                return None
            self._policies.check_adopter(version.hash, who)
            if self._policies.adopted(version.name) != version:
                self._check_base(now)
            if now.adopted_by is not None and same_person(now.adopted_by, who):
                return None
            return SuggestionAdoptedEntry(**who.written(), suggestion_id=now.suggestion_id, reason=reason)

        await self._journal.append_if_missing(entry)
        if self._made[suggestion.suggestion_id].status == "approved":
            await self._policies.adopt(version.hash, by=who, reason=reason)
            done = SuggestionImplementedEntry(
                suggestion_id=suggestion.suggestion_id, version=version.version, hash=version.hash
            )
            await self._journal.append_if_missing(
                lambda: done if self._made[suggestion.suggestion_id].status == "approved" else None
            )
        return version

    async def reject(self, suggestion_id: str, *, by: By, reason: str) -> Suggestion:
        """Reject a suggestion in the name of a person; raise `SuggestionSettledError` where it was approved."""
        who = Identity.of(by)
        suggestion = await self.get(suggestion_id)

        def entry() -> Entry | None:
            now = self._made[suggestion.suggestion_id]
            if now.status in ("approved", "implemented"):
                raise _settled(now)
            if now.status == "rejected":
                return None
            return SuggestionRejectedEntry(**who.written(), suggestion_id=now.suggestion_id, reason=reason)

        await self._journal.append_if_missing(entry)
        return self._made[suggestion.suggestion_id]

    async def _registered(self, approved: Suggestion) -> PolicyVersion:
        """Return the version of an approved suggestion, proposed by the person who approved it."""
        assert approved.identity is not None  # noqa: S101 - a person approved it
        table = Table.of(approved.table)
        version = await self._policies.register(table, by=approved.identity, reason=approved.reason)
        return await self._policies.propose(version.hash, by=approved.identity, reason=approved.reason)

    def _check_base(self, suggestion: Suggestion) -> None:
        current = self._policies.adopted(suggestion.policy)
        if current is None or current.hash != suggestion.base:
            raise SuggestionStaleError(
                f"suggestion [{suggestion.suggestion_id}] starts from version [{suggestion.base[:12]}] of "
                f"[{suggestion.policy}], and [{'none' if current is None else current.version}] is adopted; expected "
                "the one it starts from: look for suggestions again"
            )

    # --- making them ----------------------------------------------------------------------------

    async def _suggest(self, pattern: ExceptionPattern, base: PolicyVersion) -> Suggestion | None:
        before = [each for each in self._made.values() if each.pattern.pattern_id == pattern.pattern_id]
        if any(each.status == "pending" and each.base == base.hash for each in before):
            return None
        if any(each.status == "rejected" and not _changed(each.pattern, pattern) for each in before):
            return None
        made = _with_rule(base, pattern)
        if made is None:
            return None
        table, rule = made
        impact = await self._replay.judge(Selection(policy=base.name), under=table)
        if not impact.flipped:  # a rule that changes no recorded answer is not worth a suggestion
            return None
        suggestion_id = derived_id("suggestion", base.hash, table.version_hash, str(len(before)))[:16]
        entry = SuggestionMadeEntry(
            suggestion_id=suggestion_id,
            policy=base.name,
            base=base.hash,
            table=table.written(),
            rule=rule,
            pattern=pattern.model_dump(mode="json"),
            impact=impact.model_dump(mode="json"),
        )
        await self._journal.append_if_missing(lambda: None if suggestion_id in self._made else entry)
        return self._made[suggestion_id]


async def patterns_of(queries: Queries, policy: str) -> list[ExceptionPattern]:
    """Return the patterns among the exceptions of a policy, those with most cases first."""
    return mine([case async for case in cases_of(queries, policy)])


async def left_to_people(queries: Queries, policies: PolicyRegistry) -> list[ExceptionPattern]:
    """Return the patterns that are worth a rule in policies that are code, for which loom suggests none."""
    return [
        pattern
        for name in policies.names()
        if (base := policies.adopted(name)) is not None and base.has_rule and not _is_table(base)
        for pattern in await patterns_of(queries, name)
        if pattern.worthwhile
    ]


def _is_table(version: PolicyVersion) -> bool:
    return version.document.get("language") == "table"


def _with_rule(base: PolicyVersion, pattern: ExceptionPattern) -> tuple[Table, str] | None:
    """Return the base with the pattern as a rule in front of the one it is an exception to; None if that is invalid."""
    written = table_of(base.document).written()
    known = written["facts"]
    when: list[list[JsonValue]] = [[name, "=", value] for name, value in pattern.conditions.items() if name in known]
    when += [
        [name, "between", [low, high]]
        for name, (low, high) in pattern.ranges.items()
        if known.get(name, {}).get("type") == "integer" and (pattern.cut is None or pattern.cut[0] != name)
    ]
    when += [] if pattern.cut is None else [list(pattern.cut)]
    name = f"usual-{pattern.pattern_id[:8]}"
    names = [row["name"] for row in written["rules"]]
    if not when or name in names:
        return None
    why = f"{pattern.occurrences} exceptions of this kind were granted, {pattern.refusals} refused ({pattern.reason})"
    place = names.index(pattern.rule) if pattern.rule in names else len(names)
    written["rules"].insert(place, {"name": name, "when": when, "effect": "allow", "why": why})
    try:
        return Table.of(written), name
    except PolicyTableError:  # for example, it could never apply
        return None


def _changed(then: ExceptionPattern, now: ExceptionPattern) -> bool:
    """Tell whether the evidence has changed since a rejection: many more cases, or fewer refusals."""
    return now.occurrences >= _GROWN * then.occurrences or now.refusals < then.refusals


def _settled(suggestion: Suggestion) -> SuggestionSettledError:
    by = f" by [{suggestion.identity}]" if suggestion.by else ""
    return SuggestionSettledError(
        f"suggestion [{suggestion.suggestion_id}] is [{suggestion.status}]{by}; expected a pending one: look for "
        "suggestions again"
    )
