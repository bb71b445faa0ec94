-- The next dead deliveries, with their events. LIMIT and the scalar query keep the planner, who doesn't know how
-- few they are, from reading whole tables to join them.
SELECT d.event_id, e.source, e.type, e.received_at, e.held IS NOT NULL AS held,
       (SELECT true FROM event_body b WHERE b.event_id = d.event_id) IS NOT NULL AS body,
       d.id, d.handler, d.state, d.round, d.lane, d.lane_skip, d.lane_order
  FROM (SELECT id, event_id, handler, state, round, lane, lane_skip, lane_order FROM delivery
         WHERE state = 'dead' AND (handler, id) > ($1, $2)
         ORDER BY handler, id LIMIT $3) AS d
 CROSS JOIN LATERAL (SELECT source, type, received_at, held FROM event WHERE id = d.event_id LIMIT 1) AS e
 ORDER BY d.handler, d.id
