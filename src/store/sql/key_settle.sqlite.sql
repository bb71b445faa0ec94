UPDATE idempotency_key
   SET status = ?4, lease_until = NULL,
       response_status = ?5, response_headers = ?6, response_body = ?7, failure = ?8,
       completed_at = CASE WHEN ?4 = 'completed' THEN strftime('%Y-%m-%d %H:%M:%f', 'now') END
 WHERE scope = ?1 AND key = ?2 AND lease_epoch = ?3 AND status IN ('processing', 'uncertain')
