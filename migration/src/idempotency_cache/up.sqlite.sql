-- One row at most, made by the first process that caches. Entries of a cache are sealed under both values.
CREATE TABLE idempotency_cache (
    id         INTEGER NOT NULL CONSTRAINT idempotency_cache_pkey PRIMARY KEY CONSTRAINT idempotency_cache_one CHECK (id = 1),
    secret     BLOB    NOT NULL CONSTRAINT idempotency_cache_secret_size CHECK (length(secret) = 32),
    generation INTEGER NOT NULL
) STRICT;

-- An answer that somebody takes back before its time, by our own statement, an older version's or by hand,
-- ends every entry: a cache can't be relied on to forget one.
CREATE TRIGGER idempotency_key_answer_changed
  AFTER UPDATE OF status, request_hash, expires_at, response_status, response_headers, response_body ON idempotency_key
  WHEN OLD.status = 'completed' AND OLD.expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')
BEGIN
    UPDATE idempotency_cache SET generation = generation + 1;
END;
CREATE TRIGGER idempotency_key_answer_deleted AFTER DELETE ON idempotency_key
  WHEN OLD.status = 'completed' AND OLD.expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')
BEGIN
    UPDATE idempotency_cache SET generation = generation + 1;
END;
