-- What key_settle does, for a batch in which each key comes once; who is missing from the answer has lost the key.
WITH verdict AS MATERIALIZED (
    SELECT generate_subscripts($1::text[], 1) AS n, UNNEST($1::text[]) AS scope, UNNEST($2::text[]) AS key,
           UNNEST($3::int8[]) AS epoch, UNNEST($4::text[]) AS status, UNNEST($5::int4[]) AS response_status,
           UNNEST($6::bytea[]) AS response_headers, UNNEST($7::bytea[]) AS response_body, UNNEST($8::text[]) AS failure
),
-- In the order that all batches have, those that claim as well: two of them can't deadlock.
-- Row by row, by their key: a join may be planned to read the table whole while it is small, and the plan is kept.
held AS MATERIALIZED (
    SELECT v.*, k.request_hash, k.attempts, k.created_at, k.expires_at
      FROM (SELECT * FROM verdict ORDER BY n) v
     CROSS JOIN LATERAL (SELECT request_hash, attempts, created_at, expires_at
                           FROM idempotency_key
                          WHERE scope = v.scope AND key = v.key AND lease_epoch = v.epoch AND status IN ('processing', 'uncertain')
                            FOR NO KEY UPDATE) k
)
-- Each of them is there, and locked: nothing is inserted. An upsert finds its row by the key, however it is planned.
INSERT INTO idempotency_key AS k
       (scope, key, request_hash, status, lease_epoch, attempts, created_at, expires_at,
        response_status, response_headers, response_body, failure, completed_at)
SELECT scope, key, request_hash, status, epoch, attempts, created_at, expires_at,
       response_status, response_headers, response_body, failure, CASE WHEN status = 'completed' THEN clock_timestamp() END
  FROM held
 ORDER BY n
    ON CONFLICT (scope, key) DO UPDATE
   SET status = excluded.status, lease_until = NULL,
       response_status = excluded.response_status, response_headers = excluded.response_headers,
       response_body = excluded.response_body, failure = excluded.failure, completed_at = excluded.completed_at
 WHERE k.lease_epoch = excluded.lease_epoch AND k.status IN ('processing', 'uncertain')
RETURNING scope, key
