-- The event that has these signed bytes in this source. The last condition is that of the index.
SELECT id FROM event WHERE source = $1 AND signed_digest = $2 AND signed_digest IS NOT NULL
