-- What key_find and key_claim do, for a batch in which each key comes once: what means something is found, the rest is claimed.
-- Who finds their row writes nothing, because a refused upsert would lock it. A key of which no row comes back changed
-- after the statement began, and is asked for again.
WITH wish AS MATERIALIZED (
    SELECT generate_subscripts($1::text[], 1) AS n, UNNEST($1::text[]) AS scope, UNNEST($2::text[]) AS key,
           UNNEST($3::bytea[]) AS wished_hash, UNNEST($4::float8[]) AS lease, UNNEST($5::float8[]) AS ttl, UNNEST($6::int8[]) AS epoch
),
-- What is needed later comes along: a batch joined with itself is compared row by row.
seen AS MATERIALIZED (
    SELECT w.*, k.status IS NULL OR (k.status = 'failed' AND k.request_hash = w.wished_hash AND k.lease_epoch <> w.epoch) AS free,
           k.request_hash, k.status, k.lease_epoch, k.attempts, k.recovery_point, k.response_status, k.response_headers, k.failure,
           -- A hundred large answers are not held at once: each of them is found by itself.
           COALESCE(octet_length(k.response_body) > 65536, false) AS too_large,
           CASE WHEN octet_length(k.response_body) <= 65536 THEN k.response_body END AS response_body,
           COALESCE(extract(epoch FROM k.lease_until - clock_timestamp())::float8, 0) AS lease_left,
           extract(epoch FROM k.expires_at - clock_timestamp())::float8 AS expires_in,
           floor(extract(epoch FROM k.expires_at) * 1000)::bigint AS expires_at_ms
      FROM wish w
      -- Row by row, by their key: a join may be planned to read the table whole while it is small, and the plan is kept.
      LEFT JOIN LATERAL (SELECT *
                           FROM idempotency_key
                          WHERE scope = w.scope AND key = w.key
                            AND (expires_at > clock_timestamp() OR (status = 'processing' AND lease_until > clock_timestamp()))
                          LIMIT 1) k ON true
),
-- In the order that all batches have, those that settle as well: two of them can't deadlock.
claimed AS (
    INSERT INTO idempotency_key AS k
           (scope, key, request_hash, status, lease_until, lease_epoch, attempts, created_at, expires_at)
    SELECT scope, key, wished_hash, 'processing', clock_timestamp() + make_interval(secs => lease), epoch, 1,
           clock_timestamp(), clock_timestamp() + make_interval(secs => ttl)
      FROM seen
     WHERE free
     ORDER BY n
        ON CONFLICT (scope, key) DO UPDATE
       SET request_hash = excluded.request_hash,
           status = 'processing',
           lease_until = excluded.lease_until,
           lease_epoch = GREATEST(k.lease_epoch + 1, excluded.lease_epoch),
           attempts = CASE WHEN k.expires_at <= excluded.created_at THEN 1 ELSE k.attempts + 1 END,
           recovery_point = CASE WHEN k.expires_at <= excluded.created_at THEN NULL ELSE k.recovery_point END,
           created_at = CASE WHEN k.expires_at <= excluded.created_at THEN excluded.created_at ELSE k.created_at END,
           expires_at = CASE WHEN k.expires_at <= excluded.created_at THEN excluded.expires_at ELSE k.expires_at END,
           response_status = NULL, response_headers = NULL, response_body = NULL, failure = NULL, completed_at = NULL
     WHERE (k.expires_at <= excluded.created_at
            AND NOT (k.status = 'processing' AND k.lease_until > clock_timestamp()))
        OR (k.status = 'failed' AND k.request_hash = excluded.request_hash AND k.lease_epoch <> excluded.lease_epoch)
    RETURNING scope, key, lease_epoch, attempts, recovery_point,
              floor(extract(epoch FROM expires_at) * 1000)::bigint AS expires_at_ms
)
SELECT scope, key, true AS claimed, false AS too_large, NULL::bytea AS request_hash, 'processing' AS status, lease_epoch,
       attempts, recovery_point, NULL::int4 AS response_status, NULL::bytea AS response_headers, NULL::bytea AS response_body,
       NULL::text AS failure, 0::float8 AS lease_left, 0::float8 AS expires_in, expires_at_ms
  FROM claimed
UNION ALL
SELECT scope, key, false, too_large, request_hash, status, lease_epoch, attempts, recovery_point, response_status, response_headers,
       response_body, failure, lease_left, expires_in, expires_at_ms
  FROM seen
 WHERE NOT free
