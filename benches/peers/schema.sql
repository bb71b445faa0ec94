-- The one table of every peer: as little as remembers an event once.
CREATE TABLE event (
    id          text        NOT NULL PRIMARY KEY,
    body        bytea       NOT NULL,
    received_at timestamptz NOT NULL
);
-- The same compression as hookonce asks for: lz4 where the server has it, else none.
DO $$ BEGIN
    ALTER TABLE event ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR syntax_error THEN
    ALTER TABLE event ALTER COLUMN body SET STORAGE EXTERNAL;
END $$;
