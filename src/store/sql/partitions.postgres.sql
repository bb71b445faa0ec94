-- Bodies and attempts in a table for each day, by the time that their ids hold; what is over goes as a whole.
-- Run at each opening that asks for it: all of it may run again.

-- What expires waits a day longer for its table to go: one row after the other only what is left then.
CREATE OR REPLACE FUNCTION hookonce_grace() RETURNS interval LANGUAGE sql STABLE AS $$ SELECT interval '1 day' $$;

-- No id of that day, or of a later one, is smaller.
CREATE OR REPLACE FUNCTION hookonce_first_id(day date) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(extract(epoch FROM day::timestamp)::bigint * 1000), 12, '0') || repeat('0', 20))::uuid
$$;

-- The table that is there becomes the first of them, as it is: nothing is written anew, but read once under a lock.
CREATE OR REPLACE FUNCTION hookonce_partition(whole text, by_key text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- Ids are made by the daemons' clocks: those of tomorrow may be there.
    upto   constant date := (clock_timestamp() AT TIME ZONE 'UTC')::date + 2;
    former constant text := format('%s_until_%s', whole, to_char(upto, 'YYYYMMDD'));
    -- What makes its keys and indexes under their names.
    again  text[];
    line   text;
    filled boolean;
    may    record;
BEGIN
    IF EXISTS (SELECT FROM pg_class WHERE oid = whole::regclass AND relkind = 'p') THEN
        RETURN;
    END IF;
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', whole);
    SELECT array_agg(sql) INTO again FROM (
        SELECT format('ALTER TABLE %I ADD CONSTRAINT %I %s', whole, conname, pg_get_constraintdef(oid)) AS sql
          FROM pg_constraint WHERE conrelid = whole::regclass AND contype IN ('p', 'u')
         UNION ALL
        SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i
         WHERE i.indrelid = whole::regclass AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)) AS each;
    -- A partition's own constraint must be known to hold before the whole can have it.
    FOR line IN SELECT conname FROM pg_constraint WHERE conrelid = whole::regclass AND NOT convalidated LOOP
        EXECUTE format('ALTER TABLE %I VALIDATE CONSTRAINT %I', whole, line);
    END LOOP;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', whole, former);
    FOR line IN SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = former::regclass LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', line, former || right(line, -length(whole)));
    END LOOP;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE (%I)', whole, former, by_key);
    FOREACH line IN ARRAY again LOOP
        EXECUTE line;
    END LOOP;
    -- Who might read or write the table may go on.
    FOR may IN SELECT a.privilege_type AS what, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS who
                 FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = former::regclass AND a.grantee <> c.relowner LOOP
        EXECUTE format('GRANT %s ON %I TO %s', may.what, whole, may.who);
    END LOOP;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I)', former) INTO filled;
    IF filled THEN
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)', whole, former, hookonce_first_id(upto));
    ELSE
        EXECUTE format('DROP TABLE %I', former);
    END IF;
    -- For ids of a clock that is wrong by days; else it stays empty.
    EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', whole || '_elsewhen', whole);
END $$;

-- A week and a day ahead, unless asked for others: daemons may be down for that long. Attaching waits for nobody who
-- writes, and at most a second for those who read all days; a table that is made as a partition waits for everybody.
CREATE OR REPLACE FUNCTION hookonce_add_partitions(
    since date DEFAULT (clock_timestamp() AT TIME ZONE 'UTC')::date, days integer DEFAULT 8) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    whole text;
    each  date;
    part  text;
    made  integer := 0;
BEGIN
    PERFORM set_config('lock_timeout', '1s', true);
    FOREACH whole IN ARRAY ARRAY['event_body', 'attempt'] LOOP
        FOR n IN 0 .. days - 1 LOOP
            each := since + n;
            part := format('%s_on_%s', whole, to_char(each, 'YYYYMMDD'));
            CONTINUE WHEN to_regclass(quote_ident(part)) IS NOT NULL;
            BEGIN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, whole);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               whole, part, hookonce_first_id(each), hookonce_first_id(each + 1));
                made := made + 1;
            EXCEPTION
                -- The first table of all has this day; or another replica makes it at the same moment.
                WHEN invalid_object_definition OR duplicate_table OR unique_violation THEN NULL;
                -- A clock that was wrong, or days without anybody who made tables: that day stays where it is.
                WHEN check_violation THEN
                    RAISE WARNING '% has rows of % already: that day gets no table of its own', whole || '_elsewhen', each;
            END;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- Drops one table whose day is over and of which nothing is needed any more, and says which and about how many
