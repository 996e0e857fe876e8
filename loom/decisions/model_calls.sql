-- Each call of a model that a turn made or was refused, and the decision of the turn that came next after it.
CREATE TABLE model_calls (
  position INTEGER PRIMARY KEY,
  journal TEXT NOT NULL,
  command_id TEXT NOT NULL,
  recorded_at_us INTEGER NOT NULL,
  model TEXT NOT NULL,
  answering_model TEXT,
  instead_of TEXT,
  said TEXT NOT NULL,
  problem TEXT,
  type_name TEXT,
  message TEXT,
  at_limit TEXT,
  limit_detail TEXT,
  attempt INTEGER NOT NULL,
  failed_attempts INTEGER NOT NULL,
  price TEXT NOT NULL,
  cost_micro_usd INTEGER,
  input_tokens INTEGER,
  output_tokens INTEGER,
  cache_read_tokens INTEGER,
  cache_write_tokens INTEGER,
  reasoning_tokens INTEGER,
  duration_ms REAL NOT NULL,
  decision_id TEXT,
  decided_position INTEGER
) STRICT;

CREATE INDEX model_calls_by_turn ON model_calls (journal, command_id, position);
CREATE INDEX model_calls_by_time ON model_calls (recorded_at_us);
