"""The entries of what calls of models by actors may cost: reserved before the call, settled after it."""

from __future__ import annotations

from typing import ClassVar

from loom.journal.entry import Entry
from loom.spend.guard import Settlement

__all__ = ["ModelSpendReservedEntry", "ModelSpendSettledEntry"]


class ModelSpendReservedEntry(Entry):
    """The maximum cost of a call was reserved on a day of the budget's time zone, before the call."""

    kind: ClassVar[str] = "model_spend_reserved"

    reservation_id: str
    journal: str
    """The actor that calls."""
    model: str
    day: str
    worst_case_micro_usd: int


class ModelSpendSettledEntry(Entry):
    """The final cost of a call, counted on the day of its reservation."""

    kind: ClassVar[str] = "model_spend_settled"

    reservation_id: str
    cost_micro_usd: int
    settlement: Settlement
