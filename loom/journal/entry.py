"""`Entry`, the registry of kinds, and `Recorded`, an entry as the store returns it.

An entry is a fact in the past tense. Reading never refuses it: an entry of an unknown kind, or one that a newer loom
wrote, is returned as `UnknownEntry` with everything that was stored.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import from_json

from loom.absent import is_none
from loom.clock import datetime_from_us
from loom.errors import DuplicateKindError, EntryUnreadableError, InvalidNameError
from loom.identity import Identity
from loom.journal.admission import parse_json

__all__ = [
    "BODY_SCHEMES",
    "KINDS",
    "SEALED_SCHEMES",
    "Entry",
    "KindRegistry",
    "Part",
    "PersonEntry",
    "Recorded",
    "ReferringEntry",
    "Step",
    "StepReference",
    "Steps",
    "UnknownEntry",
    "at_path",
]

_KIND = re.compile(r"[a-z][a-z0-9]*(?:[_.][a-z0-9]+)*\Z")
_MAX_KIND = 64

BODY_SCHEMES = frozenset({1, 2})
"""The schemes of bodies that this loom writes and reads: digested as a whole, or field by field."""

SEALED_SCHEMES = {1: 0, 2: -2}
"""Body scheme → that of the same body encrypted in an archive: the stored bytes are the sealed body."""


class Step(NamedTuple):
    """Which step of its turn wrote an entry: the verb, its key, and how many equal ones came before."""

    verb: str
    key: str
    occurrence: int = 0

    def __str__(self) -> str:
        again = f" (#{self.occurrence + 1})" if self.occurrence else ""
        return f"{self.verb} {self.key}{again}"


class StepReference(NamedTuple):
    """An earlier entry of the same journal: its sequence, and the digest of its body in hex."""

    sequence: int
    digest: str


class Entry(BaseModel):
    """A permanent fact: subclass it, give it a `kind`, and `Actor.record` journals it.

    When the shape of a kind changes, raise `schema_version` and add a step from each older version to `upcast`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    kind: ClassVar[str]
    schema_version: ClassVar[int] = 1

    leaves_out_defaults: ClassVar[bool] = False
    """Whether a field at its default is left out when it is written: then the defaults of its schema are fixed."""

    redactable: ClassVar[bool] = False
    """Whether a proof may leave out single fields: then its bodies are digested field by field, as body scheme 2."""

    is_referred_to: ClassVar[bool] = False
    """Whether later entries of its turn may refer to it."""

    subject_field: ClassVar[str | None] = None
    """The field that names whose the declared fields are, where that is not the subject of the command: see
    loom.sealing."""

    step: Step | None = None
    """Set by loom: the step that wrote this entry, if a step did."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "kind" in cls.__dict__:
            KINDS.register(cls)

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of schema `version` in the shape of `version + 1`; override when shapes change."""
        raise EntryUnreadableError(
            f"kind [{cls.kind}] has no step from schema [{version}] to [{version + 1}]; "
            f"expected one up to [{cls.schema_version}]: override {cls.__name__}.upcast"
        )

    @classmethod
    def downcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any] | None:
        """Return the body of schema `version + 1` in the shape of `version`; None where that cannot say the same.

        It is asked for while processes of an earlier loom may read the journal; override when shapes change.
        """
        raise EntryUnreadableError(
            f"kind [{cls.kind}] has no step from schema [{version + 1}] back to [{version}]; expected one, as the "
            f"floor of the journal is lower: override {cls.__name__}.downcast"
        )


