-- One row for each (principal, key). The primary key is what lets one of many concurrent requests run.
CREATE TABLE idempotency_key (
    scope            TEXT    NOT NULL,
    key              TEXT    NOT NULL,
    request_hash     BLOB    NOT NULL CONSTRAINT idempotency_key_hash CHECK (length(request_hash) = 32),
    status           TEXT    NOT NULL CONSTRAINT idempotency_key_status
                             CHECK (status IN ('processing', 'completed', 'failed', 'uncertain')),
    lease_until      TEXT,
    lease_epoch      INTEGER NOT NULL,
    attempts         INTEGER NOT NULL,
    -- The phase that a handler reached, to go on from after a crash.
    recovery_point   TEXT,
    response_status  INTEGER,
    response_headers BLOB,
    -- NULL with a status: the answer was too large to keep.
    response_body    BLOB,
    failure          TEXT,
    created_at       TEXT    NOT NULL,
    completed_at     TEXT,
    expires_at       TEXT    NOT NULL,
    CONSTRAINT idempotency_key_pkey PRIMARY KEY (scope, key),
    CONSTRAINT idempotency_key_lease_iff_processing CHECK ((status = 'processing') = (lease_until IS NOT NULL)),
    CONSTRAINT idempotency_key_answer_iff_completed CHECK ((status = 'completed') = (response_status IS NOT NULL)),
    CONSTRAINT idempotency_key_completed_iff_completed CHECK ((status = 'completed') = (completed_at IS NOT NULL))
) STRICT;
CREATE INDEX idempotency_key_expiry ON idempotency_key (expires_at);
