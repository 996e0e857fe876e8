"""When two cases are alike: explicit rules, and the keys that they give.

A rule names facts. A case's *situation* key is made from them alone, its *precedent* key from them and the outcome, so
that a denial and an acceptance are never in one class. The same inputs give the same keys in any process, on any
machine. The format of the keys is final; golden files hold it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeAlias

import rfc8785
from pydantic import BaseModel, JsonValue

from loom.decisions.decision import PrecedentClass
from loom.errors import AdmissionError
from loom.journal.admission import json_value
from loom.policies.canonical import Json
from loom.precedents.attributes import Attribute, Bin, Exact, FromContext, Plain, SetOf, declared, refuse
from loom.sealing.markers import placeholder_of

__all__ = ["FORMAT", "Attribute", "Bin", "EquivalenceRule", "Exact", "FromContext", "KeyOf", "SetOf", "rule_hash"]

FORMAT = "loom.equivalence/1"
_FORMAT_2 = "loom.equivalence/2"
"""The format of rules with borders, or with attributes from the context: an older loom refuses it by name."""

Given: TypeAlias = "Mapping[str, object] | BaseModel"
"""Facts or an outcome, as a model or as plain values."""

KeyOf: TypeAlias = Callable[[str, Json], str]
"""Returns an HMAC for the name of an attribute and the form of its value in keys."""

_FORMAT_3 = "loom.equivalence/3"
"""The format of rules with keyed attributes."""

_RULE = b"loom/equivalence/v1\n"
_SITUATION = b"loom/situation/v1\n"
_PRECEDENT = b"loom/precedent/v1\n"


class EquivalenceRule:
    """Declares which facts, and which parts of the outcome, make two decisions precedents of each other.

    A name with a dot is a path into a fact that is an object: `state.energy`. The order of the attributes does not
    count. Attributes `FromContext` are taken from the context of a decision; then a key needs the context, too.
    """

    def __init__(self, name: str, *, attributes: Iterable[Attribute], outcome: Iterable[Attribute] = ()) -> None:
        self.name = name
        self.attributes = _attributes(attributes, f"attributes of [{name}]")
        self.outcome = _attributes(outcome, f"outcome of [{name}]")
        if any(isinstance(each, FromContext) for each in self.outcome):
            raise AdmissionError(
                f"outcome of [{name}] has an attribute from the context; expected what was decided: name it among the "
                "attributes"
            )
        if any(each.keyed for each in self.outcome if not isinstance(each, FromContext)):
            raise AdmissionError(
                f"outcome of [{name}] has a keyed attribute; expected an outcome in clear: key attributes of facts only"
            )
        if not name.strip() or not self.attributes:
            raise AdmissionError(
                f"equivalence rule [{name}] has [{len(self.attributes)}] attributes; expected a name and at least one: "
                "name which facts make two cases alike"
            )

    def __repr__(self) -> str:
        return f"EquivalenceRule({self.name!r}, hash={self.hash[:12]})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EquivalenceRule) and other.hash == self.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def document(self) -> dict[str, Json]:
        """Return everything that can change a key."""
        return {
            "format": self._format,
            "name": self.name,
            "attributes": [attribute.declaration() for attribute in self.attributes],
            "outcome": [attribute.declaration() for attribute in self.outcome],
        }

    @property
    def _format(self) -> str:
        every = [
            each.attribute if isinstance(each, FromContext) else each for each in (*self.attributes, *self.outcome)
        ]
        if any(each.keyed for each in every):
            return _FORMAT_3
        newer = every != [*self.attributes, *self.outcome] or any(isinstance(each, Bin) and each.at for each in every)
        return _FORMAT_2 if newer else FORMAT

    @cached_property
    def is_keyed(self) -> bool:
        """Whether an attribute is keyed, so that the keys of cases need the key of the workspace."""
        return self._format == _FORMAT_3

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the rule itself, as 64 hex digits."""
        return rule_hash(self.document())

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> EquivalenceRule:
        """Return the rule of a document; raise `AdmissionError` for an invalid document."""
        try:
            if document["format"] not in (FORMAT, _FORMAT_2, _FORMAT_3):
                refuse("format", f"is [{document['format']!r:.40}]", f"{FORMAT}, {_FORMAT_2} or {_FORMAT_3}")
            return cls(
                document["name"],
                attributes=[declared(each) for each in document["attributes"]],
                outcome=[declared(each) for each in document["outcome"]],
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, AdmissionError):
                raise
            raise AdmissionError(
                f"equivalence document has [{type(error).__name__}: {error}]; expected [{FORMAT}]: "
                "it is what `document()` of a rule gives"
            ) from error

    def situation_key(self, facts: Given, *, context: Given | None = None, key_of: KeyOf | None = None) -> str:
        """Return the key of a case before it is decided, 64 hex digits; `AdmissionError` for facts without one.

        A rule with keyed attributes gives no key without `key_of`.
        """
        return self._situation(_material(self.attributes, facts, context, key_of=key_of))

    def precedent_key(
        self, facts: Given, outcome: Given, *, context: Given | None = None, key_of: KeyOf | None = None
    ) -> str:
        """Return the key of a decided case, 64 hex digits."""
        alike = _material(self.attributes, facts, context, key_of=key_of)
        return self._precedent(alike, _material(self.outcome, outcome))

    def classify(
        self, facts: Given, outcome: Given, *, context: Given | None = None, key_of: KeyOf | None = None
    ) -> PrecedentClass:
        """Return both keys with the hash of the rule, in the form that a decision keeps."""
        alike = _material(self.attributes, facts, context, key_of=key_of)
        decided = _material(self.outcome, outcome)
        return PrecedentClass(
            rule=self.hash, situation=self._situation(alike), precedent=self._precedent(alike, decided)
        )

    def outcome_key(self, outcome: Given) -> str:
        """Return the part of an outcome that determines a class, as canonical text, equal within a class."""
        return rfc8785.dumps(_material(self.outcome, outcome)).decode()

    def _situation(self, alike: Json) -> str:
        return _digest(_SITUATION, {"rule": self.hash, "facts": alike})

    def _precedent(self, alike: Json, decided: Json) -> str:
        return _digest(_PRECEDENT, {"rule": self.hash, "facts": alike, "outcome": decided})

    def describe(self, facts: Given, outcome: Given | None = None, *, context: Given | None = None) -> dict[str, str]:
        """Return the parts of a key in words, by attribute. Values outside a declared range are marked.

        With an outcome, its attributes follow. A missing value, or one without a key, is marked and never an error.
        """
        words = _in_words(self.attributes, facts, context)
        return words if outcome is None else {**words, **_in_words(self.outcome, outcome, known=words)}

    def named(self, facts: Given, outcome: Given | None = None, *, context: Given | None = None) -> str:
        """Return the name of a class by its attributes: `industry health, percent 10 to 20 → granted yes`."""
        situation = ", ".join(f"{name} {part}" for name, part in _parts(self.attributes, facts, context))
        if outcome is None:
            return situation
        return f"{situation} → {self.outcome_in_words(outcome)}"

    def outcome_in_words(self, outcome: Given) -> str:
        """Return the part of an outcome that determines a class, in words: `granted yes`."""
        return ", ".join(f"{name} {part}" for name, part in _parts(self.outcome, outcome))

    def outside(self, facts: Given, outcome: Given | None = None, *, context: Given | None = None) -> dict[str, str]:
        """Return the attributes that are `below` or `above` their declared range, and so in an end bin."""
        sources = _Sources(facts, context)
        found = {each.name: _outside(each, sources) for each in self.attributes}
        if outcome is not None:
            found |= {each.name: _outside(each, _Sources(outcome, None)) for each in self.outcome}
        return {name: side for name, side in found.items() if side is not None}


