-- The audit in the words of the gate, one row for each thing that happened, in order.
CREATE TABLE decision_audit_events (
  id INTEGER PRIMARY KEY,
  recorded_at TEXT NOT NULL,
  event TEXT NOT NULL,
  severity TEXT NOT NULL,
  dfid TEXT,
  root_id TEXT,
  agent TEXT,
  simulation_id TEXT,
  correlation_id TEXT,
  causation_id TEXT,
  journal TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  detail_json TEXT NOT NULL
) STRICT;

CREATE INDEX decision_audit_by_run ON decision_audit_events (simulation_id, id);

CREATE INDEX decision_audit_by_flow ON decision_audit_events (dfid, id);

-- Which run and which correlation a turn belongs to, for the rows that it leads to.
CREATE TABLE gate_turns (
  journal TEXT NOT NULL,
  command_id TEXT NOT NULL,
  run_id TEXT,
  correlation_id TEXT,
  causation_id TEXT,
  PRIMARY KEY (journal, command_id)
) STRICT, WITHOUT ROWID;

-- The rejections that count towards the exhaustion of a flow, each by the position of its entry.
CREATE TABLE gate_rejections (
  flow_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (flow_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE gate_executions (
  idempotency_key TEXT PRIMARY KEY,
  agent TEXT NOT NULL,
  decision_id TEXT NOT NULL,
  position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE gate_contracts (
  contract_id TEXT NOT NULL,
  version TEXT NOT NULL,
  role TEXT NOT NULL,
  allowed_policy_types TEXT NOT NULL,
  limits TEXT NOT NULL,
  floors TEXT NOT NULL,
  minimum_confidence REAL NOT NULL,
  escalate_to TEXT,
  registered_by TEXT NOT NULL,
  PRIMARY KEY (contract_id, version)
) STRICT, WITHOUT ROWID;

-- Each agent with the contract of its last accepted handshake, and its counts.
CREATE TABLE agent_registry (
  agent_id TEXT PRIMARY KEY,
  status TEXT NOT NULL DEFAULT 'ACTIVE',
  suspension_reason TEXT,
  status_by TEXT,
  status_since TEXT,
  contract_id TEXT,
  contract_version TEXT,
  contract_hash TEXT,
  role TEXT,
  allowed_policy_types TEXT,
  limits TEXT,
  floors TEXT,
  handshake_at TEXT
) STRICT, WITHOUT ROWID;
