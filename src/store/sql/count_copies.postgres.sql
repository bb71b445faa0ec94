-- The rows that were there before these copies; each copy is counted, but for one that is the row itself.
WITH copy AS MATERIALIZED (
    SELECT key, count(*) FILTER (WHERE NOT own) AS copies, bool_or(other) FILTER (WHERE NOT own) AS other
      FROM (SELECT c.key, e.id = c.id AS own, e.digest <> c.digest AS other
              FROM UNNEST($1::uuid[], $2::uuid[], $3::bytea[]) AS c (key, id, digest)
              JOIN event e ON e.dedupe_key = c.key) AS each
     GROUP BY key
),
-- Locked in the order of their key, so that two replicas can't deadlock on each other.
locked AS MATERIALIZED (
    SELECT e.id, c.copies, c.other
      FROM event e JOIN copy c ON c.key = e.dedupe_key
     ORDER BY e.dedupe_key
       FOR NO KEY UPDATE OF e
)
UPDATE event e
   SET duplicates = e.duplicates + l.copies, conflict = e.conflict OR COALESCE(l.other, false)
  FROM locked l
 WHERE e.id = l.id
RETURNING e.id, e.dedupe_key, e.event_id, e.digest, e.received_at
