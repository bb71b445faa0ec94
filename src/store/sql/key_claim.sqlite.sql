INSERT INTO idempotency_key AS k
       (scope, key, request_hash, status, lease_until, lease_epoch, attempts, created_at, expires_at)
VALUES (?1, ?2, ?3, 'processing', strftime('%Y-%m-%d %H:%M:%f', 'now', ?4 || ' seconds'), ?6, 1,
        strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now', ?5 || ' seconds'))
    ON CONFLICT (scope, key) DO UPDATE
   SET request_hash = excluded.request_hash,
       status = 'processing',
       lease_until = excluded.lease_until,
       lease_epoch = MAX(k.lease_epoch + 1, excluded.lease_epoch),
       attempts = CASE WHEN k.expires_at <= excluded.created_at THEN 1 ELSE k.attempts + 1 END,
       recovery_point = CASE WHEN k.expires_at <= excluded.created_at THEN NULL ELSE k.recovery_point END,
       created_at = CASE WHEN k.expires_at <= excluded.created_at THEN excluded.created_at ELSE k.created_at END,
       expires_at = CASE WHEN k.expires_at <= excluded.created_at THEN excluded.expires_at ELSE k.expires_at END,
       response_status = NULL, response_headers = NULL, response_body = NULL, failure = NULL, completed_at = NULL
 WHERE (k.expires_at <= excluded.created_at
        AND NOT (k.status = 'processing' AND k.lease_until > excluded.created_at))
    OR (k.status = 'failed' AND k.request_hash = excluded.request_hash AND k.lease_epoch <> excluded.lease_epoch)
RETURNING lease_epoch, attempts, recovery_point,
          CAST(round((julianday(expires_at) - 2440587.5) * 86400000) AS INTEGER) AS expires_at_ms
