SELECT request_hash, status, lease_epoch, attempts, recovery_point, response_status, response_headers, response_body, failure,
       COALESCE(extract(epoch FROM lease_until - clock_timestamp())::float8, 0) AS lease_left,
       extract(epoch FROM expires_at - clock_timestamp())::float8 AS expires_in,
       floor(extract(epoch FROM expires_at) * 1000)::bigint AS expires_at_ms
  FROM idempotency_key
 WHERE scope = $1 AND key = $2
   AND (expires_at > clock_timestamp() OR (status = 'processing' AND lease_until > clock_timestamp()))
