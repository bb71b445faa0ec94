CREATE TABLE dedupe_group (
    name text NOT NULL CONSTRAINT dedupe_group_pkey PRIMARY KEY
);
-- The groups that have a name of their own come when a daemon starts with them in its config.
INSERT INTO dedupe_group (name) SELECT DISTINCT source FROM event;
DROP INDEX event_provider_id;
