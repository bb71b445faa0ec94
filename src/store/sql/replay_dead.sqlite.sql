-- The next dead deliveries, with their events.
SELECT d.event_id, e.source, e.type, e.received_at, e.held IS NOT NULL AS held,
       EXISTS (SELECT 1 FROM event_body b WHERE b.event_id = d.event_id) AS body,
       d.id, d.handler, d.state, d.round, d.lane, d.lane_skip, d.lane_order
  FROM (SELECT id, event_id, handler, state, round, lane, lane_skip, lane_order FROM delivery
         WHERE state = 'dead' AND (handler, id) > (?1, ?2)
         ORDER BY handler, id LIMIT ?3) AS d
  JOIN event e ON e.id = d.event_id
 ORDER BY d.handler, d.id
