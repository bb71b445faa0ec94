DROP INDEX event_signed;
ALTER TABLE event DROP COLUMN replay_of;
ALTER TABLE event DROP COLUMN signed_digest;
