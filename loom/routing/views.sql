-- The last executions of each agent: the signals are computed from them. No texts.
CREATE TABLE care_executions (
  agent TEXT NOT NULL,
  position INTEGER NOT NULL,
  succeeded INTEGER NOT NULL,
  latency_ms REAL NOT NULL,
  cost_micro_usd INTEGER,
  recovered INTEGER NOT NULL,
  context_size TEXT,
  PRIMARY KEY (agent, position)
) STRICT, WITHOUT ROWID;

-- The signals of each agent over those executions, as JSON, and each in a column for people who read them by hand.
CREATE TABLE care_signals (
  agent TEXT PRIMARY KEY,
  samples INTEGER NOT NULL,
  signals TEXT NOT NULL,
  latency_p50 REAL,
  latency_p95 REAL,
  cost_per_run REAL,
  success_rate REAL,
  recovery_occurred INTEGER,
  context_size_bucket TEXT
) STRICT, WITHOUT ROWID;

-- The state of routing: one row for what was set last, one for the kill switch.
CREATE TABLE care_state (
  what TEXT PRIMARY KEY,
  position INTEGER NOT NULL,
  recorded_at_us INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Requests on which history changed the choice, and those that were answered before the router could.
CREATE TABLE care_requests (
  request_id TEXT PRIMARY KEY,
  position INTEGER NOT NULL,
  decision_id TEXT,
  answered_with_baseline TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX care_requests_by_position ON care_requests (position);

-- What routing may learn from, under the names of its rules: aggregated executions, and of decisions type and outcome.
CREATE VIEW "contracts.execution_metrics" AS SELECT
  agent,
  samples,
  signals,
  latency_p50,
  latency_p95,
  cost_per_run,
  success_rate,
  recovery_occurred,
  context_size_bucket
FROM care_signals;

CREATE VIEW "contracts.decision_records" AS SELECT
  decision_id,
  request_id,
  'care_routing_optimized' AS decision_type,
  'optimized_selected' AS decision_outcome
FROM care_requests WHERE decision_id IS NOT NULL;
