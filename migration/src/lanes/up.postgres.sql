-- A lane is (handler, lane): at most one delivery of it, its head, may be claimed; the others wait.
-- A constant default rewrites nothing.
ALTER TABLE delivery ADD COLUMN lane text;
ALTER TABLE delivery ADD COLUMN lane_order bigint;
ALTER TABLE delivery ADD COLUMN lane_skip boolean NOT NULL DEFAULT false;
ALTER TABLE delivery ADD COLUMN lane_head boolean NOT NULL DEFAULT false;
ALTER TABLE delivery ADD COLUMN lane_waits boolean NOT NULL DEFAULT false;

DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (handler, due_at, id) WHERE state = 'pending' AND NOT lane_waits;
-- The invariant itself: no second head, whatever went wrong elsewhere.
CREATE UNIQUE INDEX delivery_lane_head ON delivery (handler, lane) WHERE lane_head;
CREATE INDEX delivery_lane_waits ON delivery (handler, lane, lane_order) WHERE lane_waits;

CREATE SEQUENCE delivery_lane_order;

-- Who enters a lane or hands it on holds its lock until commit, so that neither overlooks the other. The
-- lock is one of 4096, not one a lane: one statement may touch any number of lanes, and the server's table
-- of locks is small. A statement of many lanes takes the locks in their order.
CREATE FUNCTION hookonce_lane_lock_of(handler text, lane text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT hashtext(handler || ':' || lane) & 4095 $$;

CREATE FUNCTION hookonce_lane_lock(lock integer) RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    -- 'lane' in ASCII.
    PERFORM pg_advisory_xact_lock(1818324581, lock);
    RETURN lock;
END $$;

-- Each query in these functions sees what was committed up to now, that is: before the lock was ours.
CREATE FUNCTION hookonce_lane_enter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hookonce_lane_lock(hookonce_lane_lock_of(NEW.handler, NEW.lane));
    IF NEW.lane_order IS NULL THEN
        NEW.lane_order := nextval('delivery_lane_order');
    END IF;
    NEW.lane_waits := EXISTS (SELECT FROM delivery d
                               WHERE d.handler = NEW.handler AND d.lane = NEW.lane AND d.lane_head);
    NEW.lane_head := NOT NEW.lane_waits;
    RETURN NEW;
END $$;
CREATE TRIGGER delivery_lane_enter BEFORE INSERT ON delivery
    FOR EACH ROW WHEN (NEW.lane IS NOT NULL) EXECUTE FUNCTION hookonce_lane_enter();
-- A dead one that its lane has passed over comes in again.
CREATE TRIGGER delivery_lane_reenter BEFORE UPDATE OF state ON delivery
    FOR EACH ROW WHEN (NEW.lane IS NOT NULL AND OLD.state = 'dead' AND NEW.state = 'pending' AND NOT OLD.lane_head)
    EXECUTE FUNCTION hookonce_lane_enter();

CREATE FUNCTION hookonce_lane_leave() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.lane_head := false;
    NEW.lane_waits := false;
    RETURN NEW;
END $$;
CREATE TRIGGER delivery_lane_leave BEFORE UPDATE OF state ON delivery
    FOR EACH ROW WHEN (NEW.lane IS NOT NULL
        AND (NEW.state IN ('delivered', 'cancelled') OR (NEW.state = 'dead' AND NEW.lane_skip)))
    EXECUTE FUNCTION hookonce_lane_leave();

-- The next one is opened now: how long it waited for its turn doesn't count against its retries.
CREATE FUNCTION hookonce_lane_next() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    next uuid;
BEGIN
    PERFORM hookonce_lane_lock(hookonce_lane_lock_of(OLD.handler, OLD.lane));
    LOOP
        SELECT d.id INTO next FROM delivery d
         WHERE d.handler = OLD.handler AND d.lane = OLD.lane AND d.lane_waits
         ORDER BY d.lane_order LIMIT 1;
        EXIT WHEN next IS NULL;
        UPDATE delivery SET lane_head = true, lane_waits = false, opened_at = clock_timestamp()
         WHERE id = next AND lane_waits;
        -- Not found: it was cancelled while we looked.
        EXIT WHEN FOUND;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER delivery_lane_next AFTER UPDATE OF state ON delivery
    FOR EACH ROW WHEN (OLD.lane_head AND NOT NEW.lane_head) EXECUTE FUNCTION hookonce_lane_next();
CREATE TRIGGER delivery_lane_freed AFTER DELETE ON delivery
    FOR EACH ROW WHEN (OLD.lane_head) EXECUTE FUNCTION hookonce_lane_next();
