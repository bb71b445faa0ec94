-- By the rows' places, which stand still while they are locked: a join of unknown size would read the table whole.
DELETE FROM idempotency_key
 WHERE ctid = ANY (ARRAY(
    SELECT ctid
      FROM idempotency_key
     WHERE expires_at <= (SELECT clock_timestamp())
       AND NOT (status = 'processing' AND lease_until > clock_timestamp())
     ORDER BY expires_at
     LIMIT $1
       FOR UPDATE SKIP LOCKED
))
