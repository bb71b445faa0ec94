-- One a source: the key is what lets the first handshake win.
CREATE TABLE captured_secret (
    source      TEXT NOT NULL CONSTRAINT captured_secret_pkey PRIMARY KEY,
    secret      TEXT NOT NULL CONSTRAINT captured_secret_not_empty CHECK (secret <> ''),
    captured_at TEXT NOT NULL
) STRICT;
