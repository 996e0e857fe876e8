-- One row for each decision. Observed ones have no policy; when they were decided is what their source claims, else when
-- they were recorded.
CREATE TABLE trace_decisions (
  position INTEGER PRIMARY KEY,
  decision_id TEXT NOT NULL UNIQUE,
  journal TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  command_id TEXT,
  command_type TEXT,
  by TEXT,
  identity_source TEXT,
  via TEXT,
  correlation_id TEXT,
  actor_type TEXT NOT NULL,
  actor_key TEXT NOT NULL,
  decision_type TEXT NOT NULL,
  is_exception INTEGER NOT NULL,
  policy_name TEXT,
  policy_version TEXT,
  policy_hash TEXT,
  rule TEXT,
  effect TEXT,
  -- equal for decisions of one type, effect, rule, version and exception or not, so that they are counted by a number
  facets INTEGER NOT NULL,
  recorded_at_us INTEGER NOT NULL,
  decided_at_us INTEGER NOT NULL,
  decided_by TEXT,
  parent_decision_id TEXT,
  run_id TEXT,
  origin TEXT NOT NULL,
  replayed_from TEXT,
  confidence REAL,
  rationale TEXT NOT NULL,
  situation TEXT,
  precedent TEXT,
  outcome TEXT NOT NULL,
  verdict TEXT,
  departure TEXT,
  status TEXT NOT NULL
) STRICT;

CREATE INDEX trace_open ON trace_decisions (journal, command_id) WHERE status = 'open';

-- Each of these gives what it is asked for by position, so that no page needs sorting.
CREATE INDEX trace_by_type ON trace_decisions (decision_type, position);

CREATE INDEX trace_by_command ON trace_decisions (command_type, position);

CREATE INDEX trace_by_actor_type ON trace_decisions (actor_type, position);

CREATE INDEX trace_by_actor ON trace_decisions (actor_key, position);

CREATE INDEX trace_by_policy ON trace_decisions (policy_name, position);

CREATE INDEX trace_by_version ON trace_decisions (policy_version, position);

CREATE INDEX trace_by_rule ON trace_decisions (rule, position) WHERE rule IS NOT NULL;

CREATE INDEX trace_by_effect ON trace_decisions (effect, position) WHERE effect IS NOT NULL;

CREATE INDEX trace_by_requester ON trace_decisions (by, position) WHERE by IS NOT NULL;

CREATE INDEX trace_by_class ON trace_decisions (precedent, position) WHERE precedent IS NOT NULL;

CREATE INDEX trace_by_run ON trace_decisions (run_id, position) WHERE run_id IS NOT NULL;

CREATE INDEX trace_by_time ON trace_decisions (recorded_at_us);

CREATE INDEX trace_by_decided ON trace_decisions (decided_at_us);

CREATE INDEX trace_observed ON trace_decisions (origin, position) WHERE origin = 'observed';

CREATE INDEX trace_importing ON trace_decisions (run_id) WHERE origin = 'observed' AND status = 'open';

CREATE INDEX trace_exceptions ON trace_decisions (position) WHERE is_exception = 1;

CREATE INDEX trace_departures ON trace_decisions (position) WHERE departure IS NOT NULL;

CREATE INDEX trace_failed ON trace_decisions (status, position) WHERE status NOT IN ('open', 'settled');

CREATE INDEX trace_replayed ON trace_decisions (position) WHERE origin = 'replayed';

CREATE INDEX trace_by_parent ON trace_decisions (parent_decision_id) WHERE parent_decision_id IS NOT NULL;

CREATE INDEX trace_by_original ON trace_decisions (replayed_from) WHERE replayed_from IS NOT NULL;

-- The people who decided: who answered a request of the turn before, or, of an observed decision, whom its source names.
CREATE TABLE trace_people (
  position INTEGER NOT NULL,
  person TEXT NOT NULL,
  PRIMARY KEY (position, person)
) STRICT, WITHOUT ROWID;

CREATE INDEX trace_by_person ON trace_people (person, position);

-- Who answered requests, of turns that have not ended.
CREATE TABLE trace_answers (
  journal TEXT NOT NULL,
  command_id TEXT NOT NULL,
  person TEXT NOT NULL,
  PRIMARY KEY (journal, command_id, person)
) STRICT, WITHOUT ROWID;

-- Between which positions the observed decisions are that were made on a day (since 1970, UTC).
CREATE TABLE trace_observed_days (
  day INTEGER PRIMARY KEY,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL
) STRICT;

-- The policy versions that decisions name: the way from a full hash to the version id that is indexed.
CREATE TABLE trace_versions (
  policy_hash TEXT PRIMARY KEY,
  policy_version TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What was decided in each run, whether its start is known here or not.
CREATE TABLE trace_runs (
  run_id TEXT PRIMARY KEY,
  decisions INTEGER NOT NULL,
  actors INTEGER NOT NULL,
  first_at_us INTEGER NOT NULL,
  last_at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE trace_run_versions (
  run_id TEXT NOT NULL,
  policy_name TEXT NOT NULL,
  policy_version TEXT NOT NULL,
  policy_hash TEXT NOT NULL,
  first_position INTEGER NOT NULL,
  decisions INTEGER NOT NULL,
  PRIMARY KEY (run_id, policy_name, policy_version, policy_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE trace_run_actors (
  run_id TEXT NOT NULL,
  journal TEXT NOT NULL,
  PRIMARY KEY (run_id, journal)
) STRICT, WITHOUT ROWID;

-- Who asked for what, of turns that have not ended: what a decision takes over from its command.
CREATE TABLE trace_turns (
  journal TEXT NOT NULL,
  command_id TEXT NOT NULL,
  command_type TEXT NOT NULL,
  by TEXT,
  identity_source TEXT,
  via TEXT,
  correlation_id TEXT NOT NULL,
  PRIMARY KEY (journal, command_id)
) STRICT, WITHOUT ROWID;

-- How decisions turned out, seen later; the decision may be in another journal, and may come to be known after this.
CREATE TABLE trace_outcomes (
  position INTEGER PRIMARY KEY,
  decision_id TEXT NOT NULL,
  correct INTEGER,
  actual TEXT,
  feedback TEXT,
  observed_by TEXT NOT NULL,
  identity_source TEXT,
  via TEXT,
  observed_at_us INTEGER NOT NULL,
  recorded_at_us INTEGER NOT NULL
) STRICT;

CREATE INDEX trace_outcomes_by_decision ON trace_outcomes (decision_id, position);

-- In what an unfinished turn diverged when it was last driven again.
CREATE TABLE trace_divergences (
  position INTEGER PRIMARY KEY,
  journal TEXT NOT NULL,
  command_id TEXT,
  said TEXT NOT NULL
) STRICT;

CREATE INDEX trace_diverged ON trace_divergences (journal, command_id);
