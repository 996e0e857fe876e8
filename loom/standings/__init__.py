"""Who may act: suspended by automation or a person, reinstated by a named person only."""

from __future__ import annotations

from loom.standings.standings import (
    STANDINGS_JOURNAL,
    Standing,
    StandingChangedEntry,
    StandingName,
    Standings,
)

__all__ = ["STANDINGS_JOURNAL", "Standing", "StandingChangedEntry", "StandingName", "Standings"]
