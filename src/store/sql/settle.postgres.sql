-- Only the holder of the lease's epoch may settle; who is missing from the answer has lost it.
-- `lease_until IS NOT NULL` says "leased" (delivery_lease_iff_leased) without naming the state: with it,
-- the planner may walk the partial index of all leases instead of the primary key.
-- $13: settle only what has lapsed, for the rescuer, who holds no lease.
WITH verdict AS MATERIALIZED (
    SELECT UNNEST($1::uuid[]) AS id, UNNEST($2::int8[]) AS epoch, UNNEST($3::text[]) AS state,
           UNNEST($4::float8[]) AS after, UNNEST($5::bool[]) AS counts, UNNEST($6::text[]) AS cause,
           UNNEST($7::int4[]) AS n, UNNEST($8::int8[]) AS duration_ms, UNNEST($9::text[]) AS outcome,
           UNNEST($10::int4[]) AS status, UNNEST($11::text[]) AS error, UNNEST($12::bytea[]) AS response,
           UNNEST($14::text[]) AS content_type
),
-- Locked in the order of their id, as renewing and giving back do: settling and renewing the same
-- deliveries at the same moment must not deadlock.
-- What is needed later comes along: a batch joined with itself is compared row by row.
held AS MATERIALIZED (
    SELECT v.*, CASE WHEN d.lane_head AND v.state <> 'pending'
                     THEN hookonce_lane_lock_of(d.handler, d.lane) END AS lane_lock
      FROM delivery d JOIN verdict v ON v.id = d.id AND v.epoch = d.lease_epoch
     WHERE d.lease_until IS NOT NULL
     ORDER BY d.id
       FOR NO KEY UPDATE OF d
),
-- A trigger hands each lane on; a statement of several lanes takes their locks in order.
lanes AS MATERIALIZED (
    SELECT hookonce_lane_lock(lane_lock) AS lock
      FROM (SELECT DISTINCT lane_lock FROM held WHERE lane_lock IS NOT NULL ORDER BY lane_lock) AS each
),
settled AS (
    UPDATE delivery d
       SET state = v.state,
           due_at = CASE WHEN v.state = 'pending'
                         THEN clock_timestamp() + make_interval(secs => v.after) ELSE d.due_at END,
           settled_at = CASE WHEN v.state = 'pending' THEN NULL ELSE clock_timestamp() END,
           attempts_before = d.attempts_before + CASE WHEN v.counts THEN 0 ELSE 1 END,
           cause = v.cause, lease_until = NULL, leased_by = NULL
      FROM held v
     WHERE d.id = v.id AND d.lease_until IS NOT NULL AND d.lease_epoch = v.epoch
       AND (SELECT count(lock) FROM lanes) IS NOT NULL
       AND (NOT $13 OR d.lease_until <= clock_timestamp())
    RETURNING d.id, d.lease_epoch, d.leased_at, v.n, v.duration_ms, v.outcome, v.status, v.error, v.response, v.content_type
),
tried AS (
    INSERT INTO attempt (delivery_id, n, epoch, started_at, duration_ms, outcome, status, error, response, content_type)
    SELECT id, n, lease_epoch, COALESCE(leased_at, clock_timestamp()), duration_ms, outcome, status, error, response, content_type
      FROM settled
)
SELECT id, lease_epoch FROM settled
