SELECT EXTRACT(EPOCH FROM min(d.due_at) - clock_timestamp())::float8
  FROM UNNEST($1::text[]) AS room (handler)
 CROSS JOIN LATERAL (
       SELECT due_at FROM delivery
        WHERE state = 'pending' AND NOT lane_waits AND handler = room.handler
        ORDER BY due_at
        LIMIT 1) AS d
