"""The registry of policy versions: event-sourced in its own journal, so that each has an author, a time and a reason.

To register a version makes it known. To adopt it makes it the one that new turns pin; this takes another person than
the one who proposed it. Code that is registered at start adopts its version where no person has adopted one. Loading
checks the content against the hash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from loom.clock import SystemClock, datetime_from_us
from loom.errors import (
    AdmissionError,
    PolicyCodeChangedError,
    PolicyNotRegisteredError,
    PolicyTamperedError,
    SelfAdoptionError,
)
from loom.identity import By, Identity, same_person
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft
from loom.policies.canonical import Document, implicit_document, parse_version, version_hash, version_id
from loom.policies.contract import AnyPolicy
from loom.policies.difference import Difference, difference
from loom.policies.entries import PolicyAdoptedEntry, PolicyProposedEntry, PolicyRegisteredEntry, Trigger
from loom.policies.tables.document import LANGUAGE
from loom.policies.tables.table import table_of
from loom.policies.version import Adoption, PolicyVersion, unregistered
from loom.telemetry import get_logger

__all__ = ["POLICY_JOURNAL", "PolicyRegistry", "PolicyVersion"]

POLICY_JOURNAL = "loom/policies"
"""The journal of the registry."""

_log = get_logger("loom.policies")


class PolicyRegistry:
    """The policy versions of one workspace. `load` it before use.

    Over a `JournalReader` that is no store, code is attached and nothing is written: a version that is not registered
    has the number 0.
    """

    def __init__(
        self,
        store: JournalReader,
        *,
        make_draft: Callable[[Entry], Draft] = draft,
        now: Callable[[], datetime] = lambda: datetime_from_us(SystemClock().now_us()),
    ) -> None:
        self._now = now
        self._journal = SingletonJournal(store, POLICY_JOURNAL, self._fold, make_draft=make_draft)
        self._versions: dict[str, PolicyVersion] = {}
        self._by_name: dict[str, list[PolicyVersion]] = {}
        self._adoptions: dict[str, Adoption] = {}
        self._proposers: dict[str, list[Identity]] = {}
        self._ever_adopted: set[str] = set()
        self._code: dict[str, dict[str, AnyPolicy]] = {}
        self._runnable: dict[str, AnyPolicy] = {}

    async def load(self) -> None:
        """Read what was registered and adopted since the last call; raise `PolicyTamperedError` if a hash is wrong."""
        await self._journal.load()

    # --- reading --------------------------------------------------------------------------------

    def resolve(self, version: str) -> PolicyVersion:
        """Return the version that an id, a full hash or an unambiguous beginning of one names."""
        known = self._versions.get(version)
        if known is not None:
            return known
        wanted = parse_version(version)
        found = [v for v in self._versions.values() if wanted.matches(number=v.number, full_hash=v.hash)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(v.version for v in (found or self._versions.values())) or "none"
        problem = "is ambiguous; it may be" if found else "is not registered; known versions are"
        raise PolicyNotRegisteredError(
            f"policy version [{version}] {problem} [{names}]: register it, or name one of these"
        )

    def resolve_hash(self, raw: bytes) -> PolicyVersion:
        """Return the version whose full hash is in an entry's header."""
        known = self._versions.get(raw.hex())
        if known is None:
            raise PolicyNotRegisteredError(
                f"policy version [{raw.hex()}] is not registered; known are [{len(self._versions)}] others: "
                "this journal was written with another registry"
            )
        return known

    def versions(self, name: str) -> tuple[PolicyVersion, ...]:
        """Return all versions of a policy, oldest first; empty for an unknown name."""
        return tuple(self._by_name.get(name, ()))

    def latest(self, name: str) -> PolicyVersion:
        """Return the version of a policy that was last registered."""
        versions = self._by_name.get(name)
        if not versions:
            raise PolicyNotRegisteredError(
                f"policy [{name}] is not registered; known are [{', '.join(self.names()) or 'none'}]: register it"
            )
        return versions[-1]

    def adopted(self, name: str) -> PolicyVersion | None:
        """Return the version that new turns pin, or None where none was adopted."""
        adoption = self._adoptions.get(name)
        return None if adoption is None else adoption.version

    def adoption(self, name: str) -> Adoption | None:
        """Return who adopted the version that new turns pin: a person, or code; None where none was adopted."""
        return self._adoptions.get(name)

    def proposers(self, version: str) -> tuple[Identity, ...]:
        """Return the people who proposed a version, and may not adopt it; empty where it came with code."""
        return tuple(self._proposers.get(self.resolve(version).hash, ()))

    def names(self) -> tuple[str, ...]:
        """Return the names of all policies, in order."""
        return tuple(sorted(self._by_name))

    def diff(self, old: str, new: str) -> Difference:
        """Return the differences in behaviour between two versions."""
        return difference(self.resolve(old), self.resolve(new))

    # --- attached code --------------------------------------------------------------------------

    def attach(self, policy: AnyPolicy) -> None:
        """Attach code, so that the versions that it gives can be evaluated. There may be several of one name."""
        self._code.setdefault(policy.name, {})[policy.version_hash] = policy

    def runnable(self, version: PolicyVersion) -> AnyPolicy:
        """Return the code that gives a version; raise `PolicyCodeChangedError` where no attached code does."""
        ready = self._runnable.get(version.hash)
        if ready is not None:
            return ready
        if version.document.get("language") == LANGUAGE:  # a table needs no code
            table = self._runnable[version.hash] = table_of(version.document)
            return table
        code = self._code.get(version.name)
        if not code:
            raise PolicyCodeChangedError(
                f"policy [{version.name}] has no code in this process; expected [the code of {version.version}]: "
                "import the module that defines it"
            )
        latest = list(code.values())[-1]
        chosen = next((each for each in code.values() if each.gives(version.document)), latest)
        ready = self._runnable[version.hash] = chosen.under(version.document)
        return ready

    def runs(self, version: PolicyVersion) -> bool:
        """Tell whether a table or any attached code gives a version, so that it can be evaluated."""
        try:
            self.runnable(version)
        except PolicyCodeChangedError:
            return False
        return True

    # --- registering and adopting ---------------------------------------------------------------

    async def register(self, policy: AnyPolicy, *, by: By, reason: str | None = None) -> PolicyVersion:
        """Register the version that a policy's code gives, and return it. If it is already registered, return that one.

        The person who registers it has proposed it, and cannot adopt it.
        """
        self.attach(policy)
        who = Identity.of(by)
        return await self._register(
            policy.name, policy.document, about=policy.about, who=who, trigger="person", reason=reason
        )

    async def register_code(self, policy: AnyPolicy, *, by: By, reason: str) -> PolicyVersion:
        """Register the version that comes with code at start; `by` has opened the loom, and is not its proposer."""
        self.attach(policy)
        who = Identity.of(by, via="code")
        return await self._register(
            policy.name, policy.document, about=policy.about, who=who, trigger="code", reason=reason
        )

    async def register_implicit(self, name: str, *, by: By) -> PolicyVersion:
        """Register the version without a rule that an actor type without a policy uses."""
        who = Identity.of(by, via="code")
        return await self._register(name, implicit_document(name), about={}, who=who, trigger="code", reason=None)

    async def propose(self, version: str, *, by: By, reason: str | None = None) -> PolicyVersion:
        """Record, once, that a person has proposed a registered version, and so cannot adopt it."""
        who = Identity.of(by)

        def entry() -> Entry | None:
            proposed = self.resolve(version)
            if any(same_person(who, each) for each in self.proposers(proposed.hash)):
                return None
            return PolicyProposedEntry(
                **who.written(), name=proposed.name, version=proposed.version, hash=proposed.hash, reason=reason
            )

        await self._journal.append_if_missing(entry)
        return self.resolve(version)

    async def adopt(
        self, version: str, *, by: By, reason: str | None = None, effective_from: datetime | None = None
    ) -> PolicyVersion:
        """Make a registered version the one that new turns pin, in the name of a person.

        `effective_from` states since when it was in use before it was adopted here; turns do not read it. It must have
        a zone and not be later than now; otherwise it is refused with an `AdmissionError`. Raises `SelfAdoptionError`
        for a person who proposed it: who registered it, or approved the suggestion.
        """
        who = Identity.of(by)
        _check_effective(effective_from, self._now())

        def entry() -> Entry | None:
            adopted = self.resolve(version)
            current = self._adoptions.get(adopted.name)
            again = current is not None and current.version == adopted and current.trigger == "person"
            if current is not None and again and effective_from in (None, current.effective_from):
                return None
            self.check_adopter(adopted.hash, who)
            return _adoption(adopted, who, "person", reason, effective_from=effective_from)

        await self._journal.append_if_missing(entry)
        return self.resolve(version)

    def check_adopter(self, version: str, who: Identity) -> None:
        """Raise `SelfAdoptionError` where a person proposed a version, and so may not adopt it."""
        proposed = self.resolve(version)
        if any(same_person(who, each) for each in self.proposers(proposed.hash)):
            raise SelfAdoptionError(
                f"policy version [{proposed.version}] of [{proposed.name}] was proposed by [{who.name}]; expected "
                "another person to adopt it: ask one, or adopt it by code at start"
            )

    async def ensure(self, policy: AnyPolicy, *, by: By) -> PolicyVersion:
        """Register what the code gives, adopt it where no person has adopted a version, and return it.

        A version that a person adopted is never replaced by code. If no attached code can run it, turns under it end
        as `policy_code_changed` until a person adopts another version, or its code is attached again. A version that
        code adopted stays if this code still gives it and nothing new.
        """
        version = await self.register_code(policy, by=by, reason="registered from code")
        if not self._journal.writable:
            return version
        current = self._adoptions.get(policy.name)
        if current is not None and current.trigger == "person":
            if not self.runs(current.version):
                expected = f"its code, or that a person adopts {version.version}"
                adopted, who = current.version.version, str(current.identity)
                _log.warning("policy_code_missing", policy=policy.name, adopted=adopted, by=who, expected=expected)
            return version
        is_new = version.hash not in self._ever_adopted
        if current is None or is_new or not policy.gives(current.version.document):
            opened_by = Identity.of(by, via="code")
            await self._journal.append_if_missing(lambda: self._adopted_with_code(version, opened_by))
        return version

    def _adopted_with_code(self, version: PolicyVersion, who: Identity) -> Entry | None:
        current = self._adoptions.get(version.name)
        if current is not None and (current.trigger == "person" or current.version == version):
            return None
        return _adoption(version, who, "code", "adopted with its code")

    async def _register(
        self,
        name: str,
        document: Document,
        *,
        about: Mapping[str, Any],
        who: Identity,
        trigger: Trigger,
        reason: str | None,
    ) -> PolicyVersion:
        full_hash = version_hash(document)
        if not self._journal.writable:
            return self._versions.get(full_hash) or unregistered(name, document, about=about, by=who.name)

        def entry() -> Entry | None:
            if full_hash in self._versions:
                return None
            number = len(self._by_name.get(name, ())) + 1
            return PolicyRegisteredEntry(
                name=name,
                number=number,
                version=version_id(number, full_hash),
                hash=full_hash,
                document=document,
                about=dict(about),
                **who.written(),
                reason=reason,
                trigger=trigger,
            )

        await self._journal.append_if_missing(entry)
        return self._versions[full_hash]

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, PolicyRegisteredEntry):
            _check(entry, recorded)
            version = PolicyVersion(
                name=entry.name,
                number=entry.number,
                version=entry.version,
                hash=entry.hash,
                document=entry.document,
                about=entry.about,
                by=entry.by,
                reason=entry.reason,
                registered_at=recorded.recorded_at,
                identity_source=entry.identity_source,
                via=entry.via,
                trigger=entry.trigger,
            )
            if entry.trigger == "person":
                self._proposers.setdefault(entry.hash, []).append(version.identity)
            self._versions[entry.hash] = version
            self._by_name.setdefault(entry.name, []).append(version)
        elif isinstance(entry, PolicyProposedEntry | PolicyAdoptedEntry):
            if entry.hash not in self._versions:
                raise _tampered(entry.version, recorded, "was never registered")
            who = Identity(entry.by, entry.identity_source, entry.via)
            if isinstance(entry, PolicyProposedEntry):
                self._proposers.setdefault(entry.hash, []).append(who)
                return
            version = self._versions[entry.hash]
            self._adoptions[entry.name] = Adoption(
                version, who, entry.trigger, entry.reason, recorded.recorded_at, entry.effective_from
            )
            self._ever_adopted.add(entry.hash)


