-- One autocommit statement: the event, its body and its deliveries are there together or not at all.
-- UNNEST in the select list hands the arrays out row by row; in FROM, each array would be copied into
-- a table of its own first. The arrays come in the order of the dedupe key, and rows are inserted in
-- that order, so that two replicas can't deadlock on each other.
WITH fresh AS (
    INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, held, received_at, expires_at)
    SELECT id, source, event_id, dedupe_key, type, digest, size, held, now(), now() + make_interval(secs => keys)
      FROM (SELECT UNNEST($1::uuid[]) AS id, UNNEST($2::text[]) AS source, UNNEST($3::text[]) AS event_id,
                   UNNEST($4::uuid[]) AS dedupe_key, UNNEST($5::text[]) AS type, UNNEST($6::bytea[]) AS digest,
                   UNNEST($7::int8[]) AS size, UNNEST($8::text[]) AS held, UNNEST($9::float8[]) AS keys) AS input
        ON CONFLICT (dedupe_key) DO NOTHING
    RETURNING id, received_at
),
kept AS (
    INSERT INTO event_body (event_id, headers, body, expires_at)
    SELECT id, headers, body, now() + make_interval(secs => bodies)
      FROM (SELECT UNNEST($1::uuid[]) AS id, UNNEST($10::float8[]) AS bodies, UNNEST($11::bytea[]) AS headers,
                   UNNEST($12::bytea[]) AS body) AS input
     WHERE id IN (SELECT id FROM fresh)
),
opened AS (
    INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, lease_epoch, leased_at,
                          lease_until, leased_by)
    SELECT id, event_id, handler, CASE WHEN worker IS NULL THEN 'pending' ELSE 'leased' END, epoch::int4, now(), now(), epoch,
           CASE WHEN worker IS NOT NULL THEN now() END, now() + make_interval(secs => lease), worker
      FROM (SELECT UNNEST($13::uuid[]) AS id, UNNEST($14::uuid[]) AS event_id, UNNEST($15::text[]) AS handler,
                   UNNEST($16::int8[]) AS epoch, UNNEST($17::text[]) AS worker, UNNEST($18::float8[]) AS lease) AS input
     WHERE event_id IN (SELECT id FROM fresh)
)
SELECT id, received_at FROM fresh
