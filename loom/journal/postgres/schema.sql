-- The schema of a journal in PostgreSQL: one PostgreSQL schema for each workspace, with the columns of SQLite's format 3.
-- Epochs never fall within a journal. It guards itself: what does not come through loom is refused by the database, except
-- from an owner who switches triggers off; `verify` finds that out. Its text is compared when a journal is opened or
-- verified: do not edit it once a release has written it, raise the format instead.

CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL);

-- The one row that is locked while positions are given out: the order of commits is that of positions, so that no reader
-- skips one.
CREATE TABLE tail (
  one smallint PRIMARY KEY DEFAULT 1 CHECK (one = 1),
  position bigint NOT NULL,
  entry_hash bytea NOT NULL,
  recorded_at_us bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO tail (position, entry_hash, recorded_at_us) VALUES (0, '', 0);

CREATE SEQUENCE epochs;

-- The processes that write. One that was fenced stays so: it comes back under another number.
CREATE TABLE writers (
  writer bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  address text,
  release text,
  level integer NOT NULL DEFAULT 1, -- of the shapes that it reads and writes
  account name NOT NULL DEFAULT current_user,
  started_at timestamptz NOT NULL DEFAULT now(),
  beat_at timestamptz NOT NULL DEFAULT now(),
  fenced_at timestamptz
) WITH (fillfactor = 50);

-- The last entry of each journal, and who acquired the journal last, under which epoch. A page has room for the next version
-- of each of its rows: without it every append would add to the index, and a look-up go through all that it added.
CREATE TABLE heads (
  journal text COLLATE "C" PRIMARY KEY,
  sequence bigint NOT NULL,
  entry_hash bytea NOT NULL,
  writer bigint NOT NULL,
  epoch bigint NOT NULL
) WITH (fillfactor = 35);

-- A key over several partitions must contain the position: that sequences are unique is seen to by the guard.
CREATE TABLE entries (
  position bigint NOT NULL,
  journal text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  kind text COLLATE "C" NOT NULL,
  schema_version integer NOT NULL,
  command_id text COLLATE "C",
  epoch bigint NOT NULL,
  recorded_at_us bigint NOT NULL,
  clock_back_us bigint NOT NULL,
  policy_hash bytea,
  salt bytea,
  body bytea,
  body_digest bytea NOT NULL,
  entry_hash bytea NOT NULL,
  body_scheme integer NOT NULL DEFAULT 1,
  PRIMARY KEY (position)
) PARTITION BY RANGE (position);

CREATE INDEX entries_by_sequence ON entries (journal, sequence);

CREATE INDEX entries_pruned ON entries (position) WHERE kind = 'pruned';

CREATE INDEX entries_by_turn ON entries (journal, command_id, kind)
WHERE kind IN ('approval_answered', 'approval_escalated', 'approval_requested',
               'turn_abandoned', 'turn_completed', 'turn_failed');

CREATE TABLE commands (
  journal text COLLATE "C" NOT NULL,
  command_id text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (journal, command_id)
);

CREATE TABLE own_ids (own_id text COLLATE "C" PRIMARY KEY, position bigint NOT NULL);

-- One check for a statement, not one for a row: positions go on from the tail, sequences from their heads, time and epochs
-- do not fall; commands and own ids are taken once.
CREATE FUNCTION entries_guard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  at tail;
  me bigint := nullif(current_setting('loom.writer', true), '')::bigint;
  n bigint; lowest bigint; highest bigint; earliest bigint; bad text;
BEGIN
  SELECT * INTO at FROM tail FOR UPDATE;
  SELECT count(*), min(position), max(position), min(recorded_at_us) INTO n, lowest, highest, earliest FROM added;
  IF n = 0 THEN
    RETURN NULL;
  END IF;
  IF me IS NULL THEN
    RAISE EXCEPTION 'append-only: entries come from a registered writer' USING ERRCODE = 'LM001';
  END IF;
  IF lowest <> at.position + 1 OR highest <> at.position + n OR earliest < at.recorded_at_us THEN
    RAISE EXCEPTION 'append-only: positions % to % do not follow %, or time fell', lowest, highest, at.position
      USING ERRCODE = 'LM001';
  END IF;
  -- A head is changed only where it still is what the rows follow: a process that acquires a journal meanwhile is waited for.
  WITH numbered AS (
    SELECT journal, position, sequence, entry_hash, epoch,
      sequence - row_number() OVER (PARTITION BY journal ORDER BY position) AS before
    FROM added
  ), last AS (
    SELECT journal, max(sequence) AS sequence, min(before) AS before, min(epoch) AS lowest_epoch,
      (array_agg(entry_hash ORDER BY position DESC))[1] AS entry_hash,
      (array_agg(epoch ORDER BY position DESC))[1] AS epoch
    FROM numbered GROUP BY journal HAVING min(before) = max(before)
  ), changed AS (
    UPDATE heads SET sequence = last.sequence, entry_hash = last.entry_hash, writer = me, epoch = last.epoch FROM last
    WHERE heads.journal = last.journal AND heads.sequence = last.before AND heads.epoch <= last.lowest_epoch
    RETURNING heads.journal
  ), begun AS (
    INSERT INTO heads (journal, sequence, entry_hash, writer, epoch)
    SELECT journal, sequence, entry_hash, me, epoch FROM last
    WHERE before = 0 AND NOT EXISTS (SELECT 1 FROM changed WHERE changed.journal = last.journal)
    ON CONFLICT (journal) DO NOTHING RETURNING journal
  )
  SELECT journal INTO bad FROM added
  WHERE journal NOT IN (SELECT journal FROM changed UNION ALL SELECT journal FROM begun) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'append-only: the sequence of % does not follow its head, or its epoch fell', bad
      USING ERRCODE = 'LM002';
  END IF;
  INSERT INTO commands SELECT journal, command_id, position FROM added WHERE kind = 'command_received';
  INSERT INTO own_ids SELECT command_id, position FROM added WHERE kind = 'decision_observed';
  UPDATE tail SET (position, entry_hash, recorded_at_us) =
    (SELECT position, entry_hash, recorded_at_us FROM added WHERE position = highest);
  RETURN NULL;
END $$;

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'append-only: % of % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'LM003';
END $$;

-- The one change there is: body and salt go where a journaled pruned entry says so. What says so stays.
CREATE FUNCTION prune_guard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE changed bigint; allowed bigint;
BEGIN
  SELECT count(*) INTO changed FROM was;
  SELECT count(*) INTO allowed FROM was JOIN became USING (position)
  WHERE became.body IS NULL AND became.salt IS NULL AND was.kind <> 'pruned'
    AND (became.journal, became.sequence, became.kind, became.schema_version, became.command_id, became.epoch,
         became.recorded_at_us, became.clock_back_us, became.policy_hash, became.body_digest, became.entry_hash,
         became.body_scheme)
      IS NOT DISTINCT FROM
        (was.journal, was.sequence, was.kind, was.schema_version, was.command_id, was.epoch,
         was.recorded_at_us, was.clock_back_us, was.policy_hash, was.body_digest, was.entry_hash, was.body_scheme)
    AND EXISTS (
      SELECT 1 FROM entries AS pruned
      WHERE pruned.kind = 'pruned' AND pruned.position > was.position
        AND convert_from(pruned.body, 'UTF8')::jsonb ->> 'journal' = was.journal
        AND was.sequence BETWEEN (convert_from(pruned.body, 'UTF8')::jsonb ->> 'first_sequence')::bigint
                             AND (convert_from(pruned.body, 'UTF8')::jsonb ->> 'last_sequence')::bigint);
  IF changed <> allowed THEN
    RAISE EXCEPTION 'append-only: only body and salt may go, where a pruned entry covers them' USING ERRCODE = 'LM003';
  END IF;
  RETURN NULL;
END $$;

-- A statement may name a partition and not the table: triggers for statements are therefore on both.
CREATE FUNCTION guard_entries(guarded regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TRIGGER append_only_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS added '
                 'FOR EACH STATEMENT EXECUTE FUNCTION entries_guard()', guarded);
  EXECUTE format('CREATE TRIGGER append_only_update AFTER UPDATE ON %s REFERENCING OLD TABLE AS was NEW TABLE AS became '
                 'FOR EACH STATEMENT EXECUTE FUNCTION prune_guard()', guarded);
  EXECUTE format('CREATE TRIGGER append_only_delete BEFORE DELETE ON %s '
                 'FOR EACH STATEMENT EXECUTE FUNCTION refuse()', guarded);
  EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON %s '
                 'FOR EACH STATEMENT EXECUTE FUNCTION refuse()', guarded);
