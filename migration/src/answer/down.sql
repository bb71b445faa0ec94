ALTER TABLE attempt DROP COLUMN content_type;
