-- The last executions of each agent: what the signals are computed from, and nothing of what was said in them.
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

-- The signals of each agent over those executions, as JSON.
CREATE TABLE care_signals (
  agent TEXT PRIMARY KEY,
  samples INTEGER NOT NULL,
  signals TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How routing stands: one row for what was set last, one for the kill switch.
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
