SELECT id, handler, lease_epoch, attempts, attempts_before,
       EXTRACT(EPOCH FROM clock_timestamp() - opened_at)::float8 AS open_for,
       EXTRACT(EPOCH FROM clock_timestamp() - leased_at)::float8 AS leased_for
  FROM delivery
 WHERE state = 'leased' AND lease_until <= (SELECT clock_timestamp()) AND handler = ANY ($1)
 ORDER BY lease_until
 LIMIT $2
