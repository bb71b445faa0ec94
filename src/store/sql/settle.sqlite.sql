UPDATE delivery
   SET state = ?3,
       due_at = CASE WHEN ?3 = 'pending' THEN strftime('%Y-%m-%d %H:%M:%f', 'now', ?4 || ' seconds') ELSE due_at END,
       settled_at = CASE WHEN ?3 = 'pending' THEN NULL ELSE strftime('%Y-%m-%d %H:%M:%f', 'now') END,
       attempts_before = attempts_before + CASE WHEN ?5 THEN 0 ELSE 1 END,
       cause = ?6, lease_until = NULL, leased_by = NULL
 WHERE id = ?1 AND state = 'leased' AND lease_epoch = ?2
   AND (NOT ?7 OR lease_until <= strftime('%Y-%m-%d %H:%M:%f', 'now'))
RETURNING leased_at
