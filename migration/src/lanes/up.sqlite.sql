-- A lane is (handler, lane): at most one delivery of it, its head, may be claimed; the others wait.
-- There is one writer, so nothing has to be locked here.
ALTER TABLE delivery ADD COLUMN lane TEXT;
ALTER TABLE delivery ADD COLUMN lane_order INTEGER;
ALTER TABLE delivery ADD COLUMN lane_skip INTEGER NOT NULL DEFAULT 0 CONSTRAINT delivery_lane_skip_is_bool CHECK (lane_skip IN (0, 1));
ALTER TABLE delivery ADD COLUMN lane_head INTEGER NOT NULL DEFAULT 0 CONSTRAINT delivery_lane_head_is_bool CHECK (lane_head IN (0, 1));
ALTER TABLE delivery ADD COLUMN lane_waits INTEGER NOT NULL DEFAULT 0 CONSTRAINT delivery_lane_waits_is_bool CHECK (lane_waits IN (0, 1));

DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (handler, due_at, id) WHERE state = 'pending' AND lane_waits = 0;
-- The invariant itself: no second head, whatever went wrong elsewhere.
CREATE UNIQUE INDEX delivery_lane_head ON delivery (handler, lane) WHERE lane_head;
CREATE INDEX delivery_lane_waits ON delivery (handler, lane, lane_order) WHERE lane_waits;
CREATE INDEX delivery_lane_order ON delivery (lane_order) WHERE lane_order IS NOT NULL;

CREATE TRIGGER delivery_lane_enter AFTER INSERT ON delivery WHEN NEW.lane IS NOT NULL
BEGIN
    UPDATE delivery
       SET lane_order = (SELECT coalesce(max(lane_order), 0) + 1 FROM delivery WHERE lane_order IS NOT NULL),
           lane_head = NOT EXISTS (SELECT 1 FROM delivery d WHERE d.handler = NEW.handler AND d.lane = NEW.lane AND d.lane_head),
           lane_waits = EXISTS (SELECT 1 FROM delivery d WHERE d.handler = NEW.handler AND d.lane = NEW.lane AND d.lane_head)
     WHERE id = NEW.id;
END;
-- A dead one that its lane has passed over comes in again.
CREATE TRIGGER delivery_lane_reenter AFTER UPDATE OF state ON delivery
  WHEN NEW.lane IS NOT NULL AND OLD.state = 'dead' AND NEW.state = 'pending' AND NOT OLD.lane_head
BEGIN
    UPDATE delivery
       SET lane_head = NOT EXISTS (SELECT 1 FROM delivery d WHERE d.handler = NEW.handler AND d.lane = NEW.lane AND d.lane_head),
           lane_waits = EXISTS (SELECT 1 FROM delivery d WHERE d.handler = NEW.handler AND d.lane = NEW.lane AND d.lane_head)
     WHERE id = NEW.id;
END;
-- The next one is opened now: how long it waited for its turn doesn't count against its retries.
CREATE TRIGGER delivery_lane_leave AFTER UPDATE OF state ON delivery
  WHEN (NEW.lane_head OR NEW.lane_waits)
   AND (NEW.state IN ('delivered', 'cancelled') OR (NEW.state = 'dead' AND NEW.lane_skip))
BEGIN
    UPDATE delivery SET lane_head = 0, lane_waits = 0 WHERE id = NEW.id;
    UPDATE delivery SET lane_head = 1, lane_waits = 0, opened_at = strftime('%Y-%m-%d %H:%M:%f', 'now')
     WHERE NEW.lane_head
       AND id = (SELECT id FROM delivery d WHERE d.handler = NEW.handler AND d.lane = NEW.lane AND d.lane_waits
                  ORDER BY d.lane_order LIMIT 1);
END;
CREATE TRIGGER delivery_lane_freed AFTER DELETE ON delivery WHEN OLD.lane_head
BEGIN
    UPDATE delivery SET lane_head = 1, lane_waits = 0, opened_at = strftime('%Y-%m-%d %H:%M:%f', 'now')
     WHERE id = (SELECT id FROM delivery d WHERE d.handler = OLD.handler AND d.lane = OLD.lane AND d.lane_waits
                  ORDER BY d.lane_order LIMIT 1);
END;
