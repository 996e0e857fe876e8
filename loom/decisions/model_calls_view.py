"""The projection behind "Which models were asked?" and the costs: the calls of models, by turn and by time."""

from __future__ import annotations

import sqlite3
from typing import Any

from loom.decisions.entries import DecisionJournalEntry
from loom.decisions.model_calls import ModelCalledEntry
from loom.journal.entry import Recorded
from loom.projections.published import Published
from loom.projections.sql import script

__all__ = ["ModelCallsProjection", "answer_in"]

_CALL = """
INSERT INTO model_calls (
  position, journal, command_id, recorded_at_us, model, answering_model, instead_of, said, problem, type_name, message,
  at_limit, limit_detail, attempt, failed_attempts, price, cost_micro_usd, input_tokens, output_tokens,
  cache_read_tokens, cache_write_tokens, reasoning_tokens, duration_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_DECIDED = """
UPDATE model_calls SET decision_id = ?, decided_position = ?
WHERE journal = ? AND command_id = ? AND decided_position IS NULL
"""
_TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
_SHOWN = 400


class ModelCallsProjection:
    """Keeps one row for each call of a model, with the decision of its turn that followed."""

    name = "model_calls"
    version = 1
    kinds = frozenset({ModelCalledEntry.kind, DecisionJournalEntry.kind})
    schema = script("loom.decisions", "model_calls.sql")
    tables = ("model_calls",)
    publish = (Published("model_calls", indexes=(("recorded_at_us",),)),)

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the table."""
        plain = recorded.plain
        if plain is None or recorded.command_id is None:
            return
        turn = (recorded.journal, recorded.command_id)
        if recorded.kind == DecisionJournalEntry.kind:
            view.execute(_DECIDED, (plain["decision"]["decision_id"], recorded.position, *turn))
            return
        failure, usage = plain.get("failure") or {}, plain.get("usage") or {}
        name = f"{plain['provider']}:{plain['model']}" if plain.get("provider") else plain["model"]
        about = (name, plain.get("answering_model"), plain.get("instead_of"), answer_in(plain)[:_SHOWN])
        problem = (plain.get("problem"), failure.get("type_name"), failure.get("message"))
        limit = (
            plain.get("at_limit"),
            plain.get("limit_detail"),
            plain.get("attempt", 1),
            len(plain.get("failed_attempts", ())),
        )
        cost = (plain.get("price", "unknown"), plain.get("cost_micro_usd"), *(usage.get(each) for each in _TOKENS))
        row = (recorded.position, *turn, recorded.recorded_at_us, *about, *problem, *limit, *cost, plain["duration_ms"])
        view.execute(_CALL, row)


def answer_in(body: dict[str, Any]) -> str:
    """Return the text of the answer in the body of a call; without text, the tools that the model called."""
    if body.get("sealed"):
        return "(sealed)"
    output = body.get("output")
    parts = output.get("parts") if isinstance(output, dict) else None
    known = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    text = "".join(str(part.get("content", "")) for part in known if part.get("part_kind") == "text")
    called = [f"{part.get('tool_name')} {part.get('args')}" for part in known if part.get("part_kind") == "tool-call"]
    return text or ", ".join(called)
