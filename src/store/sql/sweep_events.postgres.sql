-- A batch of expired events, and what hangs on them. The foreign keys have the last word: an event
-- whose delivery was reopened after this statement's snapshot can't go, and the statement fails.
WITH candidate AS MATERIALIZED (
    SELECT id, expires_at
      FROM event
     WHERE expires_at <= (SELECT clock_timestamp() - hookonce_grace()) AND (expires_at, id) > ($1, $2)
     ORDER BY expires_at, id
     LIMIT $3
       FOR UPDATE SKIP LOCKED
),
doomed AS MATERIALIZED (
    SELECT c.id
      FROM candidate c
     -- A correlated aggregate, because the planner would turn NOT EXISTS into one pass over every open
     -- delivery; this looks up those of one event.
     WHERE (SELECT COALESCE(bool_and(d.state IN ('delivered', 'cancelled')
                   OR (d.state = 'dead' AND d.settled_at <= clock_timestamp() - make_interval(secs => $4))), true)
              FROM delivery d
             WHERE d.event_id = c.id)
),
closed AS MATERIALIZED (
    SELECT d.id, CASE WHEN d.lane_head THEN hookonce_lane_lock_of(d.handler, d.lane) END AS lane_lock
      FROM delivery d JOIN doomed ON d.event_id = doomed.id
),
-- A dead one that stops its lane goes: a trigger hands the lane on. Locks in their order, as in settling.
lanes AS MATERIALIZED (
    SELECT hookonce_lane_lock(lane_lock) AS lock
      FROM (SELECT DISTINCT lane_lock FROM closed WHERE lane_lock IS NOT NULL ORDER BY lane_lock) AS each
),
-- By arrays: to join with tables that have a partition for each day looks dearer than to read them whole.
a AS (DELETE FROM attempt WHERE delivery_id = ANY (ARRAY(SELECT id FROM closed))),
d AS (DELETE FROM delivery USING closed
       WHERE delivery.id = closed.id AND (SELECT count(lock) FROM lanes) IS NOT NULL AND delivery.state NOT IN ('pending', 'leased')),
b AS (DELETE FROM event_body WHERE event_id = ANY (ARRAY(SELECT id FROM doomed))),
c AS (DELETE FROM event_conflict WHERE event_id = ANY (ARRAY(SELECT id FROM doomed))),
e AS (DELETE FROM event USING doomed WHERE event.id = doomed.id RETURNING event.id)
SELECT (SELECT count(*) FROM candidate) AS scanned,
       (SELECT count(*) FROM e) AS deleted,
       last.expires_at, last.id
  FROM (SELECT expires_at, id FROM candidate ORDER BY expires_at DESC, id DESC LIMIT 1) AS last