class PersonEntry(Entry):
    """An entry that names a person, and says where the name comes from; base of all such kinds.

    `person` is the field with the name. Make one with `**identity.written()`; a name that comes without a source is
    journaled as claimed. `sources_since` says which schema was the first with sources, of a kind that is older.
    """

    person: ClassVar[str] = "by"
    sources_since: ClassVar[int] = 2

    identity_source: str | None = Field(default=None, exclude_if=is_none)
    """Where the name was established (see `loom.identity.Identity`); None where there is no name, or none was kept."""
    via: str | None = Field(default=None, exclude_if=is_none)
    """Which way the name came in."""

    @property
    def identity(self) -> Identity | None:
        """The person and where the name comes from; None if the entry names no person."""
        name: str | None = getattr(self, self.person)
        return None if name is None else Identity(name, self.identity_source, self.via)

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of the last schema without sources as it is: none were kept."""
        return body if version == cls.sources_since - 1 else super().upcast(version, body)


class ReferringEntry(Entry):
    """An entry that refers to earlier entries of its journal, instead of saying again what they say."""

    @abstractmethod
    def references(self) -> tuple[StepReference, ...]:
        """Return what it refers to, as it was written."""

    @abstractmethod
    def joined(self, steps: Mapping[int, Recorded]) -> Self:
        """Return it with what it refers to filled in; `steps` has, by sequence, the entries that are still known.

        It must not fail: a reference to an entry that is missing, or has no body any more, is marked as gone.
        """


class UnknownEntry(Entry):
    """An entry whose body this process cannot interpret, kept as it was stored.

    `problem` is `unknown_kind`, `newer_schema`, `newer_scheme` (its body is hashed in a way that this loom does not
    know), `sealed` (it lies encrypted in an archive) or `erased` (it was pruned or erased, and that is declared).
    """

    of_kind: str
    of_schema: int
    problem: str
    body: JsonValue = None


class KindRegistry:
    """Which class reads which kind. One per process, as classes are; explicit, so that tests can make their own."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Entry]] = {}

    def register(self, cls: type[Entry]) -> None:
        """Make a class the reader of its kind; another class of the same kind is a `DuplicateKindError`."""
        kind = cls.kind
        if len(kind) > _MAX_KIND or not _KIND.match(kind):
            raise InvalidNameError(
                f"kind [{kind!r}] of [{cls.__qualname__}] is not a name; expected [words of a-z and 0-9 joined by _ or "
                ".]: "
                "rename it"
            )
        if cls.schema_version < 1:
            raise InvalidNameError(
                f"schema version of kind [{kind}] is [{cls.schema_version}]; expected [1 or more]: count from 1"
            )
        known = self._classes.get(kind)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise DuplicateKindError(
                f"kind [{kind}] is claimed by [{cls.__module__}.{cls.__qualname__}] and belongs to "
                f"[{known.__module__}.{known.__qualname__}]: give one of them another kind"
            )
        self._classes[kind] = cls

    def get(self, kind: str) -> type[Entry] | None:
        """Return the class that reads a kind, or None."""
        return self._classes.get(kind)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._classes))

    def decode(self, kind: str, schema_version: int, body: bytes | None) -> Entry:
        """Return the entry that a stored body holds; one that cannot be interpreted is an `UnknownEntry`.

        A known kind with a body of the wrong shape is an `EntryUnreadableError`: that is damage, not the future.
        """
        if body is None:
            return UnknownEntry(of_kind=kind, of_schema=schema_version, problem="erased")
        cls = self._classes.get(kind)
        try:
            if cls is None or schema_version > cls.schema_version:
                problem = "unknown_kind" if cls is None else "newer_schema"
                return UnknownEntry(of_kind=kind, of_schema=schema_version, problem=problem, body=parse_json(body))
            if schema_version == cls.schema_version:
                return cls.__pydantic_validator__.validate_json(body)  # type: ignore[no-any-return]
            return cls.model_validate_json(json.dumps(_upcast(cls, schema_version, body)))
        except EntryUnreadableError:
            raise
        except Exception as error:  # validators and `upcast` are code of a user's
            raise _unreadable(cls, kind, schema_version, error) from error

    def plain(self, kind: str, schema_version: int, body: bytes | None) -> dict[str, Any] | None:
        """Return a stored body as plain JSON in the present shape of its kind, not validated: it was, when written.

        None where nothing can be read: an erased body, an unknown kind, a newer schema. Reading one in full takes
        several times as long.
        """
        cls = self._classes.get(kind)
        if body is None or cls is None or schema_version > cls.schema_version:
            return None
        try:
            if schema_version < cls.schema_version:
                return _upcast(cls, schema_version, body)
            shape = from_json(body)
        except EntryUnreadableError:
            raise
        except Exception as error:
            raise _unreadable(cls, kind, schema_version, error) from error
        if not isinstance(shape, dict):
            raise _unreadable(cls, kind, schema_version, TypeError(f"it is a {type(shape).__name__}"))
        return shape


def _upcast(cls: type[Entry], version: int, body: bytes) -> dict[str, Any]:
    """Take a body up to the schema of its class, one step at a time."""
    shape: Any = parse_json(body)
    for step in range(version, cls.schema_version):
        shape = cls.upcast(step, shape)
    return dict(shape)


def _unreadable(cls: type[Entry] | None, kind: str, schema_version: int, error: Exception) -> EntryUnreadableError:
    reader = "JSON" if cls is None else cls.__qualname__
    return EntryUnreadableError(
        f"an entry of kind [{kind}], schema [{schema_version}], cannot be read as [{reader}]: "
        f"{type(error).__name__}: {error}; expected the shape it was written with: if the class has changed, raise "
        "its schema_version and add an upcast; if not, run `loom verify`"
    )


KINDS = KindRegistry()
"""The registry that `Entry` subclasses enter by being defined."""


class Part(NamedTuple):
    """What was asked for of an entry, read without the rest: some of its header, and values out of its body.

    `values` are as they were written, in the order in which they were asked for, None for what is not there; there are
    none at all where the body is gone.
    """

    position: int
    journal: str
    sequence: int
    kind: str
    schema_version: int
    command_id: str | None
    recorded_at_us: int
    values: tuple[Any, ...] | None

    @classmethod
    def of(cls, recorded: Recorded, paths: Sequence[str]) -> Part:
        """Return the part of an entry that was read in full."""
        body = None if recorded.body is None else json.loads(recorded.body)
        return cls(
            recorded.position,
            recorded.journal,
            recorded.sequence,
            recorded.kind,
            recorded.schema_version,
            recorded.command_id,
            recorded.recorded_at_us,
            None if body is None else tuple(at_path(body, path) for path in paths),
        )


