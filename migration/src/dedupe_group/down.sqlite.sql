CREATE INDEX event_provider_id ON event (event_id);
DROP TABLE dedupe_group;
