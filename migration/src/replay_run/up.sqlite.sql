-- One row for each replay of many deliveries. Its cursor moves in the transaction that opens them.
CREATE TABLE replay_run (
    id             BLOB    NOT NULL CONSTRAINT replay_run_pkey PRIMARY KEY,
    -- What was asked for, as JSON: two runs that ask for the same have the same text.
    request        TEXT    NOT NULL,
    driver         TEXT    NOT NULL CONSTRAINT replay_run_driver_known CHECK (driver IN ('daemon', 'command')),
    state          TEXT    NOT NULL CONSTRAINT replay_run_state_known CHECK (state IN ('running', 'done', 'cancelled')),
    made_at        TEXT    NOT NULL,
    finished_at    TEXT,
    since          TEXT,
    until          TEXT,
    per_second     REAL,
    -- Of the events, the last that is looked at.
    upper_id       BLOB    NOT NULL,
    cursor_handler TEXT    NOT NULL,
    cursor_id      BLOB    NOT NULL,
    total          INTEGER,
    looked_at      INTEGER NOT NULL DEFAULT 0,
    counts         TEXT    NOT NULL,
    worker         TEXT,
    lease_until    TEXT,
    error          TEXT,
    CONSTRAINT replay_run_running_iff_unfinished CHECK ((state = 'running') = (finished_at IS NULL))
) STRICT;
-- Who asks twice is given the run that is under way.
CREATE UNIQUE INDEX replay_run_one_of_a_kind ON replay_run (request) WHERE state = 'running';
