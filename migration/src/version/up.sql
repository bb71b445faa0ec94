-- Digits, a point, digits, always as many: compared as text in any collation.
ALTER TABLE delivery ADD COLUMN version text;
CREATE INDEX delivery_version ON delivery (handler, lane, version) WHERE version IS NOT NULL AND state = 'delivered';
