-- Those that have ended stay for a while: a retry policy doesn't count the time of a pause.
CREATE TABLE handler_pause (
    id        BLOB NOT NULL CONSTRAINT handler_pause_pkey PRIMARY KEY,
    handler   TEXT NOT NULL,
    cause     TEXT NOT NULL CONSTRAINT handler_pause_cause CHECK (cause IN ('hand', 'breaker', 'answer')),
    reason    TEXT NOT NULL,
    paused_by TEXT NOT NULL,
    since     TEXT NOT NULL,
    -- A breaker tries again then; without it somebody must resume.
    until     TEXT CONSTRAINT handler_pause_only_a_breaker_knows_its_end CHECK ((until IS NOT NULL) = (cause = 'breaker')),
    ended_at  TEXT
) STRICT;
CREATE UNIQUE INDEX handler_pause_open ON handler_pause (handler) WHERE ended_at IS NULL;
CREATE INDEX handler_pause_history ON handler_pause (handler, since);
