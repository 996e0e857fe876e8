"""How motions stand, folded out of their entries; and what they were about, for reports."""

from __future__ import annotations

import sqlite3
from typing import Any

from consensus.motion import MotionClosedEntry, MotionProposedEntry, VoteCastEntry
from loom import DecisionJournalEntry, Recorded, Run
from loom.ext import Cases, Queries

__all__ = ["ConsensusProjection", "read_cases", "read_motions"]

_MOTIONS = """
SELECT motion, title, voters, closed, carried, decision_id,
  (SELECT count(*) FROM consensus_votes AS vote WHERE vote.motion = motions.motion AND choice = 'for') AS votes_for,
  (SELECT count(*) FROM consensus_votes AS vote WHERE vote.motion = motions.motion AND choice = 'against')
    AS votes_against,
  (SELECT count(*) FROM consensus_votes AS vote WHERE vote.motion = motions.motion AND choice = 'abstain') AS abstained
FROM consensus_motions AS motions ORDER BY motion
"""


class ConsensusProjection:
    """Keeps motions and the last vote of each voter."""

    name = "consensus"
    version = 1
    kinds = frozenset(
        {each.kind for each in (MotionProposedEntry, VoteCastEntry, MotionClosedEntry, DecisionJournalEntry)}
    )
    schema = """
    CREATE TABLE consensus_motions (
      motion TEXT PRIMARY KEY, title TEXT NOT NULL, voters INTEGER NOT NULL, closed INTEGER NOT NULL DEFAULT 0,
      carried INTEGER, decision_id TEXT
    ) STRICT;
    CREATE TABLE consensus_votes (
      motion TEXT NOT NULL, voter TEXT NOT NULL, choice TEXT NOT NULL, PRIMARY KEY (motion, voter)
    ) STRICT;
    """
    tables = ("consensus_motions", "consensus_votes")

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        entry = recorded.entry
        match entry:
            case MotionProposedEntry():
                view.execute(
                    "INSERT OR IGNORE INTO consensus_motions (motion, title, voters) VALUES (?, ?, ?)",
                    (entry.motion, entry.title, len(entry.voters)),
                )
            case VoteCastEntry():
                view.execute(
                    "INSERT INTO consensus_votes VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET choice = excluded.choice",
                    (entry.motion, entry.voter, entry.choice),
                )
            case MotionClosedEntry():
                view.execute("UPDATE consensus_motions SET closed = 1 WHERE motion = ?", (entry.motion,))
            case DecisionJournalEntry() if "motion" in entry.decision.context:
                decided = entry.decision
                view.execute(
                    "UPDATE consensus_motions SET carried = ?, decision_id = ? WHERE motion = ?",
                    (int(decided.outcome["granted"] is True), decided.decision_id, decided.context["motion"]),
                )


async def read_motions(queries: Queries) -> list[dict[str, Any]]:
    """Return every motion, by name, and how it stands."""
    rows = await queries.fetch(_MOTIONS, (), names=("consensus",))
    motions = [dict(row) for row in rows]
    for motion in motions:
        motion["closed"] = bool(motion["closed"])
        motion["carried"] = None if motion["carried"] is None else bool(motion["carried"])
    return motions


async def read_cases(queries: Queries, run: Run) -> Cases:
    """Return what decisions were about: the title of each motion, and how the vote went."""
    del run  # a motion has its name for good, in whichever run it is decided
    if "consensus" not in {status.name for status in await queries.status()}:
        return Cases()
    cases = {
        each["motion"]: {"title": each["title"], "votes": f"{each['votes_for']} : {each['votes_against']}"}
        for each in await read_motions(queries)
    }
    return Cases({"Motion": "title", "For : against": "votes"} if cases else {}, cases, "motion")
