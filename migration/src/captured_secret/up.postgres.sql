-- One a source: the key is what lets the first handshake win, on however many replicas it comes.
CREATE TABLE captured_secret (
    source      text        NOT NULL CONSTRAINT captured_secret_pkey PRIMARY KEY,
    secret      text        NOT NULL CONSTRAINT captured_secret_not_empty CHECK (secret <> ''),
    captured_at timestamptz NOT NULL
);
