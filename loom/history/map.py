"""The map of an import: which column of a row is what of a decision, and how its values are read.

It is data, in YAML or JSON, and its digest is journaled with the import: two maps of one file are two imports.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from loom.config.written import read_written
from loom.errors import ImportMapError
from loom.identity import journal_name

__all__ = ["FORMAT", "Cell", "Handling", "ImportMap", "Moment", "load_map", "map_of"]

FORMAT = "loom.import/1"

Handling: TypeAlias = Literal["mask", "hash", "drop", "seal"]
"""What is done to a value before it is written; `seal` is for whom the map's `subject` names."""

Kind: TypeAlias = Literal["text", "integer", "decimal", "boolean"]
Rounding: TypeAlias = Literal["half_even", "half_up", "half_down", "down", "up", "floor", "ceiling"]

_SOURCE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_FACT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}\Z")
_PROTECTED = re.compile(r"(?:facts|outcome|context)\.[^.].*\Z|decided_by\Z|rationale\Z")

_SECTIONS = ("facts", "outcome", "context")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class SealFor(_Strict):
    """For whom a value is sealed: whom the column `subject` names; without it, whom the map's `subject` does."""

    subject: str | None = None


class Cell(_Strict):
    """One value: out of a `column`, or the same `value` for every row.

    `seal: {column: …, subject: …}` is a column that is sealed for whom another one names.

    `as` is what it is read as; a decimal has `places` and is rounded by `rounding` where it has more. `values` declares
    which there may be, and what each of them means. `empty` are the cells that count as empty; these give no fact.
    """

    column: str | None = None
    value: JsonValue = None
    kind: Kind | None = Field(default=None, alias="as")
    places: int | None = Field(default=None, ge=0, le=18)
    rounding: Rounding | None = None
    values: dict[str, JsonValue] | None = None
    empty: tuple[str, ...] = ("",)
    required: bool = False
    seal: SealFor | None = None

    @model_validator(mode="before")
    @classmethod
    def _column_within(cls, given: Any) -> Any:
        """Take `seal: {column: …, subject: …}` as a column that is sealed."""
        if not isinstance(given, dict) or not isinstance(given.get("seal"), dict) or "column" not in given["seal"]:
            return given
        if "column" in given:
            raise ValueError("a value has two columns, one of them under seal; expected one")
        rest = {name: value for name, value in given["seal"].items() if name != "column"}
        return {**given, "column": given["seal"]["column"], "seal": rest}

    @field_validator("values", mode="before")
    @classmethod
    def _as_text(cls, values: Any) -> Any:
        if isinstance(values, dict) and any(isinstance(key, bool) for key in values):
            raise ValueError("values has a key that YAML reads as true or false; expected text: put it in quotes")
        return {str(key): each for key, each in values.items()} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.column is None) == (self.value is None):
            raise ValueError("a value has a column, or is the same for every row; expected one of [column, value]")
        if (self.places is None) != (self.rounding is None):
            raise ValueError("a number is rounded to places by a rule; expected both of [places, rounding], or neither")
        if self.rounding is not None and self.kind not in ("decimal", "integer"):
            raise ValueError("only numbers are rounded; expected as: decimal or as: integer")
        return self


class Moment(_Strict):
    """When a row was decided: a `column` in ISO 8601 or a `format` of strptime's, or one `value` for every row.

    `zone` is that of times that name none, such as `Europe/Berlin`; without it they are refused.
    """

    column: str | None = None
    value: str | None = None
    format: str | None = None
    zone: str | None = None
    empty: tuple[str, ...] = ("",)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.column is None) == (self.value is None):
            raise ValueError("a time has a column, or is the same for every row; expected one of [column, value]")
        return self

    @field_validator("value", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return value.isoformat() if isinstance(value, date) else value

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str | None) -> str | None:
        try:
            _ = None if zone is None else ZoneInfo(zone)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(f"zone [{zone}] is not known; expected one such as Europe/Berlin or UTC") from error
        return zone


