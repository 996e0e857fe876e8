"""What tests of precedents share."""

from __future__ import annotations

from datetime import UTC, datetime

from loom.precedents import PrecedentSupport

_MOMENT = datetime(2026, 3, 1, tzinfo=UTC)


def support(precedent: str = "p", number: int = 3) -> PrecedentSupport:
    """Return a class that nobody has to make."""
    return PrecedentSupport(
        precedent=precedent,
        situation="s",
        rule="r",
        support=number,
        superseded=0,
        first_at=_MOMENT,
        last_at=_MOMENT,
        decision_id="d",
        decision_type="t",
        outcome={},
    )
