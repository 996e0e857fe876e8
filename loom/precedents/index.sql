-- Original and observed decisions that may serve as precedents; `excluded` says why one may not any more, `overruled_by` names the
-- first usable decision that overruled it.
CREATE TABLE precedents (
  position INTEGER PRIMARY KEY,
  decision_id TEXT NOT NULL UNIQUE,
  journal TEXT NOT NULL,
  command_id TEXT,
  decision_type TEXT NOT NULL,
  rule TEXT,
  situation TEXT,
  precedent TEXT,
  outcome TEXT NOT NULL,
  rationale TEXT NOT NULL,
  is_exception INTEGER NOT NULL,
  recorded_at_us INTEGER NOT NULL,
  policy_name TEXT,
  policy_version TEXT,
  policy_hash TEXT,
  import_id TEXT,
  overruled_by TEXT,
  excluded TEXT,
  decided_at_us INTEGER,
  effect TEXT,
  verdict TEXT
) STRICT;

CREATE INDEX precedents_by_situation ON precedents (situation, position)
WHERE situation IS NOT NULL AND excluded IS NULL;

CREATE INDEX precedents_by_class ON precedents (precedent, position)
WHERE precedent IS NOT NULL AND excluded IS NULL;

CREATE INDEX precedents_by_type ON precedents (decision_type, position) WHERE excluded IS NULL;

-- What an import has brought in that has not ended.
CREATE INDEX precedents_unfinished ON precedents (import_id) WHERE excluded = 'unfinished';

CREATE INDEX precedents_by_turn ON precedents (journal, command_id);

CREATE INDEX precedents_overruled ON precedents (precedent, policy_name, policy_hash)
WHERE overruled_by IS NOT NULL AND excluded IS NULL;

-- How many usable decisions a class has: counted as they come, as counting a million takes too long.
CREATE TABLE precedent_classes (
  precedent TEXT PRIMARY KEY,
  rule TEXT NOT NULL,
  situation TEXT NOT NULL,
  support INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX precedent_classes_by_support ON precedent_classes (support, precedent);

CREATE INDEX precedent_classes_of_rule ON precedent_classes (rule, support, precedent);

-- The same by policy version, so that the share of a class that is no longer the policy need not be counted either.
CREATE TABLE precedent_supports (
  precedent TEXT NOT NULL,
  policy_name TEXT NOT NULL,
  policy_hash TEXT NOT NULL,
  support INTEGER NOT NULL,
  PRIMARY KEY (precedent, policy_name, policy_hash)
) STRICT, WITHOUT ROWID;

-- Which version of each policy new turns pin.
CREATE TABLE precedent_policies (
  name TEXT PRIMARY KEY,
  hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Which decision was overruled, and at which position; only by usable decisions.
CREATE TABLE precedent_overrulings (
  decision_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (decision_id, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX precedent_overrulings_by_position ON precedent_overrulings (position);

-- Decisions whose class is sealed in the journal and was opened for this index: for whom, with keys of which generation.
CREATE TABLE precedent_sealed (
  position INTEGER NOT NULL,
  subject TEXT NOT NULL,
  generation INTEGER NOT NULL,
  PRIMARY KEY (subject, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX precedent_sealed_by_position ON precedent_sealed (position);

-- Decisions whose class no one tried to open, as there was no vault: the next loom with one folds the index again.
CREATE TABLE precedent_closed (position INTEGER PRIMARY KEY) STRICT;

-- Scalars out of facts and context, by which cases are found; the value as JSON.
CREATE TABLE precedent_facets (
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (name, value, position)
) STRICT, WITHOUT ROWID;

-- Words of rationale and reasoning; the row id is the position. The words themselves are in the decision.
CREATE VIRTUAL TABLE precedent_words USING fts5 (rationale, reasoning, content = '', tokenize = 'unicode61 remove_diacritics 2');
