SELECT request_hash, status, lease_epoch, attempts, recovery_point, response_status, response_headers, response_body, failure,
       COALESCE(round((julianday(lease_until) - julianday('now')) * 86400.0, 3), 0.0) AS lease_left,
       round((julianday(expires_at) - julianday('now')) * 86400.0, 3) AS expires_in,
       CAST(round((julianday(expires_at) - 2440587.5) * 86400000) AS INTEGER) AS expires_at_ms
  FROM idempotency_key
 WHERE scope = ?1 AND key = ?2
   AND (expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')
        OR (status = 'processing' AND lease_until > strftime('%Y-%m-%d %H:%M:%f', 'now')))