END $$;

-- Makes the partition that begins at a position. To attach a table takes no lock that readers or writers wait for.
CREATE FUNCTION add_partition(first bigint, size bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE name text := 'entries_' || first;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('loom partitions ' || current_schema()));
  IF to_regclass(quote_ident(name)) IS NOT NULL THEN
    RETURN;
  END IF;
  EXECUTE format('CREATE TABLE %I (LIKE entries INCLUDING DEFAULTS, CHECK (position >= %s AND position < %s))',
                 name, first, first + size);
  EXECUTE format('ALTER TABLE %I ALTER COLUMN body SET STORAGE EXTERNAL', name);
  PERFORM guard_entries(quote_ident(name)::regclass);
  EXECUTE format('ALTER TABLE entries ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, first, first + size);
END $$;

SELECT guard_entries('entries');

CREATE TRIGGER append_only_insert BEFORE INSERT ON meta FOR EACH ROW
  WHEN (NEW.key NOT IN ('format', 'workspace', 'identity', 'partition', 'sealed')) EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_change BEFORE UPDATE OR DELETE ON meta FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON meta FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- Outside of the guard, whose own statements are one level deeper, the tail does not change at all.
CREATE TRIGGER append_only_insert BEFORE INSERT ON tail FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_update BEFORE UPDATE ON tail FOR EACH STATEMENT
  WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_delete BEFORE DELETE ON tail FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON tail FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- A head only changes its writer there, and under a higher epoch.
CREATE TRIGGER append_only_insert BEFORE INSERT ON heads FOR EACH ROW
  WHEN (pg_trigger_depth() = 0 AND NEW.sequence <> 0) EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_update BEFORE UPDATE ON heads FOR EACH ROW
  WHEN (pg_trigger_depth() = 0 AND (NEW.sequence <> OLD.sequence OR NEW.entry_hash <> OLD.entry_hash
        OR NEW.journal <> OLD.journal OR NEW.epoch <= OLD.epoch)) EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_delete BEFORE DELETE ON heads FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON heads FOR EACH STATEMENT EXECUTE FUNCTION refuse();

CREATE TRIGGER append_only_insert BEFORE INSERT ON commands FOR EACH STATEMENT
  WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_change BEFORE UPDATE OR DELETE ON commands FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON commands FOR EACH STATEMENT EXECUTE FUNCTION refuse();

CREATE TRIGGER append_only_insert BEFORE INSERT ON own_ids FOR EACH STATEMENT
  WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_change BEFORE UPDATE OR DELETE ON own_ids FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON own_ids FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- What was fenced stays fenced.
CREATE TRIGGER fenced_for_good BEFORE UPDATE ON writers FOR EACH ROW
  WHEN (OLD.fenced_at IS NOT NULL AND NEW.fenced_at IS NULL OR NEW.writer <> OLD.writer) EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_delete BEFORE DELETE ON writers FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON writers FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- Begins an append: locks the tail, refuses a writer that is fenced, and returns the tail, with an epoch for journals that
-- another writer has or no writer had; then the head of each journal that is named, once each, and has one. The heads are
-- not locked: the guard finds out which were acquired since.
CREATE FUNCTION begin_append(me bigint, names text[])
RETURNS TABLE (journal text, at bigint, entry_hash bytea, recorded_at_us bigint, writer bigint, epoch bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE last tail;
BEGIN
  SELECT * INTO last FROM tail FOR UPDATE;
  IF NOT EXISTS (SELECT 1 FROM writers WHERE writers.writer = me AND fenced_at IS NULL AND account = session_user) THEN
    RAISE EXCEPTION 'writer % was fenced', me USING ERRCODE = 'LM004';
  END IF;
  PERFORM set_config('loom.writer', me::text, true);
  RETURN QUERY
    WITH found AS MATERIALIZED (SELECT * FROM heads WHERE heads.journal = ANY (names))
    SELECT NULL::text, last.position, last.entry_hash, last.recorded_at_us, 0::bigint,
      CASE WHEN (SELECT count(*) FROM found WHERE found.writer = me) < cardinality(names)
        THEN greatest(nextval('epochs'), (SELECT max(found.epoch) + 1 FROM found))
        ELSE 0 END
    UNION ALL
    SELECT found.journal, found.sequence, found.entry_hash, 0::bigint, found.writer, found.epoch FROM found;
END $$;

-- Makes a process the one writer of a journal, after what another one is appending to it.
CREATE FUNCTION acquire(me bigint, name text, beginning bytea)
RETURNS TABLE (at bigint, entry_hash bytea, epoch bigint, taken_over boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE before bigint;
BEGIN
  IF NOT EXISTS (SELECT 1 FROM writers WHERE writers.writer = me AND fenced_at IS NULL AND account = session_user) THEN
    RAISE EXCEPTION 'writer % was fenced', me USING ERRCODE = 'LM004';
  END IF;
  INSERT INTO heads VALUES (name, 0, beginning, 0, 0) ON CONFLICT DO NOTHING;
  SELECT heads.writer INTO before FROM heads WHERE heads.journal = name FOR UPDATE;
  -- A sequence may lose its latest values in a crash, while an append under one of them was durable.
  RETURN QUERY UPDATE heads SET writer = me, epoch = greatest(nextval('epochs'), heads.epoch + 1)
    WHERE heads.journal = name
    RETURNING heads.sequence, heads.entry_hash, heads.epoch, before NOT IN (0, me);
END $$;

-- Declares a process dead, after what it is appending: nothing that it sends later is appended. Returns whether there was
-- such a process.
CREATE FUNCTION fence(which bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM 1 FROM tail FOR UPDATE;
  UPDATE writers SET fenced_at = coalesce(fenced_at, now()) WHERE writer = which;
  RETURN FOUND;
END $$;

-- Lets an account in: as a reader, or as a writer, which may append, acquire, fence and prune, and change no other row of
-- writers than its own. Everything else is the owner's.
CREATE FUNCTION let_in(account name, role text) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF role NOT IN ('reader', 'writer') THEN
    RAISE EXCEPTION 'role % is not known; expected reader or writer', role USING ERRCODE = '22023';
  END IF;
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), account);
  EXECUTE format('GRANT SELECT ON meta, tail, writers, heads, entries, commands, own_ids TO %I', account);
  IF role = 'writer' THEN
    EXECUTE format('GRANT INSERT, UPDATE (body, salt) ON entries TO %I', account);
    EXECUTE format('GRANT INSERT (name, address, release, level), UPDATE (beat_at) ON writers TO %I', account);
    EXECUTE format('GRANT UPDATE (one) ON tail TO %I', account); -- to lock it: that it changes is refused by its trigger
    EXECUTE format('GRANT EXECUTE ON FUNCTION begin_append(bigint, text[]), acquire(bigint, text, bytea), '
                   'fence(bigint), add_partition(bigint, bigint) TO %I', account);
  END IF;
END $$;

REVOKE EXECUTE ON FUNCTION begin_append(bigint, text[]), acquire(bigint, text, bytea), fence(bigint),
  add_partition(bigint, bigint), guard_entries(regclass), let_in(name, text) FROM PUBLIC;

ALTER TABLE writers ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON writers FOR SELECT USING (true);
CREATE POLICY own_registered ON writers FOR INSERT WITH CHECK (account = current_user);
CREATE POLICY own_changed ON writers FOR UPDATE USING (account = current_user);