class ImportMap(_Strict):
    """What the rows of a file say of decisions.

    `source` is the name under which own ids are unique in the workspace. Journals are `<type>/<key>`; `key` is by
    default the own id, and `own_id` by default the number of the row. `table` is the file of a decision table whose
    facts these are, relative to the map. `equivalence` names a registered rule that puts decisions into classes.
    """

    format: Literal["loom.import/1"]
    source: str
    type: str
    key: Cell | None = None
    own_id: Cell | None = None
    decision_type: str | None = None
    table: str | None = None
    equivalence: str | None = None
    facts: dict[str, Cell] = Field(min_length=1)
    outcome: dict[str, Cell] = Field(min_length=1)
    context: dict[str, Cell] = Field(default_factory=dict)
    rationale: Cell | None = None
    decided_at: Moment | None = None
    decider: Cell | None = None
    subject: Cell | None = None
    protect: dict[str, Handling] = Field(default_factory=dict)
    delimiter: str = Field(default=",", min_length=1, max_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not _SOURCE.match(self.source):
            raise ValueError(f"source [{self.source}] is not a name; expected [a-z, 0-9, . _ -, at most 64]")
        journal_name(self.type, "key")
        if bad := [name for name in (*self.facts, *self.outcome, *self.context) if not _FACT.match(name)]:
            raise ValueError(f"[{', '.join(bad)}] are no names; expected letters, digits, _ . - and no digit first")
        if unknown := [path for path in self.protect if not self._has(path)]:
            raise ValueError(
                f"[{', '.join(unknown)}] under protect is nothing of this map; expected paths such as facts.x"
            )
        self._check_sealed()
        for name, cell in self.outcome.items():
            if cell.values is None and cell.kind in (None, "text") and cell.column is not None:
                raise ValueError(f"outcome [{name}] declares no values; expected values:, or as: boolean or a number")
        return self

    def sealed(self) -> dict[str, str | None]:
        """Return path → the column that names for whom it is sealed, None for whom `subject` of the map names."""
        found: dict[str, str | None] = {path: None for path, how in self.protect.items() if how == "seal"}
        for section in _SECTIONS:
            for name, cell in getattr(self, section).items():
                if cell.seal is not None:
                    found[f"{section}.{name}"] = cell.seal.subject
        return found

    def _check_sealed(self) -> None:
        alone = (self.key, self.own_id, self.rationale, self.decider, self.subject)
        sealed = self.sealed()
        if any(each is not None and each.seal is not None for each in alone) or any("." not in path for path in sealed):
            raise ValueError(
                "only values of facts, outcome and context are sealed; expected mask, hash or drop elsewhere"
            )
        if twice := [path for path in sealed if self.protect.get(path, "seal") != "seal"]:
            raise ValueError(f"[{', '.join(twice)}] are sealed, and protected otherwise; expected the one or the other")
        unnamed = [path for path, column in sealed.items() if column is None]
        if unnamed and self.subject is None:
            raise ValueError(
                f"[{', '.join(unnamed)}] are sealed without a subject; expected subject: in the map, or "
                "seal: {column: …, subject: …}"
            )

    @property
    def digest(self) -> str:
        """The SHA-256 of what the map says, in hex: comments and the order of its keys do not count."""
        said = json.dumps(self.plain(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(said.encode()).hexdigest()

    def plain(self) -> dict[str, JsonValue]:
        """Return the map as plain JSON, with what goes without saying left out."""
        said: dict[str, JsonValue] = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return said

    def columns(self) -> set[str]:
        """Return the columns that rows must have."""
        cells = (*self.facts.values(), *self.outcome.values(), *self.context.values())
        alone = (self.key, self.own_id, self.rationale, self.decided_at, self.decider, self.subject)
        named = {column for column in self.sealed().values() if column is not None}
        return named | {each.column for each in (*cells, *alone) if each is not None and each.column is not None}

    def _has(self, path: str) -> bool:
        section, dot, name = path.partition(".")
        if not dot:
            return {"decided_by": self.decider, "rationale": self.rationale}.get(path) is not None
        return bool(_PROTECTED.match(path)) and name in getattr(self, section)


def load_map(path: str | Path) -> ImportMap:
    """Return the map in a file of YAML or JSON; raise `ImportMapError` for what is none."""
    file = Path(path)
    written = read_written(file, _parsed, what="map", problem=ImportMapError, fewer="name columns once")
    return map_of(written, name=str(file))


def map_of(written: Mapping[str, object], *, name: str = "map") -> ImportMap:
    """Return the map that plain data says; raise `ImportMapError`, naming each place that is wrong."""
    try:
        return ImportMap.model_validate(written)
    except ValidationError as error:
        raise ImportMapError(f"map [{name}] is not one [{'; '.join(_problems(error))}]: correct it") from error


def _parsed(text: str) -> Any:
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


class _Loader(yaml.SafeLoader):
    """Refuses what says one thing twice: the last would count, without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        keys = [key.value for key, _ in node.value]
        if twice := sorted({key for key in keys if isinstance(key, str) and keys.count(key) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"[{', '.join(twice)}] is given twice")
        return super().construct_mapping(node, deep=deep)


def _problems(error: ValidationError) -> Iterator[str]:
    for each in error.errors(include_url=False)[:10]:
        where = ".".join(str(part) for part in each["loc"])
        yield f"{where + ': ' if where else ''}{each['msg'].removeprefix('Value error, ')}"
