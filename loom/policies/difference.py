"""What differs between two versions of a policy: a table cell by cell, a rule in Python by parameters and source."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from loom.policies.canonical import untagged
from loom.policies.version import PolicyVersion

__all__ = ["Change", "Difference", "conditions_in_words", "difference", "table_changes"]

Part: TypeAlias = Literal[
    "fact", "parameter", "limit", "rule", "otherwise", "hit policy", "missing facts", "constant", "language", "name"
]


class Change(NamedTuple):
    """One difference in the second version: the place, the old value and the new one; None where there is none."""

    part: Part
    place: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.part} {self.place}: added {self.new}"
        if self.new is None:
            return f"{self.part} {self.place}: removed {self.old}"
        return f"{self.part} {self.place}: {self.old} → {self.new}"


class Difference(NamedTuple):
    """All differences in behaviour; `source` is a unified diff of the texts, which may have further differences."""

    old: str
    new: str
    changes: tuple[Change, ...]
    source: str

    @property
    def equal(self) -> bool:
        """Whether both behave the same."""
        return not self.changes

    def text(self) -> str:
        """Return it in lines, for people."""
        head = f"{self.old} → {self.new}"
        return "\n".join([head, *(f"  {change}" for change in self.changes or ("no difference in behaviour",))])


def difference(old: PolicyVersion, new: PolicyVersion) -> Difference:
    """Return the differences between two registered versions, which need not be of one policy."""
    changes: list[Change] = []
    if old.hash != new.hash:
        changes += _mapping("name", {"name": old.name}, {"name": new.name})
        languages = old.document.get("language"), new.document.get("language")
        if languages[0] != languages[1]:
            changes.append(Change("language", "language", str(languages[0]), str(languages[1])))
        elif languages[0] == "table":
            changes += table_changes(old.document, new.document)
        elif languages[0] == "python":
            changes += _rules(old.document, new.document)
    return Difference(old.version, new.version, tuple(changes), _source(old, new))


def table_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the differences between the documents of two tables, in the order of the table."""
    yield from _mapping("fact", old["facts"], new["facts"])
    for name in _union(old["parameters"], new["parameters"]):
        yield from _mapping("parameter", old["parameters"].get(name, {}), new["parameters"].get(name, {}), f"{name}.")
    if old["hit_policy"] != new["hit_policy"]:
        yield Change("hit policy", "hit policy", old["hit_policy"], new["hit_policy"])
    missing = [document.get("missing", "indeterminate") for document in (old, new)]
    if missing[0] != missing[1]:
        yield Change("missing facts", "missing facts", *missing)
    yield from _rows("limit", old["limits"], new["limits"])
    yield from _rows("rule", old["rules"], new["rules"])
    before, after = old["otherwise"] or {}, new["otherwise"] or {}
    yield from _cells("otherwise", "otherwise", before, after)
    if (
        before and after and before["name"] != after["name"]
    ):  # a rule with another name is another rule; this is the row
        yield Change("otherwise", "otherwise, name", before["name"], after["name"])


def _rows(part: Literal["limit", "rule"], old: Sequence[Any], new: Sequence[Any]) -> Iterator[Change]:
    before, after = {row["name"]: row for row in old}, {row["name"]: row for row in new}
    for name in _union(before, after):
        if name not in after:
            yield Change(part, name, _row(before[name]), None)
        elif name not in before:
            yield Change(part, name, None, _row(after[name]))
        else:
            yield from _cells(part, name, before[name], after[name])
    kept_before = [name for name in before if name in after]
    kept_after = [name for name in after if name in before]
    if kept_before != kept_after:
        yield Change(part, "order", ", ".join(kept_before), ", ".join(kept_after))


def _cells(part: Part, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    before, after = old.get("when", []), new.get("when", [])
    if [cell[:2] for cell in before] == [cell[:2] for cell in after]:
        for index, (was, now) in enumerate(zip(before, after, strict=True), start=1):
            if was != now:
                yield Change(part, f"{name}, condition {index}", _cell(was), _cell(now))
    else:
        yield Change(part, f"{name}, conditions", conditions_in_words(before), conditions_in_words(after))
    yield from _mapping(part, _without_conditions(old), _without_conditions(new), f"{name}, ")


def _without_conditions(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("when", "name")}


def _rules(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    yield from _mapping("fact", old["facts"]["fields"], new["facts"]["fields"])
    values = [untagged(document["parameters"]["values"]) for document in (old, new)]
    yield from _mapping("parameter", values[0], values[1])
    for part in ("rule", "helpers", "vectors", "semantics"):
        if old.get(part) != new.get(part):
            yield Change("rule", part, "as it was", "otherwise: see the source")


def _mapping(part: Part, old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[Change]:
    for name in _union(old, new):
        if old.get(name) != new.get(name) or (name in old) != (name in new):
            was = _as_text(old[name]) if name in old else None
            now = _as_text(new[name]) if name in new else None
            yield Change(part, f"{prefix}{name}", was, now)


def _union(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*old, *new]))


def _cell(cell: Sequence[Any]) -> str:
    fact, operator, operand = cell
    return f"{fact} {operator} {_as_text(operand)}"


def conditions_in_words(cells: Sequence[Any]) -> str:
    """Return the conditions of a row as a document has them, for people."""
    return " and ".join(_cell(cell) for cell in cells) or "always"


def _row(row: Mapping[str, Any]) -> str:
    tier = f" by {row['tier']}" if row.get("tier") else ""
    return f"if {conditions_in_words(row['when'])}: {row['effect'].replace('_', ' ')}{tier}"


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping) and set(value) == {"param"}:
        return f"{{{value['param']}}}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _source(old: PolicyVersion, new: PolicyVersion) -> str:
    before, after = (str(version.about.get("source") or "").splitlines() for version in (old, new))
    return "\n".join(difflib.unified_diff(before, after, old.version, new.version, lineterm=""))
