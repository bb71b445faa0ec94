-- Times are text, `YYYY-MM-DD HH:MM:SS.SSS` in UTC: SQLite's own form, so that they compare as text
-- and a person can write datetime('now') beside them. Ids are 16 bytes.
CREATE TABLE event (
    id          BLOB NOT NULL CONSTRAINT event_pkey PRIMARY KEY,
    source      TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    dedupe_key  BLOB NOT NULL CONSTRAINT event_once UNIQUE,
    type        TEXT NOT NULL,
    digest      BLOB NOT NULL CONSTRAINT event_digest_is_sha256 CHECK (length(digest) = 32),
    size        INTEGER NOT NULL CONSTRAINT event_size_not_negative CHECK (size >= 0),
    received_at TEXT NOT NULL,
    expires_at  TEXT NOT NULL,
    duplicates  INTEGER NOT NULL DEFAULT 0 CONSTRAINT event_duplicates_not_negative CHECK (duplicates >= 0),
    conflict    INTEGER NOT NULL DEFAULT 0 CONSTRAINT event_conflict_is_bool CHECK (conflict IN (0, 1)),
    held        TEXT
) STRICT;
CREATE INDEX event_expiry ON event (expires_at, id);
CREATE INDEX event_provider_id ON event (event_id);

CREATE TABLE event_body (
    event_id   BLOB NOT NULL CONSTRAINT event_body_pkey PRIMARY KEY
                           CONSTRAINT event_body_event_fkey REFERENCES event (id),
    headers    BLOB NOT NULL,
    body       BLOB NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;
CREATE INDEX event_body_expiry ON event_body (expires_at, event_id);

CREATE TABLE event_conflict (
    event_id    BLOB NOT NULL CONSTRAINT event_conflict_event_fkey REFERENCES event (id),
    digest      BLOB NOT NULL CONSTRAINT event_conflict_digest_is_sha256 CHECK (length(digest) = 32),
    received_at TEXT NOT NULL,
    headers     BLOB NOT NULL,
    body        BLOB NOT NULL,
    CONSTRAINT event_conflict_pkey PRIMARY KEY (event_id, digest)
) STRICT;

CREATE TABLE delivery (
    id              BLOB NOT NULL CONSTRAINT delivery_pkey PRIMARY KEY,
    event_id        BLOB NOT NULL CONSTRAINT delivery_event_fkey REFERENCES event (id),
    handler         TEXT NOT NULL,
    round           INTEGER NOT NULL DEFAULT 0 CONSTRAINT delivery_round_not_negative CHECK (round >= 0),
    state           TEXT NOT NULL CONSTRAINT delivery_state_known
                                CHECK (state IN ('pending', 'leased', 'delivered', 'dead', 'cancelled')),
    attempts        INTEGER NOT NULL DEFAULT 0,
    attempts_before INTEGER NOT NULL DEFAULT 0,
    opened_at       TEXT NOT NULL,
    due_at          TEXT NOT NULL,
    lease_epoch     INTEGER NOT NULL DEFAULT 0,
    leased_at       TEXT,
    lease_until     TEXT,
    leased_by       TEXT,
    settled_at      TEXT,
    cause           TEXT,
    CONSTRAINT delivery_once UNIQUE (event_id, handler, round),
    CONSTRAINT delivery_attempts_counted CHECK (attempts_before BETWEEN 0 AND attempts),
    CONSTRAINT delivery_lease_iff_leased CHECK ((state = 'leased') = (lease_until IS NOT NULL)),
    CONSTRAINT delivery_worker_iff_leased CHECK ((state = 'leased') = (leased_by IS NOT NULL)),
    CONSTRAINT delivery_settled_iff_final
        CHECK ((state IN ('delivered', 'dead', 'cancelled')) = (settled_at IS NOT NULL))
) STRICT;
CREATE INDEX delivery_due ON delivery (handler, due_at, id) WHERE state = 'pending';
CREATE INDEX delivery_lapsing ON delivery (lease_until) WHERE state = 'leased';
CREATE INDEX delivery_dead ON delivery (handler, id) WHERE state = 'dead';

CREATE TABLE attempt (
    delivery_id BLOB NOT NULL CONSTRAINT attempt_delivery_fkey REFERENCES delivery (id),
    n           INTEGER NOT NULL CONSTRAINT attempt_n_from_one CHECK (n >= 1),
    epoch       INTEGER NOT NULL,
    started_at  TEXT NOT NULL,
    duration_ms INTEGER NOT NULL CONSTRAINT attempt_duration_not_negative CHECK (duration_ms >= 0),
    outcome     TEXT NOT NULL CONSTRAINT attempt_outcome_known
                            CHECK (outcome IN ('delivered', 'retry', 'reject', 'snooze', 'timeout', 'panic', 'fenced')),
    status      INTEGER,
    error       TEXT,
    response    BLOB,
    CONSTRAINT attempt_pkey PRIMARY KEY (delivery_id, n)
) STRICT;

-- `size` stands before the bytes: SQLite reads a row up to the column it needs, and trimming the ring
-- sums up the sizes of a whole source.
CREATE TABLE rejection (
    id            BLOB NOT NULL CONSTRAINT rejection_pkey PRIMARY KEY,
    source        TEXT NOT NULL,
    code          TEXT NOT NULL,
    detail        TEXT NOT NULL,
    received_at   TEXT NOT NULL,
    arrived_at    TEXT NOT NULL,
    peer          TEXT,
    method        TEXT NOT NULL,
    size          INTEGER NOT NULL CONSTRAINT rejection_size_positive CHECK (size > 0),
    target        BLOB NOT NULL,
    headers       BLOB NOT NULL,
    body          BLOB NOT NULL,
    readmitted_as BLOB
) STRICT;
CREATE INDEX rejection_ring ON rejection (source, id);
CREATE INDEX rejection_expiry ON rejection (received_at, id);

CREATE TABLE upkeep_run (
    id          BLOB NOT NULL CONSTRAINT upkeep_run_pkey PRIMARY KEY,
    chore       TEXT NOT NULL,
    worker      TEXT NOT NULL,
    started_at  TEXT NOT NULL,
    lease_until TEXT NOT NULL,
    finished_at TEXT,
    outcome     TEXT NOT NULL CONSTRAINT upkeep_run_outcome_known
                            CHECK (outcome IN ('running', 'done', 'partial', 'failed', 'lost')),
    events      INTEGER NOT NULL DEFAULT 0,
    bodies      INTEGER NOT NULL DEFAULT 0,
    rejections  INTEGER NOT NULL DEFAULT 0,
    error       TEXT,
    CONSTRAINT upkeep_run_running_iff_unfinished CHECK ((outcome = 'running') = (finished_at IS NULL))
) STRICT;
CREATE UNIQUE INDEX upkeep_run_one_at_a_time ON upkeep_run (chore) WHERE finished_at IS NULL;
CREATE INDEX upkeep_run_history ON upkeep_run (chore, started_at);
