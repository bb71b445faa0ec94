-- The event stays locked until its conflict is there: a cleanup that came in between would leave it without its event.
WITH known AS MATERIALIZED (SELECT id FROM event WHERE id = $1 FOR KEY SHARE)
INSERT INTO event_conflict (event_id, digest, received_at, headers, body)
SELECT known.id, $2, now(), $3, $4
  FROM known
 WHERE (SELECT count(*) FROM event_conflict WHERE event_id = $1) < $5
    ON CONFLICT DO NOTHING
