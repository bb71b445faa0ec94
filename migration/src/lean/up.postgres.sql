ALTER TABLE event_body DROP CONSTRAINT event_body_event_fkey;
ALTER TABLE delivery DROP CONSTRAINT delivery_event_fkey;
ALTER TABLE attempt DROP CONSTRAINT attempt_delivery_fkey;

-- Each query in here sees what was committed up to now, not only what its statement saw at its start:
-- a delivery that was reopened or made in between keeps its event, and the statement fails.
CREATE FUNCTION hookonce_event_gone() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER event_gone AFTER DELETE ON event REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION hookonce_event_gone();

CREATE FUNCTION hookonce_delivery_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM gone JOIN attempt ON attempt.delivery_id = gone.id) THEN
        RAISE foreign_key_violation USING MESSAGE = 'a delivery that has attempts can''t be deleted',
            CONSTRAINT = 'attempt_delivery_fkey', TABLE = 'attempt';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER delivery_gone AFTER DELETE ON delivery REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION hookonce_delivery_gone();
