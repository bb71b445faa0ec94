-- Only the holder of the lease's epoch may settle; who is missing from the answer has lost it.
-- `lease_until IS NOT NULL` says "leased" (delivery_lease_iff_leased) without naming the state: with it,
-- the planner may walk the partial index of all leases instead of the primary key.
-- $13: settle only what has lapsed, for the rescuer, who holds no lease.
WITH verdict AS MATERIALIZED (
    SELECT *
      FROM UNNEST($1::uuid[], $2::int8[], $3::text[], $4::float8[], $5::bool[], $6::text[], $7::int4[],
                  $8::int8[], $9::text[], $10::int4[], $11::text[], $12::bytea[])
        AS t (id, epoch, state, after, counts, cause, n, duration_ms, outcome, status, error, response)
),
-- Locked in the order of their id, as renewing and giving back do: settling and renewing the same
-- deliveries at the same moment must not deadlock.
held AS MATERIALIZED (
    SELECT d.id, d.lease_epoch
      FROM delivery d JOIN verdict v ON v.id = d.id AND v.epoch = d.lease_epoch
     WHERE d.lease_until IS NOT NULL
     ORDER BY d.id
       FOR NO KEY UPDATE OF d
),
settled AS (
    UPDATE delivery d
       SET state = v.state,
           due_at = CASE WHEN v.state = 'pending'
                         THEN clock_timestamp() + make_interval(secs => v.after) ELSE d.due_at END,
           settled_at = CASE WHEN v.state = 'pending' THEN NULL ELSE clock_timestamp() END,
           attempts_before = d.attempts_before + CASE WHEN v.counts THEN 0 ELSE 1 END,
           cause = v.cause, lease_until = NULL, leased_by = NULL
      FROM held JOIN verdict v ON v.id = held.id AND v.epoch = held.lease_epoch
     WHERE d.id = v.id AND d.lease_until IS NOT NULL AND d.lease_epoch = v.epoch
       AND (NOT $13 OR d.lease_until <= clock_timestamp())
    RETURNING d.id, d.lease_epoch, d.leased_at
),
tried AS (
    INSERT INTO attempt (delivery_id, n, epoch, started_at, duration_ms, outcome, status, error, response)
    SELECT v.id, v.n, v.epoch, COALESCE(s.leased_at, clock_timestamp()), v.duration_ms, v.outcome, v.status,
           v.error, v.response
      FROM verdict v JOIN settled s ON s.id = v.id AND s.lease_epoch = v.epoch
)
SELECT id, lease_epoch FROM settled
