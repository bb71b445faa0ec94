-- Null for what was recorded before, and for what a replay makes: they take turns with the sources as one more.
ALTER TABLE delivery ADD COLUMN source text;
CREATE INDEX delivery_turn ON delivery (handler, COALESCE(source, ''), due_at, id) WHERE state = 'pending' AND lane_waits = 0;
