-- One row at most, made by the first replica that caches. Entries of a cache are sealed under both values.
CREATE TABLE idempotency_cache (
    id         smallint NOT NULL CONSTRAINT idempotency_cache_pkey PRIMARY KEY CONSTRAINT idempotency_cache_one CHECK (id = 1),
    secret     bytea    NOT NULL CONSTRAINT idempotency_cache_secret_size CHECK (octet_length(secret) = 32),
    generation bigint   NOT NULL
);

-- An answer that somebody takes back before its time, by our own statement, an older version's or by hand,
-- ends every entry: a cache can't be relied on to forget one.
CREATE FUNCTION hookonce_idempotency_cache_turn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE idempotency_cache SET generation = generation + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER idempotency_key_answer_changed
    AFTER UPDATE OF status, request_hash, expires_at, response_status, response_headers, response_body ON idempotency_key
    FOR EACH ROW WHEN (OLD.status = 'completed' AND OLD.expires_at > clock_timestamp())
    EXECUTE FUNCTION hookonce_idempotency_cache_turn();
CREATE TRIGGER idempotency_key_answer_deleted AFTER DELETE ON idempotency_key
    FOR EACH ROW WHEN (OLD.status = 'completed' AND OLD.expires_at > clock_timestamp())
    EXECUTE FUNCTION hookonce_idempotency_cache_turn();
CREATE TRIGGER idempotency_key_truncated AFTER TRUNCATE ON idempotency_key
    FOR EACH STATEMENT EXECUTE FUNCTION hookonce_idempotency_cache_turn();
