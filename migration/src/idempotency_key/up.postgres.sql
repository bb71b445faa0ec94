-- One row for each (principal, key). The primary key is what lets one of many concurrent requests run.
CREATE TABLE idempotency_key (
    scope            text        NOT NULL,
    key              text        NOT NULL,
    request_hash     bytea       NOT NULL CONSTRAINT idempotency_key_hash CHECK (length(request_hash) = 32),
    status           text        NOT NULL CONSTRAINT idempotency_key_status
                                 CHECK (status IN ('processing', 'completed', 'failed', 'uncertain')),
    lease_until      timestamptz,
    lease_epoch      bigint      NOT NULL,
    attempts         integer     NOT NULL,
    -- The phase that a handler reached, to go on from after a crash.
    recovery_point   text,
    response_status  integer,
    response_headers bytea,
    -- NULL with a status: the answer was too large to keep.
    response_body    bytea,
    failure          text,
    created_at       timestamptz NOT NULL,
    completed_at     timestamptz,
    expires_at       timestamptz NOT NULL,
    CONSTRAINT idempotency_key_pkey PRIMARY KEY (scope, key),
    CONSTRAINT idempotency_key_lease_iff_processing CHECK ((status = 'processing') = (lease_until IS NOT NULL)),
    CONSTRAINT idempotency_key_answer_iff_completed CHECK ((status = 'completed') = (response_status IS NOT NULL)),
    CONSTRAINT idempotency_key_completed_iff_completed CHECK ((status = 'completed') = (completed_at IS NOT NULL))
);
CREATE INDEX idempotency_key_expiry ON idempotency_key (expires_at);
