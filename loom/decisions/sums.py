"""The statements that sum decisions up, for tables that were filled from their entries."""

from __future__ import annotations

from loom.decisions.finding import ByTime

__all__ = ["ALL", "BY", "DAYS", "DEPARTED", "OVER_TIME", "POSITIONS", "timed"]

_SCORED = """
WITH scored AS (
  SELECT trace_decisions.*, outcome.correct AS correct,
    max(0.0, min(1.0,
      0.4 * CASE outcome.correct WHEN 1 THEN 1.0 WHEN 0 THEN 0.0 ELSE 0.5 END
      + 0.2 * coalesce(confidence, 0.7)
      + 0.3 * CASE WHEN effect IS NULL THEN 0.5 WHEN departure IS NOT NULL THEN 0.0 WHEN is_exception THEN 0.6
          ELSE 1.0 END
      + 0.1 - 0.2 * is_exception)) AS score,
    effect IS NOT NULL AND departure IS NULL AND has_facts
      AND (effect <> 'require_approval' OR verdict = 'denied' OR EXISTS (
        SELECT 1 FROM json_each(asked) AS given
        JOIN approvals ON approval_id = json_extract(given.value, '$.approval_id')
        WHERE approvals.status = 'granted' AND answered_by IS NOT NULL))
      AS whole
  FROM trace_decisions
  LEFT JOIN trace_outcomes AS outcome ON outcome.position = (
    SELECT max(position) FROM trace_outcomes AS seen WHERE seen.decision_id = trace_decisions.decision_id
  )
  WHERE trace_decisions.decided_at_us >= :since AND trace_decisions.decided_at_us < :until
    AND (origin = 'original' AND :origin <> 'observed'
      OR origin = 'observed' AND status = 'settled' AND :origin <> 'original')
)
"""
_SUM = """
count(*) AS decisions, CASE WHEN count(correct) THEN avg(score) END AS quality, sum(is_exception) AS exceptions,
sum(verdict = 'denied') AS denials, sum(verdict IS NULL) AS unsaid, count(departure) AS departures,
sum(effect IS NOT NULL) AS judged, count(correct) AS observed, sum(correct = 1) AS correct,
sum(whole) AS whole, avg(confidence) AS confidence, count(confidence) AS confident,
sum(correct IS NOT NULL AND score >= 0.8) AS excellent,
sum(correct IS NOT NULL AND score >= 0.6 AND score < 0.8) AS good,
sum(correct IS NOT NULL AND score >= 0.4 AND score < 0.6) AS fair,
sum(correct IS NOT NULL AND score < 0.4) AS poor
"""
ALL = f"{_SCORED} SELECT {_SUM} FROM scored"  # noqa: S608 - constants only
BY = f"{_SCORED} SELECT {{0}} AS name, {_SUM} FROM scored GROUP BY {{0}} ORDER BY decisions DESC, name"  # noqa: S608
OVER_TIME = f"""
{_SCORED} SELECT (decided_at_us - :since) / :length AS number, {_SUM} FROM scored GROUP BY number ORDER BY number
"""  # noqa: S608 - constants only
DEPARTED = """
SELECT policy_name, policy_version, departure, actor_type, by, identity_source, via, count(*) AS decisions,
  min(recorded_at_us) AS first_at_us, max(recorded_at_us) AS last_at_us, max(decision_id) AS example
FROM trace_decisions
WHERE departure IS NOT NULL AND origin = 'original' AND recorded_at_us >= :since AND recorded_at_us < :until
GROUP BY policy_name, policy_version, departure, actor_type, by, identity_source, via
ORDER BY policy_name, policy_version, departure, decisions DESC, actor_type, by
"""
POSITIONS = """
SELECT position FROM trace_decisions WHERE decided_at_us >= :since AND decided_at_us < :until
  AND (origin = 'original' AND :origin <> 'observed' OR origin = 'observed' AND :origin <> 'original')
"""
DAYS = """
SELECT count(DISTINCT recorded_at_us / 86400000000) FROM trace_decisions
WHERE origin = 'original' AND recorded_at_us >= :since AND recorded_at_us < :until
"""
_RECORDED = ("decided_at_us", "recorded_at_us")


def timed(statement: str, by_time: ByTime) -> str:
    """Return a statement that selects decisions by the time when they were made, or recorded."""
    return statement.replace(*_RECORDED) if by_time == "recorded" else statement
