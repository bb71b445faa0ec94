ALTER TABLE event ADD COLUMN signed_digest BLOB CONSTRAINT event_signed_digest_is_sha256 CHECK (length(signed_digest) = 32);
ALTER TABLE event ADD COLUMN replay_of BLOB;
CREATE UNIQUE INDEX event_signed ON event (source, signed_digest) WHERE signed_digest IS NOT NULL;
