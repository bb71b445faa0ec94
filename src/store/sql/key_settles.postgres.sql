-- What key_settle does, for a batch in which each key comes once; who is missing from the answer has lost the key.
WITH verdict AS MATERIALIZED (
    SELECT generate_subscripts($1::text[], 1) AS n, UNNEST($1::text[]) AS scope, UNNEST($2::text[]) AS key,
           UNNEST($3::int8[]) AS epoch, UNNEST($4::text[]) AS status, UNNEST($5::int4[]) AS response_status,
           UNNEST($6::bytea[]) AS response_headers, UNNEST($7::bytea[]) AS response_body, UNNEST($8::text[]) AS failure
),
-- In the order that all batches have, those that claim as well: two of them can't deadlock.
held AS MATERIALIZED (
    SELECT v.*
      FROM verdict v JOIN idempotency_key k ON k.scope = v.scope AND k.key = v.key AND k.lease_epoch = v.epoch
     WHERE k.status IN ('processing', 'uncertain')
     ORDER BY v.n
       FOR NO KEY UPDATE OF k
)
UPDATE idempotency_key k
   SET status = v.status, lease_until = NULL,
       response_status = v.response_status, response_headers = v.response_headers, response_body = v.response_body, failure = v.failure,
       completed_at = CASE WHEN v.status = 'completed' THEN clock_timestamp() END
  FROM held v
 WHERE k.scope = v.scope AND k.key = v.key AND k.lease_epoch = v.epoch AND k.status IN ('processing', 'uncertain')
RETURNING k.scope, k.key
