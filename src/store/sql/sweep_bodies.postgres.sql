WITH candidate AS MATERIALIZED (
    SELECT event_id, expires_at
      FROM event_body
     WHERE expires_at <= (SELECT clock_timestamp() - hookonce_grace()) AND (expires_at, event_id) > ($1, $2)
     ORDER BY expires_at, event_id
     LIMIT $3
       FOR UPDATE SKIP LOCKED
),
gone AS (
    DELETE FROM event_body b
     -- By an array: to join with a table that has a partition for each day looks dearer than to read it whole.
     WHERE b.event_id = ANY (ARRAY(SELECT event_id FROM candidate))
       AND (SELECT COALESCE(bool_and(d.state IN ('delivered', 'cancelled')), true)
              FROM delivery d
             WHERE d.event_id = b.event_id)
    RETURNING b.event_id
)
SELECT (SELECT count(*) FROM candidate) AS scanned,
       (SELECT count(*) FROM gone) AS deleted,
       last.expires_at, last.event_id AS id
  FROM (SELECT expires_at, event_id FROM candidate ORDER BY expires_at DESC, event_id DESC LIMIT 1) AS last
