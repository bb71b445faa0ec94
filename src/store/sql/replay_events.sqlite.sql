-- The next events, each with the last round of each handler (or of one), or once without any.
WITH page AS MATERIALIZED (
    SELECT id, source, type, received_at, held IS NOT NULL AS held FROM event
     WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3)
SELECT page.id AS event_id, page.source, page.type, page.received_at, page.held,
       EXISTS (SELECT 1 FROM event_body b WHERE b.event_id = page.id) AS body,
       d.id, d.handler, d.state, d.round, d.lane, d.lane_skip, d.lane_order
  FROM page
  LEFT JOIN delivery d ON d.event_id = page.id AND (?4 IS NULL OR d.handler = ?4)
        AND NOT EXISTS (SELECT 1 FROM delivery later
                         WHERE later.event_id = d.event_id AND later.handler = d.handler AND later.round > d.round)
 ORDER BY page.id, d.handler
