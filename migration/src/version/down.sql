DROP INDEX delivery_version;
ALTER TABLE delivery DROP COLUMN version;
