-- Each handler takes at most what it has room for, so that none starves another; and of its room each source that has
-- something due gets the same share, so that none of those does. Sources are found by jumping from one to the next in
-- the index. Where there are more of them than room, chance says whose turn it is.
-- 'pending' is a literal because a generic plan can't prove a partial index from a parameter, and the clock is a
-- sub-select because a volatile function is never an index condition. The update doesn't name the state: the row is locked
-- and was checked, and with the state the planner may walk all that is pending instead of the primary key. Nor does it join:
-- a plan that was made while the table was empty would walk the whole table for that.
-- Of the handlers in $5 it is known from where on something may be due, of which source: $6 to $9, with their room. What is
-- before that was claimed, and its dead entries are not walked over again. The other handlers are looked through. Of each source
-- a row tells from where on the next claim has to look: from the first that is pending, or from where recordings of now
-- may still become visible.
WITH RECURSIVE source AS (
    SELECT room.handler, room.free, first.name, first.due_at
      FROM UNNEST($1::text[], $2::int8[]) AS room (handler, free)
     CROSS JOIN LATERAL (
           SELECT COALESCE(d.source, '') AS name, d.due_at
             FROM delivery d
            WHERE d.state = 'pending' AND NOT d.lane_waits AND d.handler = room.handler
            ORDER BY COALESCE(d.source, ''), d.due_at
            LIMIT 1) AS first
     WHERE room.handler <> ALL ($5::text[])
     UNION ALL
    SELECT source.handler, source.free, next.name, next.due_at
      FROM source
     CROSS JOIN LATERAL (
           SELECT COALESCE(d.source, '') AS name, d.due_at
             FROM delivery d
            WHERE d.state = 'pending' AND NOT d.lane_waits AND d.handler = source.handler
              AND COALESCE(d.source, '') > source.name
            ORDER BY COALESCE(d.source, ''), d.due_at
            LIMIT 1) AS next
),
place AS MATERIALIZED (
    SELECT handler, name, free, due_at AS first
      FROM source
     UNION ALL
    SELECT known.handler, known.name, known.free,
           (SELECT d.due_at
              FROM delivery d
             WHERE d.state = 'pending' AND NOT d.lane_waits AND d.handler = known.handler AND COALESCE(d.source, '') = known.name
               AND d.due_at >= COALESCE(known.due_from, '-infinity')
             ORDER BY d.due_at
             LIMIT 1)
      FROM UNNEST($6::text[], $7::text[], $8::int8[], $9::timestamptz[]) AS known (handler, name, free, due_from)
),
share AS MATERIALIZED (
    SELECT handler, name, first,
           free / count(*) OVER one + CASE WHEN row_number() OVER (one ORDER BY random()) <= free % count(*) OVER one THEN 1 ELSE 0 END AS free
      FROM place
     WHERE first <= (SELECT clock_timestamp())
    WINDOW one AS (PARTITION BY handler)
),
due AS MATERIALIZED (
    SELECT d.id
      FROM share
     CROSS JOIN LATERAL (
           SELECT id
             FROM delivery
            WHERE state = 'pending' AND NOT lane_waits AND handler = share.handler AND COALESCE(source, '') = share.name
              AND due_at >= share.first AND due_at <= (SELECT clock_timestamp())
            ORDER BY due_at, id
            LIMIT share.free
              FOR UPDATE SKIP LOCKED) AS d
),
leased AS (
    UPDATE delivery d
       SET state = 'leased', lease_epoch = d.lease_epoch + 1, attempts = d.attempts + 1,
           leased_at = clock_timestamp(), leased_by = $4,
           lease_until = clock_timestamp() + make_interval(secs => (
               SELECT room.lease FROM UNNEST($1::text[], $3::float8[]) AS room (handler, lease) WHERE room.handler = d.handler))
     WHERE d.id = ANY (ARRAY(SELECT id FROM due)) AND d.lease_until IS NULL
    RETURNING d.id, d.event_id, d.handler, d.lease_epoch, d.attempts, d.attempts_before, d.opened_at, d.due_at, d.lane
)
SELECT l.id, l.handler, NULL AS place, l.due_at, l.lane, l.lease_epoch, l.attempts, l.attempts_before,
       EXTRACT(EPOCH FROM clock_timestamp() - l.opened_at)::float8 AS open_for,
       e.id AS event, e.source, e.event_id, e.type, e.received_at, b.headers, b.body
  FROM leased l
  JOIN event e ON e.id = l.event_id
  LEFT JOIN event_body b ON b.event_id = l.event_id
 UNION ALL
SELECT NULL, handler, name, GREATEST(LEAST(first, statement_timestamp() - interval '10 s'), '1970-01-01'),
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
  FROM place
 ORDER BY due_at, id