def at_path(value: Any, path: str) -> Any:
    """Return the value in JSON at a path of names joined by dots; None if there is none."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


Steps: TypeAlias = "Mapping[tuple[str, int], Recorded]"
"""Entries that others refer to, by journal and sequence."""


@dataclass(slots=True, eq=False)
class Recorded:
    """An entry as the store returns it: the header that is hashed, the bytes as stored, decoded when asked for."""

    position: int
    journal: str
    sequence: int
    kind: str
    schema_version: int
    command_id: str | None
    epoch: int
    recorded_at_us: int
    clock_back_us: int
    policy_hash: bytes | None
    salt: bytes | None
    body: bytes | None
    body_digest: bytes
    entry_hash: bytes
    body_scheme: int = 1
    """How the digest of the body was made; this loom knows 1 and 2, and reads nothing out of a body of another."""
    _entry: Entry | None = field(default=None, repr=False)
    _plain: dict[str, Any] | None = field(default=None, init=False, repr=False)
    _is_parsed: bool = field(default=False, init=False, repr=False)
    _steps: Steps | None = field(default=None, init=False, repr=False)
    opened: object = field(default=None, init=False, repr=False)
    """A sealed part of it that a reader opened for the views; None where no reader tried. It is never written."""
    workspace: str = field(default="", kw_only=True)
    """The workspace of the entry, if the reader knows it; otherwise empty."""

    @property
    def entry(self) -> Entry:
        """The entry itself, decoded on first use: as it was written, or joined where `join` said with what."""
        if self._entry is None and self.body_scheme not in BODY_SCHEMES and self.body is not None:
            problem = "sealed" if self.is_sealed else "newer_scheme"
            self._entry = UnknownEntry(
                of_kind=self.kind, of_schema=self.schema_version, problem=problem, body=parse_json(self.body)
            )
        if self._entry is None:
            self._entry = KINDS.decode(self.kind, self.schema_version, self.body)
            if self._steps is not None:
                self._entry = _joined(self._entry, self.journal, self._steps)
        return self._entry

    def join(self, steps: Steps) -> None:
        """Have `entry` say in full what it refers to, out of `steps`; nothing is decoded before that is asked for."""
        self._steps = steps
        if self._entry is not None:
            self._entry = _joined(self._entry, self.journal, steps)

    @property
    def has_body(self) -> bool:
        """Whether there is a body to be read: it was not pruned or erased, and is not sealed in an archive."""
        return self.body is not None and not self.is_sealed

    @property
    def is_sealed(self) -> bool:
        """Whether its body is encrypted, as an archive has it."""
        return self.body_scheme <= 0

    @property
    def hashed_by(self) -> int:
        """The body scheme by which it was hashed, also where its body is sealed now."""
        return {sealed: scheme for scheme, sealed in SEALED_SCHEMES.items()}.get(self.body_scheme, self.body_scheme)

    @property
    def refers(self) -> bool:
        """Whether it is of a kind that refers to earlier entries, and can be read."""
        cls = KINDS.get(self.kind)
        return cls is not None and issubclass(cls, ReferringEntry) and self.has_body

    @property
    def plain(self) -> dict[str, Any] | None:
        """The body as plain JSON in the present shape of its kind; see `KindRegistry.plain`."""
        if not self._is_parsed:
            body = self.body if self.body_scheme in BODY_SCHEMES else None
            self._plain = KINDS.plain(self.kind, self.schema_version, body)
            self._is_parsed = True
        return self._plain

    @property
    def reference(self) -> StepReference:
        """How a later entry of its journal refers to it."""
        return StepReference(self.sequence, self.body_digest.hex())

    @property
    def recorded_at(self) -> datetime:
        """When it was recorded, never earlier than the entry before it."""
        return datetime_from_us(self.recorded_at_us)

    @property
    def policy(self) -> str | None:
        """The full hash of the policy version that was in force, as hex digits."""
        return None if self.policy_hash is None else self.policy_hash.hex()

    def as_json(self) -> dict[str, Any]:
        """The entry as a program reads it: its header in full, and its body."""
        return {
            "position": self.position,
            "journal": self.journal,
            "sequence": self.sequence,
            "kind": self.kind,
            "schema_version": self.schema_version,
            "command_id": self.command_id,
            "epoch": self.epoch,
            "recorded_at": self.recorded_at.isoformat(),
            "policy": self.policy,
            "entry_hash": self.entry_hash.hex(),
            "erased": self.body is None,
            "body": self.body_json(),
        }

    def body_json(self) -> JsonValue:
        """The body as plain JSON, whatever its kind; None where it was pruned or erased."""
        value: JsonValue = None if self.body is None else json.loads(self.body)
        return value


def _joined(entry: Entry, journal: str, steps: Steps) -> Entry:
    """Return an entry with what it refers to; an entry that is not the one referred to counts as not there."""
    if not isinstance(entry, ReferringEntry):
        return entry
    found = {}
    for reference in entry.references():
        step = steps.get((journal, reference.sequence))
        if step is not None and step.body_digest.hex() == reference.digest:
            found[reference.sequence] = step
    return entry.joined(found)
