"""The canonical form in which a table is hashed: it has all that counts, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping

from loom.policies.canonical import Document, Json
from loom.policies.tables.layout import Condition, ParameterRef, Row, TableLayout

__all__ = ["LANGUAGE", "SEMANTICS", "THREE_VALUED", "document_of", "semantics_known"]

LANGUAGE = "table"
SEMANTICS = 1
"""What the rows mean. If that changes the number rises, and the evaluator of every older one stays."""
THREE_VALUED = 2
"""Their meaning in a table with `missing: three_valued`; see `loom.policies.tables.missing`."""


_MISSING: Mapping[object, str] = {SEMANTICS: "indeterminate", THREE_VALUED: "three_valued"}


def semantics_known(document: Mapping[str, object]) -> bool:
    """Return whether this loom can evaluate a registered table: by its semantics, and its mode for missing facts."""
    return _MISSING.get(document.get("semantics")) == document.get("missing", "indeterminate")


def document_of(layout: TableLayout) -> Document:
    """Return the document of a table, from which its version hash is computed."""

    three_valued = layout.missing == "three_valued"

    def row(each: Row) -> Json:
        cells: list[Json] = [[c.fact, c.operator, _operands(c)] for c in each.when]
        return {"name": each.name, "when": cells, **each.model_dump(exclude={"name", "when"}, exclude_none=True)}

    return {
        "format": layout.format,
        "language": LANGUAGE,
        "semantics": THREE_VALUED if three_valued else SEMANTICS,
        **({"missing": layout.missing} if three_valued else {}),
        "name": layout.name,
        "facts": {name: json.loads(fact.model_dump_json(exclude_none=True)) for name, fact in layout.facts.items()},
        "parameters": {name: each.model_dump(exclude_none=True) for name, each in layout.parameters.items()},
        "limits": [row(each) for each in layout.limits],
        "hit_policy": layout.hit_policy,
        "rules": [row(each) for each in layout.rules],
        "otherwise": None if layout.otherwise is None else row(layout.otherwise),
    }


def _operands(condition: Condition) -> Json:
    plain: list[Json] = [
        {"param": each.param} if isinstance(each, ParameterRef) else each for each in condition.operands
    ]
    return plain if condition.many else plain[0]
