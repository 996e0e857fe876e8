"""What a report is about, a run or a time, and the statements that select its decisions and observations."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from loom.clock import us_from_datetime
from loom.decisions import Run
from loom.decisions.run import VersionSeen

__all__ = ["Period", "Statements", "Which"]

_OF_RUN = "run_id = :run_id"
_OF_PERIOD = "recorded_at_us >= :since_us AND recorded_at_us < :until_us"


class Statements(NamedTuple):
    """The statements of one report; the first two read the views of the workspace, the others those of the report."""

    positions: str
    seen: str
    decisions: str
    effects: str
    counted: str
    watched: str
    drawn: str
    found: str
    last: str

    @classmethod
    def about(cls, where: str) -> Statements:
        """Return the statements for the decisions and observations for which a condition holds."""
        observed = f"""
SELECT position, monitor, subject, recorded_at_us, value, facts, parameters, rule, found, intervention, decision_id,
  row_number() OVER (ORDER BY position) AS number
FROM monitor_observations WHERE {where} AND monitor = :monitor AND subject = :subject
"""  # noqa: S608 - constants only, here and below
        return cls(
            positions=f"SELECT position FROM trace_decisions WHERE {where} ORDER BY position",  # noqa: S608
            seen=f"SELECT * FROM monitor_observations WHERE {where} ORDER BY journal, position",  # noqa: S608
            decisions=f"SELECT * FROM trace_decisions WHERE {where} ORDER BY position LIMIT :most",  # noqa: S608
            effects=f"""
SELECT coalesce(effect, 'no rule') AS effect, count(*) AS number FROM trace_decisions WHERE {where} GROUP BY effect
""",  # noqa: S608
            counted=f"""
SELECT count(*) AS decisions, count(DISTINCT journal) AS actors, min(recorded_at_us) AS first_at_us,
  max(recorded_at_us) AS last_at_us,
  (SELECT json_group_array(json_object('name', policy_name, 'version', policy_version, 'hash', policy_hash,
      'decisions', decisions))
    FROM (SELECT policy_name, policy_version, policy_hash, count(*) AS decisions FROM trace_decisions
      WHERE {where} AND policy_hash IS NOT NULL GROUP BY policy_hash ORDER BY min(position))) AS versions
FROM trace_decisions WHERE {where}
""",  # noqa: S608
            watched=f"""
SELECT monitor, subject, count(*) AS number, sum(found IS NOT NULL) AS found, min(position) AS first
FROM monitor_observations WHERE {where} GROUP BY monitor, subject ORDER BY found > 0 DESC, first
""",  # noqa: S608
            drawn=f"{observed} ORDER BY position LIMIT :most",
            found=f"SELECT * FROM ({observed}) WHERE found IS NOT NULL ORDER BY number LIMIT :most",  # noqa: S608
            last=f"SELECT * FROM ({observed}) ORDER BY number DESC LIMIT 1",  # noqa: S608
        )


class Period(NamedTuple):
    """The time that a report without a run is about: decisions recorded from `since` to before `until`.

    The counts are of all of them: decisions, actors, and the policy versions that they name.
    """

    since: datetime
    until: datetime
    decisions: int = 0
    actors: int = 0
    versions: tuple[VersionSeen, ...] = ()


class Which(NamedTuple):
    """Which decisions and observations a report is about: its statements, and their parameters."""

    statements: Statements
    bounds: dict[str, Any]

    @classmethod
    def of(cls, about: Run | Period) -> Which:
        """Return what selects the decisions of a run, or of a time."""
        if isinstance(about, Run):
            return cls(Statements.about(_OF_RUN), {"run_id": about.run_id})
        bounds = {"since_us": us_from_datetime(about.since), "until_us": us_from_datetime(about.until)}
        return cls(Statements.about(_OF_PERIOD), bounds)
