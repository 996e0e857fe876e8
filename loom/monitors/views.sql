-- Every observation of every monitor; those of a full window with what was made of it.
CREATE TABLE monitor_observations (
  journal TEXT NOT NULL,
  position INTEGER NOT NULL,
  monitor TEXT NOT NULL,
  subject TEXT NOT NULL,
  recorded_at_us INTEGER NOT NULL,
  run_id TEXT,
  flow_id TEXT,
  value REAL NOT NULL,
  facts TEXT,
  parameters TEXT,
  rule TEXT,
  found TEXT,
  intervention TEXT,
  decision_id TEXT,
  PRIMARY KEY (journal, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX monitor_observations_by_run ON monitor_observations (run_id, position);
