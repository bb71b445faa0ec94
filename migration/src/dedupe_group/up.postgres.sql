CREATE TABLE dedupe_group (
    name text NOT NULL CONSTRAINT dedupe_group_pkey PRIMARY KEY
);
-- The older events of a group that has a name of its own are found once the group gets its next event.
INSERT INTO dedupe_group (name) SELECT DISTINCT source FROM event;
DROP INDEX event_provider_id;
