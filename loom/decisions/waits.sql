-- Each wait of a turn, for a time or for a message, by the position at which it began, with what ended it.
CREATE TABLE turn_waits (
  position INTEGER PRIMARY KEY,
  journal TEXT NOT NULL,
  command_id TEXT NOT NULL,
  step TEXT,
  what TEXT NOT NULL,
  message TEXT,
  until TEXT,
  began_at_us INTEGER NOT NULL,
  answered_position INTEGER,
  message_id TEXT,
  ended_position INTEGER,
  ended_at_us INTEGER
) STRICT;

CREATE INDEX turn_waits_by_turn ON turn_waits (journal, command_id, position);
