-- The schema of a journal, format 3, in full. Its text is compared when a journal is opened or verified: do not edit it
-- once a release has written it, raise the format instead. What it has that formats 1 and 2 have not: own ids, which are
-- unique in the workspace; a body scheme for each entry; and epochs that never fall within a journal, in place of over
-- all positions. Meta says the format, too.

CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

CREATE TABLE writer (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  epoch INTEGER NOT NULL
) STRICT;

CREATE TABLE entries (
  position INTEGER PRIMARY KEY,
  journal TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  kind TEXT NOT NULL,
  schema_version INTEGER NOT NULL,
  command_id TEXT,
  epoch INTEGER NOT NULL,
  recorded_at_us INTEGER NOT NULL,
  clock_back_us INTEGER NOT NULL,
  policy_hash BLOB,
  salt BLOB,
  body BLOB,
  body_digest BLOB NOT NULL,
  entry_hash BLOB NOT NULL,
  body_scheme INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE UNIQUE INDEX entries_by_sequence ON entries (journal, sequence);

CREATE UNIQUE INDEX entries_by_command ON entries (journal, command_id) WHERE kind = 'command_received';

-- Where a decision was imported from, the source has an id of its own for it: with the name of the source it stands where
-- other entries have the id of their command, and is taken once in the workspace, whatever the journals.
CREATE UNIQUE INDEX entries_by_own_id ON entries (command_id) WHERE kind = 'decision_observed';

CREATE INDEX entries_pruned ON entries (position) WHERE kind = 'pruned';

-- What says how a turn got on, found by its turn: with the index on commands it leads to every turn without an end, and
-- to every request that may still be open, without reading the rest of the journal. A list with IN would cost each
-- append twice as much as the terms with OR.
CREATE INDEX entries_by_turn ON entries (journal, command_id, kind)
WHERE kind = 'approval_answered' OR kind = 'approval_escalated' OR kind = 'approval_requested'
   OR kind = 'turn_abandoned' OR kind = 'turn_completed' OR kind = 'turn_failed';

-- Refuses what would tear a gap, and INSERT OR REPLACE, which would delete without asking the trigger below.
CREATE TRIGGER entries_append_only_insert BEFORE INSERT ON entries
WHEN NEW.position IS NOT (SELECT coalesce(max(position), 0) + 1 FROM entries)
  OR NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM entries WHERE journal = NEW.journal)
  OR (NEW.kind = 'command_received' AND EXISTS (
    SELECT 1 FROM entries
    WHERE journal = NEW.journal AND command_id = NEW.command_id AND kind = 'command_received'))
  OR (NEW.kind = 'decision_observed' AND (NEW.command_id IS NULL OR EXISTS (
    SELECT 1 FROM entries WHERE command_id = NEW.command_id AND kind = 'decision_observed')))
BEGIN
  SELECT RAISE(ABORT, 'append-only: position and sequence go up by one, and commands and own ids are taken once');
END;

CREATE TRIGGER entries_append_only_delete BEFORE DELETE ON entries
BEGIN
  SELECT RAISE(ABORT, 'append-only: entries are never deleted');
END;

-- The one change there is: the body of an entry goes where a journaled pruned entry says so. What says so stays.
CREATE TRIGGER entries_append_only_update BEFORE UPDATE ON entries
WHEN NEW.body IS NOT NULL OR NEW.salt IS NOT NULL OR OLD.kind = 'pruned'
  OR NEW.position IS NOT OLD.position OR NEW.journal IS NOT OLD.journal OR NEW.sequence IS NOT OLD.sequence
  OR NEW.kind IS NOT OLD.kind OR NEW.schema_version IS NOT OLD.schema_version
  OR NEW.command_id IS NOT OLD.command_id OR NEW.epoch IS NOT OLD.epoch
  OR NEW.recorded_at_us IS NOT OLD.recorded_at_us OR NEW.clock_back_us IS NOT OLD.clock_back_us
  OR NEW.policy_hash IS NOT OLD.policy_hash OR NEW.body_digest IS NOT OLD.body_digest
  OR NEW.entry_hash IS NOT OLD.entry_hash OR NEW.body_scheme IS NOT OLD.body_scheme
  OR NOT EXISTS (
    SELECT 1 FROM entries AS pruned
    WHERE pruned.kind = 'pruned' AND pruned.position > OLD.position
      AND json_extract(CAST(pruned.body AS TEXT), '$.journal') = OLD.journal
      AND OLD.sequence BETWEEN json_extract(CAST(pruned.body AS TEXT), '$.first_sequence')
                           AND json_extract(CAST(pruned.body AS TEXT), '$.last_sequence'))
BEGIN
  SELECT RAISE(ABORT, 'append-only: only body and salt may go, where a pruned entry covers them');
END;

-- Both tables refuse a second insert as well: REPLACE would delete without asking the triggers on DELETE.
CREATE TRIGGER meta_append_only_insert BEFORE INSERT ON meta
WHEN EXISTS (SELECT 1 FROM meta WHERE key = NEW.key)
BEGIN
  SELECT RAISE(ABORT, 'append-only: meta is written once');
END;

CREATE TRIGGER meta_append_only_update BEFORE UPDATE ON meta
BEGIN
  SELECT RAISE(ABORT, 'append-only: meta is written once');
END;

CREATE TRIGGER meta_append_only_delete BEFORE DELETE ON meta
BEGIN
  SELECT RAISE(ABORT, 'append-only: meta is written once');
END;

CREATE TRIGGER writer_is_one BEFORE INSERT ON writer
WHEN EXISTS (SELECT 1 FROM writer)
BEGIN
  SELECT RAISE(ABORT, 'append-only: the epoch never falls');
END;

CREATE TRIGGER writer_epoch_only_rises BEFORE UPDATE ON writer
WHEN NEW.epoch < OLD.epoch OR NEW.one IS NOT OLD.one
BEGIN
  SELECT RAISE(ABORT, 'append-only: the epoch never falls');
END;

CREATE TRIGGER writer_is_never_deleted BEFORE DELETE ON writer
BEGIN
  SELECT RAISE(ABORT, 'append-only: the epoch never falls');
END;
