-- Original decisions that may serve as precedents; `excluded` says why one may not any more.
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
  excluded TEXT
) STRICT;

CREATE INDEX precedents_by_situation ON precedents (situation, position) WHERE situation IS NOT NULL;

CREATE INDEX precedents_by_class ON precedents (precedent, position, excluded) WHERE precedent IS NOT NULL;

CREATE INDEX precedents_by_type ON precedents (decision_type, position);

CREATE INDEX precedents_by_turn ON precedents (journal, command_id);

-- Scalars out of facts and context, by which cases are found; the value as JSON.
CREATE TABLE precedent_facets (
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (name, value, position)
) STRICT, WITHOUT ROWID;

-- Words of rationale and reasoning; the row id is the position. The words themselves stand in the decision.
CREATE VIRTUAL TABLE precedent_words USING fts5 (rationale, reasoning, content = '', tokenize = 'unicode61 remove_diacritics 2');
