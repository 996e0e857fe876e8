-- Since when an enricher follows the journal; no row if none ever did.
CREATE TABLE enrichment_followed (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  position INTEGER NOT NULL
) STRICT;

-- Decisions since then without a critique; the mode says which of them are to be criticised.
CREATE TABLE enrichment_waiting (
  position INTEGER PRIMARY KEY,
  decision_id TEXT NOT NULL UNIQUE,
  journal TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  decision_type TEXT NOT NULL,
  enrich TEXT
) STRICT;

CREATE INDEX enrichment_by_type ON enrichment_waiting (decision_type, position);

CREATE INDEX enrichment_by_override ON enrichment_waiting (enrich, position) WHERE enrich IS NOT NULL;

-- The result for each decision that a critic was asked about: an analysis as JSON, or the reason why there is none.
CREATE TABLE enrichments (
  position INTEGER PRIMARY KEY,
  decision_id TEXT NOT NULL,
  recorded_at_us INTEGER NOT NULL,
  status TEXT NOT NULL,
  cost_micro_usd INTEGER NOT NULL,
  duration_ms REAL,
  confidence REAL,
  said TEXT NOT NULL
) STRICT;

CREATE INDEX enrichments_by_decision ON enrichments (decision_id, position);
