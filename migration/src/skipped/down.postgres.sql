-- The older version knows no other word for a try that did nothing.
UPDATE attempt SET outcome = 'snooze' WHERE outcome = 'skipped';
ALTER TABLE attempt DROP CONSTRAINT attempt_outcome_known;
ALTER TABLE attempt ADD CONSTRAINT attempt_outcome_known
    CHECK (outcome IN ('delivered', 'retry', 'reject', 'snooze', 'timeout', 'panic', 'fenced'));
