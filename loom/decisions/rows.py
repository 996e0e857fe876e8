"""The rows that views make of decisions, each from one entry. A view is filled with them, and compared with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeAlias

from pydantic_core import to_jsonable_python

from loom.clock import us_from_datetime
from loom.decisions.conduct import departure_in, verdict_in
from loom.decisions.decision import Decision
from loom.decisions.entries import DECISIONS, DecisionJournalEntry, DecisionObservedEntry
from loom.decisions.referring import Referred, filled, steps_of
from loom.journal.entry import Part, Recorded, at_path
from loom.journal.store import JournalReader

__all__ = [
    "COUNTED_TOGETHER",
    "DEFAULTS",
    "ROW",
    "Header",
    "decided_at_us",
    "decision_parts",
    "decision_row",
    "decisions_at",
    "written_decision",
]

ROW = (
    "decision_id",
    "decision_type",
    "is_exception",
    "policy",
    "evaluation.effect",
    "parent_decision_id",
    "run_id",
    "origin",
    "replayed_from",
    "confidence",
    "rationale",
    "precedent_class",
    "outcome",
    "approvals",
    "refers",
    "decided_at",
    "decided_by",
)
"""The parts of a decision that its row is made of."""

COUNTED_TOGETHER = ("decision_type", "effect", "rule", "policy_version", "is_exception")
"""The columns with few values. A row has one number for all of them: a million rows are counted by it, not by texts."""

_as_text = json.JSONEncoder(ensure_ascii=False).encode  # `dumps` with arguments makes an encoder each time
_NEXT_TO_DECISION = ("decided_by", "source")
"""The parts of an observed decision that its entry has outside the decision."""


_AS_THEY_ARE = {cls.kind: {cls.schema_version} for cls in (DecisionJournalEntry, DecisionObservedEntry)}
_AS_THEY_ARE[DecisionJournalEntry.kind] |= {3, 4, 5}
"""The schemas whose bodies have these parts in the same place as the present schema."""

_LEFT_OUT: Mapping[str, Any] = {
    name: to_jsonable_python(field.get_default(call_default_factory=True))
    for name, field in Decision.model_fields.items()
    if not field.is_required() and field.exclude_if is None
}
"""The default values, which a written decision leaves out."""

DEFAULTS: Mapping[str, Any] = {name: value for name, value in _LEFT_OUT.items() if value is not None}
"""The default values other than None, which a written decision leaves out."""

Header: TypeAlias = Recorded | Part
"""The place and time of an entry that was read in full, or in part."""


def written_decision(recorded: Recorded) -> Mapping[str, Any] | None:
    """Return the decision that an entry holds, as plain JSON; None where it holds none that can be read."""
    plain = recorded.plain if recorded.kind in DECISIONS else None
    if plain is None:
        return None
    decision: Mapping[str, Any] = plain["decision"]
    if recorded.kind == DecisionObservedEntry.kind:
        return {**decision, **{name: plain.get(name) for name in _NEXT_TO_DECISION}}
    return {**_LEFT_OUT, **decision}


async def decision_parts(
    entries: JournalReader,
    positions: Collection[int],
    names: Sequence[str],
    *,
    joined: Collection[Referred] = (),
    as_written: Collection[str] = (),
) -> dict[int, Part]:
    """Return position → what the decisions of entries hold under two or more names, which may have a dot.

    Names that are `joined` are read from the entries that a decision refers to. What a decision leaves out has its
    default value, or None under the names that are read `as_written`. A pruned entry has no values. An entry that is
    no decision, or cannot be read, is left out.
    """
    asked = (*names, "refers") if joined else names
    paths = [name if name.partition(".")[0] in _NEXT_TO_DECISION else f"decision.{name}" for name in asked]
    parts = await entries.parts(positions, paths)
    found = {at: each for at, each in parts.items() if each.kind in DECISIONS}
    others = [
        at
        for at, each in found.items()
        if each.schema_version not in _AS_THEY_ARE[each.kind] and each.values is not None
    ]
    for at, recorded in (await entries.at(others)).items() if others else ():
        written = written_decision(recorded)
        if written is None:
            del found[at]
        else:
            found[at] = found[at]._replace(values=tuple(at_path(written, name) for name in asked))
    if joined:
        found = await _joined(entries, found, names, joined)
    fill = [(index, DEFAULTS[name]) for index, name in enumerate(names) if name in DEFAULTS and name not in as_written]
    return {at: _filled(each, fill) for at, each in found.items()} if fill else found


async def _joined(
    entries: JournalReader, found: Mapping[int, Part], names: Sequence[str], joined: Collection[Referred]
) -> dict[int, Part]:
    """Return parts whose last value, the references of the decision, is replaced by the content referred to."""
    refers = [(each.journal, each.values[-1]) for each in found.values() if each.values is not None]
    steps = await steps_of(entries, refers, joined)
    complete: dict[int, Part] = {}
    for at, each in found.items():
        if each.values is not None:
            *values, references = each.values
            for name in joined:
                if references is not None and references.get(name):
                    values[names.index(name)] = filled(name, each.journal, references, steps)
            each = each._replace(values=tuple(values))
        complete[at] = each
    return complete


def _filled(part: Part, fill: Sequence[tuple[int, Any]]) -> Part:
    """Return a part with the default values that its decision leaves out."""
    if part.values is None:
        return part
    values: list[Any] | None = None
    for index, default in fill:
        if part.values[index] is None:
            values = values or list(part.values)
            values[index] = default
    return part if values is None else Part._make((*part[:-1], tuple(values)))


async def decisions_at(
    entries: JournalReader,
    positions: Collection[int],
    names: Sequence[str] = ROW,
    *,
    joined: Collection[Referred] = (),
) -> dict[int, tuple[Part, Mapping[str, Any] | None]]:
    """Return position → part and decision of entries, with `names` of it only; None where the body is pruned.

    Names that are `joined` are read from the entries that a decision refers to.
    """
    return {
        at: (part, None if part.values is None else _gathered(names, part.values))
        for at, part in (await decision_parts(entries, positions, names, joined=joined)).items()
    }


def decision_row(header: Header, decision: Mapping[str, Any]) -> dict[str, object]:
    """Return column → value of the row of `trace_decisions`, as far as the decision's own entry contains it.

    The requester and the status of the turn come from other entries.
    """
    policy, evaluation = decision.get("policy") or {}, decision.get("evaluation")
    alike = decision.get("precedent_class") or {}
    outcome = decision.get("outcome") or {}
    actor_type, _, actor_key = header.journal.partition("/")
    row: dict[str, object] = {
        "position": header.position,
        "decision_id": decision["decision_id"],
        "journal": header.journal,
        "sequence": header.sequence,
        "command_id": header.command_id,
        "actor_type": actor_type,
        "actor_key": actor_key,
        "decision_type": decision["decision_type"],
        "is_exception": int(decision.get("is_exception") or 0),
        "policy_name": policy.get("name"),
        "policy_version": policy.get("version"),
        "policy_hash": policy.get("hash"),
        "rule": policy.get("rule"),
        "effect": None if evaluation is None else evaluation["effect"],
        "recorded_at_us": header.recorded_at_us,
        "decided_at_us": decided_at_us(header, decision.get("decided_at")),
        "decided_by": decision.get("decided_by"),
        "parent_decision_id": decision.get("parent_decision_id"),
        "run_id": decision.get("run_id"),
        "origin": decision.get("origin") or "original",
        "replayed_from": decision.get("replayed_from"),
        "confidence": decision.get("confidence"),
        "rationale": decision["rationale"],
        "situation": alike.get("situation"),
        "precedent": alike.get("precedent"),
        "outcome": _as_text(outcome),
        "verdict": verdict_in(decision),
        "departure": departure_in(decision),
    }
    return {**row, "facets": _number_of(*(row[name] for name in COUNTED_TOGETHER))}


@lru_cache(maxsize=4_096)
def _number_of(*values: object) -> int:
    """Return a number of 64 bits that is the same for the same values, in every view and for ever."""
    digest = hashlib.sha256(_as_text(values).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def decided_at_us(header: Header, claimed: str | None) -> int:
    """Return the time of a decision: the one that its source claims, else that of its record."""
    return header.recorded_at_us if claimed is None else us_from_datetime(datetime.fromisoformat(claimed))


def _gathered(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Return values by their names. A part such as the evaluation is None where all of its values are None."""
    found: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        above, dot, below = name.partition(".")
        if not dot:
            found[name] = value
        elif value is not None:
            found.setdefault(above, {})[below] = value
    return found
