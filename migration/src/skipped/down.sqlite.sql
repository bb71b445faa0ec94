-- The older version knows no other word for a try that did nothing.
CREATE TABLE attempt_copy (
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
INSERT INTO attempt_copy (delivery_id, n, epoch, started_at, duration_ms, outcome, status, error, response)
SELECT delivery_id, n, epoch, started_at, duration_ms, CASE outcome WHEN 'skipped' THEN 'snooze' ELSE outcome END, status, error, response FROM attempt;
DROP TABLE attempt;
ALTER TABLE attempt_copy RENAME TO attempt;
