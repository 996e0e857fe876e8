-- Every observation of every monitor; those of a full window with what was made of it. `position` is that of the entry in
-- which it was seen; the last three are those of the monitor's own entries.
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
  seen_at INTEGER NOT NULL,
  ticked_at INTEGER,
  found_at INTEGER,
  PRIMARY KEY (journal, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX monitor_observations_by_run ON monitor_observations (run_id, position);
