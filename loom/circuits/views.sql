-- Every execution of every circuit, in order: what the audit and its metrics are read from.
CREATE TABLE circuit_execution_logs (
  position INTEGER PRIMARY KEY,
  workspace_id TEXT NOT NULL,
  client_id TEXT NOT NULL,
  circuit_id TEXT NOT NULL,
  execution_id TEXT NOT NULL,
  timestamp TEXT NOT NULL,
  recorded_at_us INTEGER NOT NULL,
  success INTEGER NOT NULL,
  latency_ms REAL NOT NULL,
  confidence_score REAL NOT NULL,
  substituted INTEGER NOT NULL,
  error TEXT,
  decision_path TEXT NOT NULL,
  inputs TEXT,
  outputs TEXT
) STRICT;

CREATE INDEX circuit_logs_by_client ON circuit_execution_logs (client_id, position);

CREATE INDEX circuit_logs_by_circuit ON circuit_execution_logs (circuit_id, position);

CREATE INDEX circuit_logs_by_execution ON circuit_execution_logs (execution_id, circuit_id);

-- What a circuit was given, until it comes to its end.
CREATE TABLE circuit_entered (
  journal TEXT NOT NULL,
  execution_id TEXT NOT NULL,
  circuit_id TEXT NOT NULL,
  inputs TEXT NOT NULL,
  PRIMARY KEY (journal, execution_id, circuit_id)
) STRICT, WITHOUT ROWID;

-- The strategy in use for each client and segment, with its own figures: none where it has had no cycle.
CREATE TABLE circuit_strategy_states (
  workspace_id TEXT NOT NULL,
  client_id TEXT NOT NULL,
  audience_segment TEXT NOT NULL,
  strategy_id TEXT NOT NULL,
  engagement_score REAL,
  conversion_score REAL,
  cycle_count INTEGER NOT NULL,
  decline_cycles INTEGER NOT NULL,
  updated_at TEXT NOT NULL,
  last_rotated_at TEXT,
  -- The correction after which no cycle was counted yet.
  corrected_by TEXT,
  PRIMARY KEY (client_id, audience_segment)
) STRICT, WITHOUT ROWID;

-- The figures of each strategy that was ever in use, as of its last cycle.
CREATE TABLE circuit_strategies (
  client_id TEXT NOT NULL,
  audience_segment TEXT NOT NULL,
  strategy_id TEXT NOT NULL,
  engagement_score REAL NOT NULL,
  conversion_score REAL NOT NULL,
  cycle_count INTEGER NOT NULL,
  PRIMARY KEY (client_id, audience_segment, strategy_id)
) STRICT, WITHOUT ROWID;

-- What was done about declines, with the figures that led to it.
CREATE TABLE circuit_autocorrection_logs (
  position INTEGER PRIMARY KEY,
  workspace_id TEXT NOT NULL,
  log_id TEXT NOT NULL,
  client_id TEXT NOT NULL,
  audience_segment TEXT NOT NULL,
  action_type TEXT NOT NULL,
  previous_strategy_id TEXT NOT NULL,
  new_strategy_id TEXT,
  reason TEXT NOT NULL,
  confidence REAL NOT NULL,
  engagement_score REAL,
  conversion_score REAL,
  cycle_count INTEGER,
  decline_cycles INTEGER,
  timestamp TEXT NOT NULL,
  recorded_at_us INTEGER NOT NULL
) STRICT;

CREATE INDEX circuit_corrections_by_client ON circuit_autocorrection_logs (client_id, audience_segment, position);

-- How often people were asked to look at what: an escalation that opened, and each time that its cause was met again.
CREATE TABLE circuit_escalation_logs (
  position INTEGER PRIMARY KEY,
  escalation_id TEXT NOT NULL,
  client_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  repeated INTEGER NOT NULL,
  recorded_at_us INTEGER NOT NULL
) STRICT;

CREATE INDEX circuit_escalations_by_id ON circuit_escalation_logs (escalation_id, position);
