-- The sources of which a handler has something due, found by jumping from one to the next in the index.
WITH RECURSIVE source (name) AS (
    SELECT * FROM (
        SELECT COALESCE(source, '') FROM delivery INDEXED BY delivery_turn
         WHERE state = 'pending' AND lane_waits = 0 AND handler = ?1
         ORDER BY COALESCE(source, '') LIMIT 1)
     UNION ALL
    SELECT (SELECT COALESCE(d.source, '') FROM delivery d INDEXED BY delivery_turn
             WHERE d.state = 'pending' AND d.lane_waits = 0 AND d.handler = ?1 AND COALESCE(d.source, '') > source.name
             ORDER BY COALESCE(d.source, '') LIMIT 1)
      FROM source
     WHERE source.name IS NOT NULL
)
SELECT name
  FROM source
 WHERE name IS NOT NULL
   AND (SELECT d.due_at FROM delivery d INDEXED BY delivery_turn
         WHERE d.state = 'pending' AND d.lane_waits = 0 AND d.handler = ?1 AND COALESCE(d.source, '') = source.name
         ORDER BY d.due_at LIMIT 1) <= strftime('%Y-%m-%d %H:%M:%f', 'now')
