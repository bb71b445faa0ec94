-- Of the handlers in $1 anything; of $2 each source of $3 from $4 on, as for the claim.
SELECT EXTRACT(EPOCH FROM min(due_at) - clock_timestamp())::float8
  FROM (SELECT d.due_at
          FROM UNNEST($1::text[]) AS room (handler)
         CROSS JOIN LATERAL (
               SELECT due_at FROM delivery
                WHERE state = 'pending' AND NOT lane_waits AND handler = room.handler
                ORDER BY due_at
                LIMIT 1) AS d
         UNION ALL
        SELECT d.due_at
          FROM UNNEST($2::text[], $3::text[], $4::timestamptz[]) AS known (handler, name, due_from)
         CROSS JOIN LATERAL (
               SELECT due_at FROM delivery
                WHERE state = 'pending' AND NOT lane_waits AND handler = known.handler AND COALESCE(source, '') = known.name
                  AND due_at >= COALESCE(known.due_from, '-infinity')
                ORDER BY due_at
                LIMIT 1) AS d) AS first
