UPDATE delivery
   SET state = 'leased', lease_epoch = lease_epoch + 1, attempts = attempts + 1,
       leased_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
       lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?3 || ' seconds'),
       leased_by = ?4
 WHERE id IN (SELECT id
                FROM delivery INDEXED BY delivery_turn
               WHERE state = 'pending' AND lane_waits = 0 AND handler = ?1 AND COALESCE(source, '') = ?5
                 AND due_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
               ORDER BY due_at, id
               LIMIT ?2)
RETURNING id, event_id, handler, lane, lease_epoch, attempts, attempts_before,
          round((julianday('now') - julianday(opened_at)) * 86400.0, 3) AS open_for
