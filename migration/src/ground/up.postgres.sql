CREATE TABLE event (
    id          uuid        NOT NULL CONSTRAINT event_pkey PRIMARY KEY,
    source      text        NOT NULL,
    event_id    text        NOT NULL,
    dedupe_key  uuid        NOT NULL CONSTRAINT event_once UNIQUE,
    type        text        NOT NULL,
    digest      bytea       NOT NULL CONSTRAINT event_digest_is_sha256 CHECK (octet_length(digest) = 32),
    size        bigint      NOT NULL CONSTRAINT event_size_not_negative CHECK (size >= 0),
    received_at timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    duplicates  bigint      NOT NULL DEFAULT 0 CONSTRAINT event_duplicates_not_negative CHECK (duplicates >= 0),
    conflict    boolean     NOT NULL DEFAULT false,
    held        text
);
CREATE INDEX event_expiry ON event (expires_at, id);
-- Only for people who look a provider's id up; a hash of 4 bytes a row keeps it out of the way of inserts.
CREATE INDEX event_provider_id ON event USING hash (event_id);

CREATE TABLE event_body (
    event_id   uuid        NOT NULL CONSTRAINT event_body_pkey PRIMARY KEY
                           CONSTRAINT event_body_event_fkey REFERENCES event (id),
    headers    bytea       NOT NULL,
    body       bytea       NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX event_body_expiry ON event_body (expires_at, event_id);
-- The default compression burns CPU on rows of 2 KiB; lz4 where the server has it, else none.
DO $$ BEGIN
    ALTER TABLE event_body ALTER COLUMN body SET COMPRESSION lz4;
    ALTER TABLE event_body ALTER COLUMN headers SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR syntax_error THEN
    ALTER TABLE event_body ALTER COLUMN body SET STORAGE EXTERNAL;
    ALTER TABLE event_body ALTER COLUMN headers SET STORAGE EXTERNAL;
END $$;

CREATE TABLE event_conflict (
    event_id    uuid        NOT NULL CONSTRAINT event_conflict_event_fkey REFERENCES event (id),
    digest      bytea       NOT NULL CONSTRAINT event_conflict_digest_is_sha256 CHECK (octet_length(digest) = 32),
    received_at timestamptz NOT NULL,
    headers     bytea       NOT NULL,
    body        bytea       NOT NULL,
    CONSTRAINT event_conflict_pkey PRIMARY KEY (event_id, digest)
);

CREATE TABLE delivery (
    id              uuid        NOT NULL CONSTRAINT delivery_pkey PRIMARY KEY,
    event_id        uuid        NOT NULL CONSTRAINT delivery_event_fkey REFERENCES event (id),
    handler         text        NOT NULL,
    round           integer     NOT NULL DEFAULT 0 CONSTRAINT delivery_round_not_negative CHECK (round >= 0),
    state           text        NOT NULL CONSTRAINT delivery_state_known
                                CHECK (state IN ('pending', 'leased', 'delivered', 'dead', 'cancelled')),
    attempts        integer     NOT NULL DEFAULT 0,
    attempts_before integer     NOT NULL DEFAULT 0,
    opened_at       timestamptz NOT NULL,
    due_at          timestamptz NOT NULL,
    lease_epoch     bigint      NOT NULL DEFAULT 0,
    leased_at       timestamptz,
    lease_until     timestamptz,
    leased_by       text,
    settled_at      timestamptz,
    cause           text,
    CONSTRAINT delivery_once UNIQUE (event_id, handler, round),
    CONSTRAINT delivery_attempts_counted CHECK (attempts_before BETWEEN 0 AND attempts),
    CONSTRAINT delivery_lease_iff_leased CHECK ((state = 'leased') = (lease_until IS NOT NULL)),
    CONSTRAINT delivery_worker_iff_leased CHECK ((state = 'leased') = (leased_by IS NOT NULL)),
    CONSTRAINT delivery_settled_iff_final
        CHECK ((state IN ('delivered', 'dead', 'cancelled')) = (settled_at IS NOT NULL))
);
CREATE INDEX delivery_due ON delivery (handler, due_at, id) WHERE state = 'pending';
CREATE INDEX delivery_lapsing ON delivery (lease_until) WHERE state = 'leased';
CREATE INDEX delivery_dead ON delivery (handler, id) WHERE state = 'dead';

CREATE TABLE attempt (
    delivery_id uuid        NOT NULL CONSTRAINT attempt_delivery_fkey REFERENCES delivery (id),
    n           integer     NOT NULL CONSTRAINT attempt_n_from_one CHECK (n >= 1),
    epoch       bigint      NOT NULL,
    started_at  timestamptz NOT NULL,
    duration_ms bigint      NOT NULL CONSTRAINT attempt_duration_not_negative CHECK (duration_ms >= 0),
    outcome     text        NOT NULL CONSTRAINT attempt_outcome_known
                            CHECK (outcome IN ('delivered', 'retry', 'reject', 'snooze', 'timeout', 'panic', 'fenced')),
    status      integer,
    error       text,
    response    bytea,
    CONSTRAINT attempt_pkey PRIMARY KEY (delivery_id, n)
);

CREATE TABLE rejection (
    id            uuid        NOT NULL CONSTRAINT rejection_pkey PRIMARY KEY,
    source        text        NOT NULL,
    code          text        NOT NULL,
    detail        text        NOT NULL,
    received_at   timestamptz NOT NULL,
    arrived_at    timestamptz NOT NULL,
    peer          text,
    method        text        NOT NULL,
    size          bigint      NOT NULL CONSTRAINT rejection_size_positive CHECK (size > 0),
    target        bytea       NOT NULL,
    headers       bytea       NOT NULL,
    body          bytea       NOT NULL,
    readmitted_as uuid
);
CREATE INDEX rejection_ring ON rejection (source, id);
CREATE INDEX rejection_expiry ON rejection (received_at, id);

CREATE TABLE upkeep_run (
    id          uuid        NOT NULL CONSTRAINT upkeep_run_pkey PRIMARY KEY,
    chore       text        NOT NULL,
    worker      text        NOT NULL,
    started_at  timestamptz NOT NULL,
    lease_until timestamptz NOT NULL,
    finished_at timestamptz,
    outcome     text        NOT NULL CONSTRAINT upkeep_run_outcome_known
                            CHECK (outcome IN ('running', 'done', 'partial', 'failed', 'lost')),
    events      bigint      NOT NULL DEFAULT 0,
    bodies      bigint      NOT NULL DEFAULT 0,
    rejections  bigint      NOT NULL DEFAULT 0,
    error       text,
    CONSTRAINT upkeep_run_running_iff_unfinished CHECK ((outcome = 'running') = (finished_at IS NULL))
);
CREATE UNIQUE INDEX upkeep_run_one_at_a_time ON upkeep_run (chore) WHERE finished_at IS NULL;
CREATE INDEX upkeep_run_history ON upkeep_run (chore, started_at);
