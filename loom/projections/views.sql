-- What a views file holds besides the tables of the projections.

CREATE TABLE IF NOT EXISTS checkpoints (
  name TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  shape TEXT NOT NULL,
  tables TEXT NOT NULL,
  position INTEGER NOT NULL,
  entry_hash BLOB NOT NULL,
  failed TEXT
) STRICT;

CREATE TABLE IF NOT EXISTS snapshots (
  journal TEXT PRIMARY KEY,
  actor_type TEXT NOT NULL,
  state_version INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  entry_hash BLOB NOT NULL,
  body BLOB NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS snapshot_subjects (
  journal TEXT NOT NULL,
  subject TEXT NOT NULL,
  PRIMARY KEY (journal, subject)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS snapshots_by_subject ON snapshot_subjects (subject);
