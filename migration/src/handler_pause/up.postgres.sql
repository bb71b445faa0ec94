-- Those that have ended stay for a while: a retry policy doesn't count the time of a pause.
CREATE TABLE handler_pause (
    id        uuid        NOT NULL CONSTRAINT handler_pause_pkey PRIMARY KEY,
    handler   text        NOT NULL,
    cause     text        NOT NULL CONSTRAINT handler_pause_cause CHECK (cause IN ('hand', 'breaker', 'answer')),
    reason    text        NOT NULL,
    paused_by text        NOT NULL,
    since     timestamptz NOT NULL,
    -- A breaker tries again then; without it somebody must resume.
    until     timestamptz CONSTRAINT handler_pause_only_a_breaker_knows_its_end CHECK ((until IS NOT NULL) = (cause = 'breaker')),
    ended_at  timestamptz
);
CREATE UNIQUE INDEX handler_pause_open ON handler_pause (handler) WHERE ended_at IS NULL;
CREATE INDEX handler_pause_history ON handler_pause (handler, since);
