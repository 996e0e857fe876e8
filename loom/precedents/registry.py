"""The registry of equivalence rules: event-sourced in its own journal, so that each has an author, a time and a reason.

A key means nothing without its rule. The whole declaration of a rule is registered, so that a class can be described,
and its keys be computed again, without code. Loading checks the content against the hash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from loom.decisions.decision import Decision
from loom.errors import AdmissionError, EquivalenceRuleNotRegisteredError, EquivalenceRuleTamperedError
from loom.identity import By, Identity
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft
from loom.precedents.entries import EquivalenceRuleRegisteredEntry
from loom.precedents.equivalence import EquivalenceRule, rule_hash

__all__ = ["EQUIVALENCE_JOURNAL", "EquivalenceRegistry", "RuleVersion"]

EQUIVALENCE_JOURNAL = "loom/equivalence"
"""The journal of the registry."""

_VERSION = re.compile(r"(?:rule_)?v([1-9][0-9]{0,8})_([0-9a-f]{8,64})\Z")
_PREFIX = re.compile(r"[0-9a-f]{4,64}\Z")
_SHORT = 8


@dataclass(frozen=True)
class RuleVersion:
    """A registered rule: `number` counts from 1 per name, `hash` is its identity, `version` for people."""

    name: str
    number: int
    version: str
    hash: str
    document: Mapping[str, Any]
    by: str
    reason: str | None
    registered_at: datetime
    identity_source: str | None = None
    via: str | None = None

    @property
    def identity(self) -> Identity:
        """Who registered it, and the source of the name."""
        return Identity(self.by, self.identity_source, self.via)

    @cached_property
    def rule(self) -> EquivalenceRule:
        """The rule itself, made from its declaration."""
        return EquivalenceRule.from_document(self.document)


class EquivalenceRegistry:
    """The equivalence rules of one workspace. `load` it before use.

    Over a `JournalReader` that is no store, a rule that is not registered is known in this process only.
    """

    def __init__(self, store: JournalReader, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = SingletonJournal(store, EQUIVALENCE_JOURNAL, self._fold, make_draft=make_draft)
        self._versions: dict[str, RuleVersion] = {}
        self._by_name: dict[str, list[RuleVersion]] = {}
        self._at_hand: dict[str, RuleVersion] = {}

    async def load(self) -> None:
        """Read what was registered since the last call; raise `EquivalenceRuleTamperedError` if a hash is wrong."""
        await self._journal.load()

    def knows(self, full_hash: str) -> bool:
        """Tell whether a rule is registered, or known in this process, by its full hash."""
        return self._known(full_hash) is not None

    def resolve(self, version: str) -> RuleVersion:
        """Return the version that an id (`rule_v1_32a46a32`), a full hash or an unambiguous beginning of one names.

        The name of a rule refers to its last registered version.
        """
        known = self._known(version)
        if known is not None:
            return known
        if version in self._by_name:
            return self._by_name[version][-1]
        found = [each for each in self._versions.values() if _is_named(each, version)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(f"{each.version} of {each.name}" for each in (found or self._versions.values())) or "none"
        problem = "is ambiguous; it may be" if found else "is not registered; known are"
        raise EquivalenceRuleNotRegisteredError(
            f"equivalence rule [{version!r:.80}] {problem} [{names}]: register it, or name one of these"
        )

    def versions(self, name: str | None = None) -> tuple[RuleVersion, ...]:
        """Return all versions of one rule, or of all by name, oldest first; empty for an unknown name."""
        names = sorted(self._by_name) if name is None else [name]
        return tuple(version for each in names for version in self._by_name.get(each, ()))

    async def register(self, rule: EquivalenceRule, *, by: By, reason: str | None = None) -> RuleVersion:
        """Register a rule in the name of a person, and return its version. An equal rule gives its existing version.

        A rule without an attribute of the outcome is an `AdmissionError`: denials and grants would be in one class.
        """
        if not self._journal.writable:
            return self.at_hand(rule, by=by, reason=reason)
        who = Identity.of(by)
        document = _registrable(rule)

        def entry() -> Entry | None:
            if rule.hash in self._versions:
                return None
            number = len(self._by_name.get(rule.name, ())) + 1
            return EquivalenceRuleRegisteredEntry(
                name=rule.name,
                number=number,
                version=_version_id(number, rule.hash),
                hash=rule.hash,
                document=document,
                **who.written(),
                reason=reason,
            )

        if rule.hash not in self._versions:
            await self._journal.append_if_missing(entry)
        return self._versions[rule.hash]

    def at_hand(self, rule: EquivalenceRule, *, by: By, reason: str | None = None) -> RuleVersion:
        """Add a rule in this process only, as version 0 if it is not registered: for replays, which write nothing.

        It is not among `versions`.
        """
        known = self._known(rule.hash)
        if known is None:
            who = Identity.of(by)
            known = self._at_hand[rule.hash] = RuleVersion(
                name=rule.name,
                number=0,
                version=_version_id(0, rule.hash),
                hash=rule.hash,
                document=rule.document(),
                by=who.name,
                reason=reason,
                registered_at=datetime.now(UTC),
                identity_source=who.source,
                via=who.via,
            )
        return known

    def describe(self, decision: Decision) -> dict[str, str]:
        """Return the class of a decision in words, by attribute: which part of which range, …

        A value outside its range is in the end part, and marked. Empty for a decision without a class, or under a rule
        that is not registered here. Where facts or outcome are pruned, the attribute says so.
        """
        kind = decision.precedent_class
        known = None if kind is None else self._known(kind.rule)
        if known is None:
            return {}
        words = {"rule": f"{known.name}, version {known.version}"}
        return words | known.rule.describe(decision.facts or {}, decision.outcome, context=decision.context)

    def _known(self, full_hash: str) -> RuleVersion | None:
        return self._versions.get(full_hash) or self._at_hand.get(full_hash)

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if not isinstance(entry, EquivalenceRuleRegisteredEntry):
            return
        _check(entry, recorded)
        version = RuleVersion(
            name=entry.name,
            number=entry.number,
            version=entry.version,
            hash=entry.hash,
            document=entry.document,
            by=entry.by,
            reason=entry.reason,
            registered_at=recorded.recorded_at,
            identity_source=entry.identity_source,
            via=entry.via,
        )
        self._versions[entry.hash] = version
        self._by_name.setdefault(entry.name, []).append(version)


def _version_id(number: int, full_hash: str) -> str:
    return f"rule_v{number}_{full_hash[:_SHORT]}"


def _is_named(version: RuleVersion, text: str) -> bool:
    if found := _VERSION.match(text):
        return version.number == int(found[1]) and version.hash.startswith(found[2])
    return bool(_PREFIX.match(text)) and version.hash.startswith(text)


def _registrable(rule: EquivalenceRule) -> dict[str, Any]:
    """Return the declaration of a rule, from which the same rule can be read."""
    document = rule.document()
    if not rule.outcome:
        raise AdmissionError(
            f"equivalence rule [{rule.name}] has no attribute of the outcome; expected at least one, as "
            "denials and grants would be in one class: give outcome=…"
        )
    if EquivalenceRule.from_document(document).hash != rule.hash:
        raise AdmissionError(
            f"equivalence rule [{rule.name}] has bounds that are lost when it is read back; expected [int or float]: "
            "write them as numbers"
        )
    return document


def _check(entry: EquivalenceRuleRegisteredEntry, recorded: Recorded) -> None:
    """Refuse a version whose document does not give its hash, or has another name."""
    problem = None
    if rule_hash(entry.document) != entry.hash:
        problem = "does not give its hash"
    elif entry.document.get("name") != entry.name or entry.version != _version_id(entry.number, entry.hash):
        problem = "has another name than its document"
    if problem is not None:
        raise EquivalenceRuleTamperedError(
            f"equivalence rule [{entry.version}] at sequence [{recorded.sequence}] of journal [{EQUIVALENCE_JOURNAL}] "
            f"{problem}; expected what was registered: run `loom verify`, restore a backup"
        )
