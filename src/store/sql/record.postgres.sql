-- One autocommit statement: the event, its body and its deliveries are there together or not at all.
-- The rows are inserted in the order of their key, so that two replicas can't deadlock on each other.
WITH input AS MATERIALIZED (
    SELECT *
      FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::bytea[], $7::text[],
                  $8::float8[], $9::float8[], $10::bytea[], $11::bytea[])
        AS t (id, source, event_id, dedupe_key, type, digest, held, keys, bodies, headers, body)
),
fresh AS (
    INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, held, received_at, expires_at)
    SELECT id, source, event_id, dedupe_key, type, digest, octet_length(body), held,
           now(), now() + make_interval(secs => keys)
      FROM input
     ORDER BY dedupe_key
        ON CONFLICT (dedupe_key) DO NOTHING
    RETURNING id
),
kept AS (
    INSERT INTO event_body (event_id, headers, body, expires_at)
    SELECT id, headers, body, now() + make_interval(secs => bodies)
      FROM input JOIN fresh USING (id)
),
opened AS (
    INSERT INTO delivery (id, event_id, handler, state, opened_at, due_at)
    SELECT d.id, d.event_id, d.handler, 'pending', now(), now()
      FROM UNNEST($12::uuid[], $13::uuid[], $14::text[]) AS d (id, event_id, handler)
      JOIN fresh ON fresh.id = d.event_id
)
SELECT id FROM fresh
