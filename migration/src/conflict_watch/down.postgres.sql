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
    RETURN NULL;
END $$;

DELETE FROM event_conflict WHERE NOT EXISTS (SELECT FROM event WHERE event.id = event_conflict.event_id);
ALTER TABLE event_conflict ADD CONSTRAINT event_conflict_event_fkey FOREIGN KEY (event_id) REFERENCES event (id);
