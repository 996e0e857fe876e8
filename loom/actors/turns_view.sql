-- One row for each command that was received. The status is computed from the journal, not stored:
--   stuck      it was resumed after it began an effect that may not be repeated, and the journal has no end of that effect;
--              or it was resumed three times without getting any further; or it does not do what its journal says
--   parked     it waits for a person's answer, for a time or for a message
--   running    it has entries besides its command
CREATE TABLE turns (
  received_position INTEGER PRIMARY KEY,
  journal TEXT NOT NULL,
  command_id TEXT NOT NULL,
  actor_type TEXT NOT NULL,
  actor_key TEXT NOT NULL,
  command_type TEXT,
  by TEXT,
  identity_source TEXT,
  via TEXT,
  correlation_id TEXT,
  causation_id TEXT,
  received_sequence INTEGER NOT NULL,
  received_at_us INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  resumed INTEGER NOT NULL DEFAULT 0,
  pending_effects INTEGER NOT NULL DEFAULT 0,
  open_approvals INTEGER NOT NULL DEFAULT 0,
  open_waits INTEGER NOT NULL DEFAULT 0,
  decisions INTEGER NOT NULL DEFAULT 0,
  last_position INTEGER NOT NULL,
  diverged_position INTEGER,
  ended TEXT,
  ended_at_us INTEGER,
  error_type TEXT,
  error_message TEXT,
  status TEXT GENERATED ALWAYS AS (
    CASE
      WHEN ended IS NOT NULL THEN ended
      WHEN pending_effects > 0 AND resumed THEN 'stuck'
      WHEN diverged_position = last_position THEN 'stuck'
      WHEN open_approvals > 0 OR open_waits > 0 THEN 'parked'
      WHEN attempts >= 3 THEN 'stuck'
      WHEN last_position > received_position THEN 'running'
      ELSE 'received'
    END) VIRTUAL,
  UNIQUE (journal, command_id)
) STRICT;

CREATE INDEX turns_by_command ON turns (command_id);

CREATE INDEX turns_unfinished ON turns (received_position) WHERE ended IS NULL;

CREATE INDEX turns_failed ON turns (ended, received_position) WHERE ended IS NOT NULL AND ended <> 'completed';

-- What of an unfinished turn is open: an approval, a wait, or an effect that may not be done twice.
CREATE TABLE turn_open (
  journal TEXT NOT NULL,
  what TEXT NOT NULL,
  id TEXT NOT NULL,
  command_id TEXT NOT NULL,
  PRIMARY KEY (journal, what, id)
) STRICT, WITHOUT ROWID;
