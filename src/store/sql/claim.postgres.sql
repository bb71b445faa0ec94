-- Each handler takes at most what it has room for, so that none starves another. 'pending' is a literal
-- because a generic plan can't prove a partial index from a parameter, and the clock is a sub-select
-- because a volatile function is never an index condition. The update doesn't name the state: the row is locked
-- and was checked, and with the state the planner may walk all that is pending instead of the primary key.
WITH due AS MATERIALIZED (
    SELECT d.id, room.lease
      FROM UNNEST($1::text[], $2::int8[], $3::float8[]) AS room (handler, free, lease)
     CROSS JOIN LATERAL (
           SELECT id
             FROM delivery
            WHERE state = 'pending' AND NOT lane_waits AND handler = room.handler AND due_at <= (SELECT clock_timestamp())
            ORDER BY due_at, id
            LIMIT room.free
              FOR UPDATE SKIP LOCKED) AS d
),
leased AS (
    UPDATE delivery d
       SET state = 'leased', lease_epoch = d.lease_epoch + 1, attempts = d.attempts + 1,
           leased_at = clock_timestamp(), lease_until = clock_timestamp() + make_interval(secs => due.lease),
           leased_by = $4
      FROM due
     WHERE d.id = due.id AND d.lease_until IS NULL
    RETURNING d.id, d.event_id, d.handler, d.lease_epoch, d.attempts, d.attempts_before, d.opened_at, d.due_at
)
SELECT l.id, l.handler, l.lease_epoch, l.attempts, l.attempts_before,
       EXTRACT(EPOCH FROM clock_timestamp() - l.opened_at)::float8 AS open_for,
       e.id AS event, e.source, e.event_id, e.type, e.received_at, b.headers, b.body
  FROM leased l
  JOIN event e ON e.id = l.event_id
  LEFT JOIN event_body b ON b.event_id = l.event_id
 ORDER BY l.due_at, l.id
