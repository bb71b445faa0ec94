ALTER TABLE event ADD COLUMN signed_digest bytea CONSTRAINT event_signed_digest_is_sha256 CHECK (octet_length(signed_digest) = 32);
ALTER TABLE event ADD COLUMN replay_of uuid;
CREATE UNIQUE INDEX event_signed ON event (source, signed_digest) WHERE signed_digest IS NOT NULL;
