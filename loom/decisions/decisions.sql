-- Decisions as one table, for queries in SQL: run this on a read-only connection to the views file.
-- Times are UTC; outcome and approvals are JSON. The views can be deleted and come back: never write to them.
CREATE TEMP VIEW decisions AS
SELECT
  decision_id, strftime('%Y-%m-%dT%H:%M:%fZ', decided_at_us / 1000000.0, 'unixepoch') AS decided_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', recorded_at_us / 1000000.0, 'unixepoch') AS recorded_at,
  decision_type, journal, actor_type, actor_key, origin, policy_name, policy_version, rule, effect, verdict,
  is_exception, status, run_id, rationale, outcome, decided_by, position
FROM trace_decisions;
