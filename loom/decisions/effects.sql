-- Each effect that a turn meant to have in the world, named by the position of its intent, with what came of it.
CREATE TABLE turn_effects (
  position INTEGER PRIMARY KEY,
  journal TEXT NOT NULL,
  command_id TEXT NOT NULL,
  step TEXT NOT NULL,
  action TEXT NOT NULL,
  key TEXT NOT NULL,
  repeatable INTEGER NOT NULL,
  intended_at_us INTEGER NOT NULL,
  arguments TEXT,
  under TEXT,
  ended_position INTEGER,
  ended_at_us INTEGER,
  result TEXT,
  type_name TEXT,
  message TEXT,
  duration_ms REAL,
  failed_attempts TEXT
) STRICT;

CREATE INDEX turn_effects_by_turn ON turn_effects (journal, command_id, position);
