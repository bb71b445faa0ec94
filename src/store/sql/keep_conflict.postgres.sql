INSERT INTO event_conflict (event_id, digest, received_at, headers, body)
SELECT $1, $2, now(), $3, $4
 WHERE (SELECT count(*) FROM event_conflict WHERE event_id = $1) < $5
    ON CONFLICT DO NOTHING
