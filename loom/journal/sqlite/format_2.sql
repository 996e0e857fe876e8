-- What format 2 adds to a journal of format 1. Its text is compared as that of schema.sql is: do not edit it.

-- What says how a turn got on, found by its turn: with the index on commands it leads to every turn without an end, and
-- to every request that may still be open, without reading the rest of the journal. A list with IN would cost each
-- append twice as much as the terms with OR.
CREATE INDEX entries_by_turn ON entries (journal, command_id, kind)
WHERE kind = 'approval_answered' OR kind = 'approval_escalated' OR kind = 'approval_requested'
   OR kind = 'turn_abandoned' OR kind = 'turn_completed' OR kind = 'turn_failed';
