-- One row for each replay of many deliveries. Its cursor moves in the transaction that opens them.
CREATE TABLE replay_run (
    id             uuid        NOT NULL CONSTRAINT replay_run_pkey PRIMARY KEY,
    -- What was asked for, as JSON: two runs that ask for the same have the same text.
    request        text        NOT NULL,
    driver         text        NOT NULL CONSTRAINT replay_run_driver_known CHECK (driver IN ('daemon', 'command')),
    state          text        NOT NULL CONSTRAINT replay_run_state_known CHECK (state IN ('running', 'done', 'cancelled')),
    made_at        timestamptz NOT NULL,
    finished_at    timestamptz,
    since          timestamptz,
    until          timestamptz,
    per_second     double precision,
    -- Of the events, the last that is looked at.
    upper_id       uuid        NOT NULL,
    cursor_handler text        NOT NULL,
    cursor_id      uuid        NOT NULL,
    total          bigint,
    looked_at      bigint      NOT NULL DEFAULT 0,
    counts         text        NOT NULL,
    worker         text,
    lease_until    timestamptz,
    error          text,
    CONSTRAINT replay_run_running_iff_unfinished CHECK ((state = 'running') = (finished_at IS NULL))
);
-- Who asks twice is given the run that is under way.
CREATE UNIQUE INDEX replay_run_one_of_a_kind ON replay_run (request) WHERE state = 'running';