-- rows it had; nulls when there is none, or when somebody holds it for longer than a moment. What is asked of each
-- day is answered by an index: the highest expiry, and the few deliveries that are open or dead.
CREATE OR REPLACE FUNCTION hookonce_drop_partition(OUT whole text, OUT dropped text, OUT about bigint) LANGUAGE plpgsql AS $$
DECLARE
    today constant date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    part   record;
    needed boolean;
BEGIN
    -- A vacuum gives way once the server has looked for a deadlock: after a second, unless that was changed.
    PERFORM set_config('lock_timeout', '1500ms', true);
    FOR part IN
        SELECT each.of_table, each.part_name, each.part_rows, each.upto,
               COALESCE(hookonce_first_id(each.since), '00000000-0000-0000-0000-000000000000') AS first_id,
               hookonce_first_id(each.upto) AS end_id
          FROM (SELECT p.relname AS of_table, c.relname AS part_name, greatest(c.reltuples, 0)::bigint AS part_rows,
                       CASE WHEN c.relname ~ '_on_' THEN to_date(right(c.relname, 8), 'YYYYMMDD') END AS since,
                       to_date(right(c.relname, 8), 'YYYYMMDD') + CASE WHEN c.relname ~ '_on_' THEN 1 ELSE 0 END AS upto
                  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
                 WHERE i.inhparent IN ('event_body'::regclass, 'attempt'::regclass) AND c.relname ~ '_(on|until)_[0-9]{8}$') AS each
         ORDER BY each.upto, each.part_name
    LOOP
        CONTINUE WHEN part.upto > today;
        IF part.of_table = 'event_body' THEN
            EXECUTE format('SELECT COALESCE((SELECT max(expires_at) FROM %I) > clock_timestamp(), false)', part.part_name) INTO needed;
            CONTINUE WHEN needed;
            -- One question a state, each by the index that has such deliveries only.
            needed := EXISTS (SELECT FROM delivery WHERE state = 'dead' AND event_id >= part.first_id AND event_id < part.end_id)
                OR EXISTS (SELECT FROM delivery WHERE state = 'leased' AND event_id >= part.first_id AND event_id < part.end_id)
                OR EXISTS (SELECT FROM delivery WHERE state = 'pending' AND NOT lane_waits AND event_id >= part.first_id AND event_id < part.end_id)
                OR EXISTS (SELECT FROM delivery WHERE lane_waits AND event_id >= part.first_id AND event_id < part.end_id);
        ELSE
            needed := EXISTS (SELECT FROM delivery WHERE state = 'dead' AND id >= part.first_id AND id < part.end_id)
                OR EXISTS (SELECT FROM delivery WHERE state = 'leased' AND id >= part.first_id AND id < part.end_id)
                OR EXISTS (SELECT FROM delivery WHERE state = 'pending' AND NOT lane_waits AND id >= part.first_id AND id < part.end_id)
                OR EXISTS (SELECT FROM delivery WHERE lane_waits AND id >= part.first_id AND id < part.end_id);
            CONTINUE WHEN needed;
            -- A delivery is as old as its event or younger.
            needed := EXISTS (SELECT FROM event WHERE id >= part.first_id AND id < part.end_id AND expires_at > clock_timestamp());
        END IF;
        CONTINUE WHEN needed;
        BEGIN
            -- The whole alone: other days stay as they are, and this one is locked by its end.
            EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', part.of_table);
            IF part.of_table = 'event_body' THEN
                -- A replay that came in between has moved the time of its event's body.
                EXECUTE format('SELECT COALESCE((SELECT max(expires_at) FROM %I) > clock_timestamp(), false)', part.part_name) INTO needed;
                IF needed THEN
                    -- The lock goes with the statement: nothing else is asked under it.
                    RETURN;
                END IF;
            END IF;
            EXECUTE format('DROP TABLE %I', part.part_name);
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected THEN RETURN;
        END;
        whole := part.of_table;
        dropped := part.part_name;
        about := part.part_rows;
        RETURN;
    END LOOP;
END $$;

SELECT hookonce_partition('event_body', 'event_id'), hookonce_partition('attempt', 'delivery_id');
-- Whoever holds them now is no reason not to start: there are days in reserve, and each hour is another chance.
DO $$
BEGIN
    PERFORM hookonce_add_partitions();
EXCEPTION
    WHEN lock_not_available OR deadlock_detected THEN
        RAISE WARNING 'the partitions of the next days can''t be made now: %', SQLERRM;
END $$;
