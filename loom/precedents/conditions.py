"""The conditions of a search for precedents: constants only; all values from a user are bound as parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from pydantic import JsonValue

from loom.errors import AdmissionError
from loom.precedents.index import facet_text

__all__ = ["AMONG", "USABLE", "Asked", "asked_for", "match_expression"]

USABLE = "p.excluded IS NULL AND p.position < :before"
AMONG = "p.position IN (SELECT value FROM json_each(:positions))"
_FIRST_FACET = "f.name = :facet_0 AND f.value = :value_0"
_ALSO_FACET = """
EXISTS (SELECT 1 FROM precedent_facets AS g
        WHERE g.name = :facet_{0} AND g.value = :value_{0} AND g.position = p.position)
"""
_WORDS = "p.position IN (SELECT rowid FROM precedent_words WHERE precedent_words MATCH :words)"
_MATCH = "w.precedent_words MATCH :words"
_SITUATION = "p.situation = :situation"
_PRECEDENT = "p.precedent = :precedent"
_TYPE = "p.decision_type = :decision_type"
_AMONG_OTHERS = (
    "+p.decision_type = :decision_type"  # the plus keeps SQLite from using this index instead of a more selective one
)
_EXCLUDE = "NOT (p.journal = :journal AND p.command_id IS :command_id)"
_MAX_FACETS = 16
_MAX_TERMS = 32


class Asked(NamedTuple):
    """A condition with its parameters; `words` is the full-text expression, `led_by` the table that is scanned."""

    condition: str
    bound: dict[str, object]
    words: str | None
    led_by: Literal["precedents", "facets", "words"]


def asked_for(
    *,
    situation: str | None,
    precedent: str | None,
    facets: Mapping[str, JsonValue] | None,
    text: str | None,
    decision_type: str | None,
    exclude_turn: tuple[str, str] | None,
    before: int | None,
) -> Asked | None:
    """Return the condition for precedents that match all filters; None where none can match."""
    words = None if text is None else match_expression(text)
    if words == "":
        return None
    bound: dict[str, object] = {"before": 2**63 - 1 if before is None else before}
    narrow = bool(situation or precedent or words or facets)
    by_words = bool(words) and not (situation or precedent or facets)
    exact = (
        ("situation", situation, _SITUATION),
        ("precedent", precedent, _PRECEDENT),
        ("decision_type", decision_type, _AMONG_OTHERS if narrow else _TYPE),
        ("words", words, _MATCH if by_words else _WORDS),
    )
    conditions = [USABLE, *(condition for _, value, condition in exact if value is not None)]
    bound |= {name: value for name, value, _ in exact if value is not None}
    if exclude_turn is not None:
        conditions.append(_EXCLUDE)
        bound["journal"], bound["command_id"] = exclude_turn
    conditions += _facet_conditions(facets or {}, bound)
    led_by: Literal["precedents", "facets", "words"] = "facets" if facets else "words" if by_words else "precedents"
    return Asked(" AND ".join(conditions), bound, words, led_by)


def match_expression(text: str) -> str:
    """Return words as an FTS5 expression for all of them; operators in them are quoted."""
    words = (word for word in text.replace("\x00", " ").split() if any(map(str.isalnum, word)))
    quoted = ['"' + word.replace('"', '""') + '"' for word in words]
    return " ".join(quoted[:_MAX_TERMS]).encode("utf-8", "replace").decode()


def _facet_conditions(facets: Mapping[str, JsonValue], bound: dict[str, object]) -> list[str]:
    if len(facets) > _MAX_FACETS:
        raise AdmissionError(
            f"[{len(facets)}] facets were given; expected at most [{_MAX_FACETS}]: drop the least selective"
        )
    for number, (name, value) in enumerate(facets.items()):
        text = facet_text(value)
        if text is None:
            raise AdmissionError(
                f"facet [{name}] is [{value!r:.60}]; expected a scalar: name a part of it, as in {name}.part",
                path=f"$.{name}",
            )
        bound[f"facet_{number}"], bound[f"value_{number}"] = name, text
    also = [_ALSO_FACET.format(number) for number in range(1, len(facets))]
    return [_FIRST_FACET, *also] if facets else []
