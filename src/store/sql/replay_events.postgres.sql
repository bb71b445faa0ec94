-- The next events, each with the last round of each handler (or of one), or once without any.
WITH page AS MATERIALIZED (
    SELECT id, source, type, received_at, held IS NOT NULL AS held FROM event
     WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3)
SELECT page.id AS event_id, page.source, page.type, page.received_at, page.held,
       (SELECT true FROM event_body b WHERE b.event_id = page.id) IS NOT NULL AS body,
       d.id, d.handler, d.state, d.round, d.lane, d.lane_skip, d.lane_order
  FROM page
  LEFT JOIN LATERAL (SELECT DISTINCT ON (handler) id, handler, state, round, lane, lane_skip, lane_order FROM delivery
                      WHERE event_id = page.id AND ($4::text IS NULL OR handler = $4)
                      ORDER BY handler, round DESC) AS d ON true
 ORDER BY page.id, d.handler
