-- One row for each run; what was decided in it is counted where decisions are, in the tables of the traces.
CREATE TABLE runs (
  position INTEGER PRIMARY KEY,
  run_id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  status TEXT NOT NULL DEFAULT 'open',
  by TEXT NOT NULL,
  identity_source TEXT,
  via TEXT,
  started_at_us INTEGER NOT NULL,
  policies TEXT NOT NULL,
  parameters TEXT NOT NULL,
  seed TEXT,
  note TEXT,
  ended_at_us INTEGER,
  ended_by TEXT,
  ended_identity_source TEXT,
  ended_via TEXT,
  reason TEXT,
  result TEXT
) STRICT;

CREATE INDEX runs_by_kind ON runs (kind, position);

CREATE INDEX runs_by_status ON runs (status, position);