def _adoption(
    version: PolicyVersion,
    who: Identity,
    trigger: Trigger,
    reason: str | None,
    *,
    effective_from: datetime | None = None,
) -> PolicyAdoptedEntry:
    return PolicyAdoptedEntry(
        **who.written(),
        name=version.name,
        version=version.version,
        hash=version.hash,
        reason=reason,
        trigger=trigger,
        effective_from=effective_from,
    )


def _check_effective(effective_from: datetime | None, now: datetime) -> None:
    """Refuse a time without a zone, or in the future."""
    if effective_from is None:
        return
    if effective_from.tzinfo is None:
        raise AdmissionError(
            f"effective_from [{effective_from}] has no zone; expected one, as in [2020-01-31T00:00:00+00:00]: add it"
        )
    if effective_from > now:
        raise AdmissionError(
            f"effective_from [{effective_from}] is later than now [{now}]; expected a time in the past: what turns pin "
            "follows the adoption itself, so adopt it then"
        )


def _check(entry: PolicyRegisteredEntry, recorded: Recorded) -> None:
    """Refuse a version whose document does not give its hash, or has another name."""
    if version_hash(entry.document) != entry.hash:
        raise _tampered(entry.version, recorded, "does not give its hash")
    if entry.document.get("name") != entry.name or entry.version != version_id(entry.number, entry.hash):
        raise _tampered(entry.version, recorded, "has another name than its document")


def _tampered(version: str, recorded: Recorded, problem: str) -> PolicyTamperedError:
    return PolicyTamperedError(
        f"policy version [{version}] at sequence [{recorded.sequence}] of journal [{POLICY_JOURNAL}] {problem}; "
        "expected what was registered: run `loom verify`, restore a backup"
    )
