-- What the drop needs, and in the order in which a cleanup takes its locks. A conflict that an older daemon keeps in that
-- moment takes them the other way round: one of the two is then ended as a deadlock, and has to be tried again.
LOCK TABLE event, event_conflict IN ACCESS EXCLUSIVE MODE;
ALTER TABLE event_conflict DROP CONSTRAINT event_conflict_event_fkey;

CREATE OR REPLACE FUNCTION hookonce_event_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM gone JOIN delivery ON delivery.event_id = gone.id) THEN
        RAISE foreign_key_violation USING MESSAGE = 'an event that has deliveries can''t be deleted',
            CONSTRAINT = 'delivery_event_fkey', TABLE = 'delivery';
    END IF;
    IF EXISTS (SELECT FROM gone JOIN event_body ON event_body.event_id = gone.id) THEN
        RAISE foreign_key_violation USING MESSAGE = 'an event that has a body can''t be deleted',
            CONSTRAINT = 'event_body_event_fkey', TABLE = 'event_body';
    END IF;
    IF EXISTS (SELECT FROM gone JOIN event_conflict ON event_conflict.event_id = gone.id) THEN
        RAISE foreign_key_violation USING MESSAGE = 'an event that has a conflict can''t be deleted',
            CONSTRAINT = 'event_conflict_event_fkey', TABLE = 'event_conflict';
    END IF;
    RETURN NULL;
END $$;
