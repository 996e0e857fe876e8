CREATE TABLE approvals (
  position INTEGER PRIMARY KEY,
  approval_id TEXT NOT NULL UNIQUE,
  journal TEXT NOT NULL,
  command_id TEXT,
  actor_type TEXT NOT NULL,
  actor_key TEXT NOT NULL,
  approver TEXT NOT NULL,
  reason TEXT NOT NULL,
  shown TEXT NOT NULL,
  facts TEXT,
  evaluation TEXT,
  requested_by TEXT,
  requested_identity_source TEXT,
  requested_via TEXT,
  requested_at_us INTEGER NOT NULL,
  deadline_us INTEGER,
  on_deadline TEXT NOT NULL,
  escalate_to TEXT NOT NULL,
  action TEXT,
  arguments TEXT,
  request TEXT,
  question TEXT,
  information TEXT,
  answer TEXT,
  status TEXT NOT NULL DEFAULT 'pending',
  answered_by TEXT,
  answered_identity_source TEXT,
  answered_via TEXT,
  role TEXT,
  comment TEXT,
  answered_at_us INTEGER
) STRICT;

CREATE INDEX approvals_by_turn ON approvals (journal, command_id);

CREATE INDEX approvals_pending ON approvals (position) WHERE status = 'pending';

CREATE INDEX approvals_due ON approvals (deadline_us) WHERE status = 'pending' AND deadline_us IS NOT NULL;

-- What happened to each request, named by its position, in order; an answer that came after the first one does not count.
CREATE TABLE approval_events (
  request INTEGER NOT NULL,
  position INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  event TEXT NOT NULL,
  approver TEXT,
  by TEXT,
  identity_source TEXT,
  via TEXT,
  role TEXT,
  comment TEXT,
  deadline_us INTEGER,
  counts INTEGER NOT NULL DEFAULT 1,
  answer TEXT,
  PRIMARY KEY (request, position)
) STRICT, WITHOUT ROWID;
