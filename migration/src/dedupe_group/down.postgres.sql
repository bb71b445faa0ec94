CREATE INDEX event_provider_id ON event USING hash (event_id);
DROP TABLE dedupe_group;
