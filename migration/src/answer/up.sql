-- Set when `response` is the whole answer of a handler that answers for its source; else it is the first bytes.
ALTER TABLE attempt ADD COLUMN content_type text;
