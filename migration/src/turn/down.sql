DROP INDEX delivery_turn;
ALTER TABLE delivery DROP COLUMN source;