def rule_hash(document: Mapping[str, Json]) -> str:
    """Return the SHA-256 of the declaration of a rule, as 64 hex digits."""
    return _digest(_RULE, document)


def _attributes(given: Iterable[Attribute], what: str) -> tuple[Plain | FromContext, ...]:
    chosen = [Exact(each) if isinstance(each, str) else each for each in given]
    names = [each.name for each in chosen]
    if len(set(names)) != len(names):
        raise AdmissionError(f"{what} are [{', '.join(names)}]; expected [each name once]: drop the repeated ones")
    return tuple(sorted(chosen, key=lambda each: each.name))


class _Sources:
    """The sources of the values of attributes."""

    def __init__(self, facts: Given, context: Given | None) -> None:
        self._facts = _json_object(facts)
        self._context = {} if context is None else _json_object(context)

    def of(self, attribute: Plain | FromContext) -> tuple[Plain, JsonValue]:
        """Return an attribute without its source, and its value; raise `AdmissionError` for a missing one."""
        if isinstance(attribute, FromContext):
            return attribute.attribute, _value(self._context, attribute.attribute.name, attribute.name)
        return attribute, _value(self._facts, attribute.name, attribute.name)


def _in_words(
    attributes: Iterable[Plain | FromContext],
    given: Given,
    context: Given | None = None,
    *,
    known: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return attributes in words. A repeated name gets its place as a prefix, as fact and outcome may share a name."""
    sources, words = _Sources(given, context), {}
    for each in attributes:
        try:
            attribute, value = sources.of(each)
            said = attribute.describe(value)
        except AdmissionError as error:
            said = f"without a key: {str(error).partition(';')[0]}"
        words[f"outcome {each.name}" if known and each.name in known else each.name] = said
    return words


def _parts(
    attributes: Iterable[Plain | FromContext], given: Given, context: Given | None = None
) -> Iterator[tuple[str, str]]:
    """Yield attributes by their part alone, for the name of a class."""
    sources = _Sources(given, context)
    for each in attributes:
        try:
            attribute, value = sources.of(each)
            said = attribute.part(value) if isinstance(attribute, Bin) else attribute.describe(value)
        except AdmissionError:
            said = "without a key"
        yield each.name.removeprefix("context:"), said


def _outside(each: Plain | FromContext, sources: _Sources) -> str | None:
    kind = each.attribute if isinstance(each, FromContext) else each
    return kind.outside(sources.of(each)[1]) if isinstance(kind, Bin) else None


def _material(
    attributes: Iterable[Plain | FromContext],
    given: Given,
    context: Given | None = None,
    *,
    key_of: KeyOf | None = None,
) -> dict[str, Json]:
    sources, found = _Sources(given, context), dict[str, Json]()
    for each in attributes:
        attribute, value = sources.of(each)
        material = attribute.material(value)
        if attribute.keyed:
            if key_of is None:
                refuse(each.name, "is keyed, and the key of the workspace is not at hand", "a vault: see sealing")
            material = {"$keyed": key_of(each.name, material)}
        found[each.name] = material
    return found


def _json_object(given: Given) -> Mapping[str, JsonValue]:
    plain = json_value(given if isinstance(given, BaseModel) else dict(given))
    return plain if isinstance(plain, dict) else {}


def _value(plain: Mapping[str, JsonValue], name: str, called: str) -> JsonValue:
    """Return the value of an attribute: by its exact name, or by a path into objects."""
    if name in plain:
        return _readable(plain[name], called)
    found: JsonValue = dict(plain)
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            refuse(called, "is missing", "a value for every attribute of the rule")
        found = found[part]
    return _readable(found, called)


def _readable(value: JsonValue, called: str) -> JsonValue:
    """Return a value for a key; refuse a sealed one, because the key would reveal it."""
    if isinstance(value, dict) and placeholder_of(value) is not None:
        refuse(called, "is sealed, or not kept", "a value that can be read")
    return value


def _digest(domain: bytes, document: Mapping[str, Json]) -> str:
    return hashlib.sha256(domain + rfc8785.dumps(document)).hexdigest()
