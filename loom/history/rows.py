"""One row made into what is written of it, or into what is wrong with it. Pure: the same row gives the same."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.decisions.decision import Decision, ObservedSource, PrecedentClass, observed_decision_id
from loom.decisions.entries import DecisionObservedEntry
from loom.errors import AdmissionError, ImportMapError, InvalidNameError
from loom.history.map import Cell, ImportMap, Kind
from loom.history.reading import RawRow
from loom.history.values import BadValueError, cell_reader, moment_reader
from loom.identity import CLAIMED, check_person, journal_name
from loom.policies.tables import Table, load_table
from loom.precedents.equivalence import EquivalenceRule

__all__ = ["NO_REASON", "Prepared", "Preparer", "Problem"]

NO_REASON = "no reason was recorded"
"""The rationale of a decision whose source gives none."""

_MASK = "***"
_MAX_OWN_ID = 200
_MAX_SUBJECT = 200
_MISSING = object()

Reader = Callable[[Mapping[str, object]], JsonValue]


class Problem(NamedTuple):
    """What is wrong with one row: which, where in it, a stable word for it, and a sentence."""

    row: int
    column: str
    code: str
    message: str


class Prepared(NamedTuple):
    """What is to be written of one row. `content` is all that it says, and `digest` that of its canonical form."""

    row: int
    own_id: str
    journal: str
    content: dict[str, Any]
    canonical: str
    digest: str
    seals: Mapping[str, str | None] = MappingProxyType({})
    """Path → for whom it is to be sealed, None where the row does not say; empty once that was done."""

    def with_content(self, content: dict[str, Any]) -> Prepared:
        """Return the row with its content sealed."""
        canonical = _canonical(self.journal, content)
        return Prepared(self.row, self.own_id, self.journal, content, canonical, _digest(canonical))

    @classmethod
    def of(cls, row: int, own_id: str, canonical: str) -> Prepared:
        """Return what was prepared before, by its canonical form."""
        journal, content = json.loads(canonical)
        return cls(row, own_id, journal, content, canonical, _digest(canonical))

    @property
    def header_id(self) -> str:
        """The id in the header of the entry: the source and the own id."""
        return f"{self.content['source']}:{self.own_id}"


class Preparer:
    """Makes rows into decisions by a map. `secret` is the key that hashes values; None where there is none."""

    def __init__(
        self,
        given: ImportMap,
        *,
        workspace: str,
        digest: str,
        base: Path | None = None,
        rule: EquivalenceRule | None = None,
        secret: bytes | None = None,
    ) -> None:
        self._map = given
        self._workspace = workspace
        self._file = digest
        self._rule = rule
        self._secret = secret
        if "hash" in given.protect.values() and secret is None:
            raise ImportMapError(
                "map protects by [hash], and there is no master key; expected one, as a hash without a key can be "
                "guessed: set LOOM_MASTER_KEY, or mask or drop"
            )
        self._table = _table_of(given, base)
        kinds = (
            {} if self._table is None else {name: _kind(fact.type) for name, fact in self._table.layout.facts.items()}
        )
        self._facts = [
            (name, _column(cell), cell_reader(cell, kinds.get(name, "text"))) for name, cell in given.facts.items()
        ]
        self._outcome = _readers(given.outcome)
        self._context = _readers(given.context)
        self._own_id = None if given.own_id is None else cell_reader(given.own_id)
        self._key = None if given.key is None else cell_reader(given.key)
        self._rationale = None if given.rationale is None else cell_reader(given.rationale)
        self._decider = None if given.decider is None else cell_reader(given.decider)
        self._subject = None if given.subject is None else cell_reader(given.subject)
        self._moment = None if given.decided_at is None else moment_reader(given.decided_at)
        self._sealed = given.sealed()
        self._type = given.decision_type or given.type.replace("-", "_")

    def prepare(self, raw: RawRow, *, now: datetime) -> tuple[Prepared | None, list[Problem]]:
        """Return what is to be written of a row, or what is wrong with it."""
        if raw.problem is not None:
            return None, [Problem(raw.number, "", "bad_row", f"row {raw.problem}")]
        problems: list[Problem] = []
        own_id = self._own(raw, problems)
        content = self._content(raw, now, problems)
        journal = ""
        key = self._one(self._key, self._map.key, raw, problems, "key") if self._key else own_id
        try:
            journal = journal_name(self._map.type, str(key))
        except InvalidNameError as error:
            problems.append(Problem(raw.number, _column(self._map.key), "bad_key", str(error)))
        if problems or own_id is None:
            return None, problems
        canonical = _canonical(journal, content)
        seals = self._seals(raw, content)
        return Prepared(raw.number, own_id, journal, content, canonical, _digest(canonical), seals), problems

    def entry(self, prepared: Prepared, *, run_id: str) -> DecisionObservedEntry:
        """Return the entry of a row. What was prepared is plain and checked: it is not looked through again."""
        content = prepared.content
        source = ObservedSource.model_construct(
            name=self._map.source,
            own_id=prepared.own_id,
            digest=self._file,
            row=prepared.row,
            row_digest=prepared.digest,
        )
        decided_at = content["decided_at"]
        decision = Decision.model_construct(
            decision_id=observed_decision_id(
                workspace=self._workspace, journal=prepared.journal, source=self._map.source, own_id=prepared.own_id
            ),
            decision_type=self._type,
            rationale=content["rationale"],
            rationale_author="human",
            policy=None,
            facts=content["facts"],
            outcome=content["outcome"],
            context=content["context"],
            precedent_class=self._class(content),
            run_id=run_id,
            origin="observed",
            decided_at=None if decided_at is None else datetime.fromisoformat(decided_at),
        )
        by = content["decided_by"]
        who = {} if by is None else {"decided_by": by, "identity_source": CLAIMED, "via": source.via}
        return DecisionObservedEntry.model_construct(decision=decision, source=source, **who)

    def _seals(self, raw: RawRow, content: Mapping[str, Any]) -> dict[str, str | None]:
        """Return for whom each value is to be sealed that is there."""
        found: dict[str, str | None] = {}
        for path, column in self._sealed.items():
            section, _, name = path.partition(".")
            if content[section].get(name) is None:
                continue
            named = content["context"].get("subject") if column is None else raw.cells.get(column)
            found[path] = None if named is None or not str(named).strip() else str(named).strip()
        return found

    def _own(self, raw: RawRow, problems: list[Problem]) -> str | None:
        if self._own_id is None:
            return str(raw.number)
        own_id = self._one(self._own_id, self._map.own_id, raw, problems, "own_id")
        text = "" if own_id is None else str(own_id)
        if 0 < len(text) <= _MAX_OWN_ID and text.isprintable():
            return text
        if not any(each.column == _column(self._map.own_id) for each in problems):
            message = f"own id is [{text[:40]!a}]; expected 1 to {_MAX_OWN_ID} printable characters"
            problems.append(Problem(raw.number, _column(self._map.own_id), "bad_own_id", message))
        return None

    def _content(self, raw: RawRow, now: datetime, problems: list[Problem]) -> dict[str, Any]:
        facts = self._judged(raw, dict(self._section(self._facts, raw, problems)), problems)
        outcome = dict(self._section(self._outcome, raw, problems))
        if not outcome and not problems:
            problems.append(Problem(raw.number, "", "no_outcome", "row says nothing of an outcome; expected one"))
        context = dict(self._section(self._context, raw, problems))
        if self._subject is not None:
            context["subject"] = self._who(self._subject, self._map.subject, raw, problems, "subject", _MAX_SUBJECT)
        decider = self._who(self._decider, self._map.decider, raw, problems, "decider", _MAX_OWN_ID)
        said = self._one(self._rationale, self._map.rationale, raw, problems, "rationale")
        content: dict[str, Any] = {
            "source": self._map.source,
            "decision_type": self._type,
            "rationale": str(said).strip() if said else NO_REASON,
            "facts": facts,
            "outcome": outcome,
            "context": context,
            "decided_by": decider,
            "decided_at": self._decided_at(raw, now, problems),
        }
        for path, how in self._map.protect.items():
            if how != "seal":
                self._protect(content, path, how)
        return content

    def _section(
        self, readers: list[tuple[str, str, Reader]], raw: RawRow, problems: list[Problem]
    ) -> Iterator[tuple[str, JsonValue]]:
        for name, column, read in readers:
            try:
                value = read(raw.cells)
            except BadValueError as error:
                problems.append(Problem(raw.number, column, error.code, f"[{column}] {error}"))
                continue
            if value is not None:
                yield name, value

    def _judged(self, raw: RawRow, facts: dict[str, JsonValue], problems: list[Problem]) -> dict[str, Any]:
        """Return facts in the form that the table asks for, where one is named."""
        if self._table is None:
            return facts
        try:
            return self._table.facts(facts)
        except AdmissionError as error:
            problems.append(Problem(raw.number, error.path.removeprefix("$."), "inexact", str(error)))
            return facts

    def _decided_at(self, raw: RawRow, now: datetime, problems: list[Problem]) -> str | None:
        if self._moment is None:
            return None
        column = (self._map.decided_at.column if self._map.decided_at else None) or "decided_at"
        try:
            at = self._moment(raw.cells)
        except BadValueError as error:
            problems.append(Problem(raw.number, column, error.code, f"[{column}] {error}"))
            return None
        if at is not None and at > now:
            message = f"[{column}] is [{at.isoformat()}]; expected a time before now [{now.isoformat()}]"
            problems.append(Problem(raw.number, column, "in_future", message))
        return None if at is None else at.isoformat()

    def _one(
        self, read: Reader | None, cell: Cell | None, raw: RawRow, problems: list[Problem], what: str
    ) -> JsonValue:
        if read is None:
            return None
        try:
            return read(raw.cells)
        except BadValueError as error:
            column = _column(cell) or what
            problems.append(Problem(raw.number, column, error.code, f"[{column}] {error}"))
            return None

    def _who(
        self, read: Reader | None, cell: Cell | None, raw: RawRow, problems: list[Problem], what: str, longest: int
    ) -> str | None:
        said = self._one(read, cell, raw, problems, what)
        if said is None:
            return None
        name = str(said)
        try:
            check_person(name, what=what)
        except InvalidNameError as error:
            problems.append(Problem(raw.number, _column(cell), "bad_name", str(error)))
        return name[:longest]

    def _protect(self, content: dict[str, Any], path: str, how: str) -> None:
        section, dot, name = path.partition(".")
        held, at = (content[section], name) if dot else (content, section)
        value = held.get(at)
        if value is None:
            return
        if how == "drop":
            held.pop(at)
            if not dot:
                content[section] = NO_REASON if section == "rationale" else None
        else:
            held[at] = _MASK if how == "mask" else self._hashed(path, value)

    def _hashed(self, path: str, value: object) -> str:
        said = json.dumps([path, value], sort_keys=True, ensure_ascii=False).encode()
        key = hmac.digest(self._secret or b"", f"loom/import/{self._map.source}/v1".encode(), "sha256")
        return f"hmac:{hmac.digest(key, said, 'sha256').hex()}"

    def _class(self, content: Mapping[str, Any]) -> PrecedentClass | None:
        if self._rule is None:
            return None
        try:
            return self._rule.classify(self._in_clear(content, "facts"), self._in_clear(content, "outcome"))
        except AdmissionError:  # facts without what the rule looks at have no class
            return None

    def _in_clear(self, content: Mapping[str, Any], section: str) -> dict[str, Any]:
        """Return what is not sealed: no class is made of what is."""
        return {name: value for name, value in content[section].items() if f"{section}.{name}" not in self._sealed}


def _canonical(journal: str, content: Mapping[str, Any]) -> str:
    return json.dumps([journal, content], sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _digest(canonical: str) -> str:
    return hashlib.sha256(canonical.encode()).hexdigest()


def _readers(cells: Mapping[str, Cell], kinds: Mapping[str, Kind] | None = None) -> list[tuple[str, str, Reader]]:
    known = kinds or {}
    return [(name, _column(cell), cell_reader(cell, known.get(name, "text"))) for name, cell in cells.items()]


def _column(cell: Cell | None) -> str:
    return "" if cell is None or cell.column is None else cell.column


def _kind(fact: str) -> Kind:
    return fact if fact in ("integer", "decimal", "boolean") else "text"  # type: ignore[return-value]


def _table_of(given: ImportMap, base: Path | None) -> Table | None:
    if given.table is None:
        return None
    return load_table((base or Path()) / given.table)
