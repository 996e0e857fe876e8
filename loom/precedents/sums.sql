-- Facets that are declared, each by its declaration: attributes of the last version of some equivalence rule. Facet 0 is
-- every decision, whatever its facts are.
CREATE TABLE precedent_sum_facets (
  facet INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  declaration TEXT NOT NULL UNIQUE
) STRICT;

-- Which rules declare them.
CREATE TABLE precedent_sum_rules (
  rule TEXT NOT NULL,
  declaration TEXT NOT NULL,
  PRIMARY KEY (rule, declaration)
) STRICT, WITHOUT ROWID;

-- The values that have sums of their own, as JSON, or the part of a range that they lie in; number 0, of which the value
-- is empty, has all others.
CREATE TABLE precedent_sum_values (
  facet INTEGER NOT NULL,
  value TEXT NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (facet, value)
) STRICT, WITHOUT ROWID;

-- What else decisions of one sum have in common; empty where a decision has none.
CREATE TABLE precedent_sum_groups (
  grp INTEGER PRIMARY KEY,
  origin TEXT NOT NULL,
  decision_type TEXT NOT NULL,
  actor_type TEXT NOT NULL,
  policy TEXT NOT NULL,
  effect TEXT NOT NULL,
  verdict TEXT NOT NULL,
  is_exception INTEGER NOT NULL,
  UNIQUE (origin, decision_type, actor_type, policy, effect, verdict, is_exception)
) STRICT;

-- How many decisions a facet's value has, per day (span 0, days since 1970), per month (span 1, year * 12 + month from 0)
-- and per year (span 2), UTC. By time 0 is decided and recorded on the same day, 1 decided then, 2 recorded then.
CREATE TABLE precedent_sums (
  facet INTEGER NOT NULL,
  by_time INTEGER NOT NULL,
  value INTEGER NOT NULL,
  span INTEGER NOT NULL,
  begin INTEGER NOT NULL,
  grp INTEGER NOT NULL,
  decisions INTEGER NOT NULL,
  PRIMARY KEY (facet, by_time, value, span, begin, grp)
) STRICT, WITHOUT ROWID;

-- The same of imports that have not ended: nothing counts yet.
CREATE TABLE precedent_sums_waiting (
  import_id TEXT NOT NULL,
  facet INTEGER NOT NULL,
  value INTEGER NOT NULL,
  decided_day INTEGER NOT NULL,
  recorded_day INTEGER NOT NULL,
  grp INTEGER NOT NULL,
  decisions INTEGER NOT NULL,
  PRIMARY KEY (import_id, facet, value, decided_day, recorded_day, grp)
) STRICT, WITHOUT ROWID;
