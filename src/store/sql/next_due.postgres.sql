SELECT EXTRACT(EPOCH FROM min(d.due_at) - clock_timestamp())::float8
  FROM UNNEST($1::text[], $2::timestamptz[]) AS room (handler, due_from)
 CROSS JOIN LATERAL (
       SELECT due_at FROM delivery
        WHERE state = 'pending' AND NOT lane_waits AND handler = room.handler
          AND due_at >= COALESCE(room.due_from, '-infinity')
        ORDER BY due_at
        LIMIT 1) AS d
