-- Cleanup inside PostgreSQL: the daemon's own statements, run by pg_cron.
-- Printed by `hookonce cleanup --print-pg-cron` from [cleanup], [retention] and the names of the sources:
-- print it again, and run it again, when one of these changes.
--
-- It claims the same row in upkeep_run as the daemons do, so one of them cleans at a time, whoever comes first.

-- 1. In hookonce's database, as the role that owns its tables.

CREATE OR REPLACE PROCEDURE hookonce_cleanup()
LANGUAGE plpgsql
AS $procedure$
DECLARE
    batch          constant bigint      := {batch};
    pause          constant float8      := {pause};
    max_run        constant interval    := make_interval(secs => {max_run});
    dead           constant float8      := {dead};
    rejections_for constant float8      := {rejections};
    ring_bytes     constant bigint      := {ring_bytes};
    sources        constant text[]      := ARRAY[{sources}]::text[];
    window_from    constant time        := {window_from};
    window_until   constant time        := {window_until};
    lease          constant float8      := 60;
    before_all     constant uuid        := '00000000-0000-0000-0000-000000000000';
    run            constant uuid        := gen_random_uuid();
    strike         constant timestamptz := date_trunc('minute', clock_timestamp());
    begun          constant timestamptz := clock_timestamp();
    time_of_day    constant time        := clock_timestamp() AT TIME ZONE 'UTC';
    -- As the daemon does it: 0 rings of rejections that are too large, 1 events, 2 bodies, 3 rejections, 4 idempotency keys.
    phase      int := 0;
    at         timestamptz := 'epoch';
    last       uuid := before_all;
    -- Events that must go one by one, since a batch of them was refused.
    singly     bigint := 0;
    step       bigint;
    scanned    bigint;
    deleted    bigint;
    next_at    timestamptz;
    next_last  uuid;
    touched    bigint;
    events     bigint := 0;
    bodies     bigint := 0;
    rejections bigint := 0;
    outcome    text := 'done';
    failed     text;
    source     text;
    gone       text;
BEGIN
    -- The statements count on seeing what others have committed, and on waiting for nobody for long.
    PERFORM set_config('default_transaction_isolation', 'read committed', false),
            set_config('lock_timeout', '5s', false);
    COMMIT;

    IF window_from <= window_until AND NOT (window_from <= time_of_day AND time_of_day < window_until)
       OR window_from > window_until AND NOT (window_from <= time_of_day OR time_of_day < window_until) THEN
        RETURN;
    END IF;

    EXECUTE $sql$ {lose} $sql$ USING 'cleanup';
    EXECUTE $sql$ {forget} $sql$ USING 'cleanup';
    EXECUTE $sql$ {begin} $sql$ USING run, 'cleanup', 'pg_cron', lease, strike;
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched = 0 THEN
        RETURN;
    END IF;
    COMMIT;
    EXECUTE $sql$ {withdraw} $sql$ USING run, 'cleanup', strike;
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched = 1 THEN
        RETURN;
    END IF;
    COMMIT;

    -- Where bodies and attempts have a table for each day, those that are over go first, and as a whole.
    IF to_regprocedure('hookonce_drop_partition()') IS NOT NULL THEN
        BEGIN
            PERFORM hookonce_add_partitions();
        EXCEPTION
            -- There are days in reserve.
            WHEN OTHERS THEN RAISE WARNING 'the partitions of the next days can''t be made now: %', SQLERRM;
        END;
        COMMIT;
        LOOP
            BEGIN
                gone := NULL;
                SELECT d.dropped INTO gone FROM hookonce_drop_partition() AS d;
            EXCEPTION
                -- What expired is deleted row by row all the same.
                WHEN OTHERS THEN RAISE WARNING 'no partition is dropped now: %', SQLERRM;
            END;
            EXECUTE $sql$ {renew} $sql$ USING run, lease, events, bodies, rejections;
            COMMIT;
            EXIT WHEN gone IS NULL OR clock_timestamp() - begun >= max_run;
        END LOOP;
    END IF;

    WHILE phase < 5 LOOP
        step := CASE WHEN singly > 0 THEN 1 ELSE batch END;
        BEGIN
            scanned := 0;
            deleted := 0;
            IF phase = 0 THEN
                FOREACH source IN ARRAY sources LOOP
                    EXECUTE $sql$ {trim} $sql$ USING source, ring_bytes;
                    GET DIAGNOSTICS touched = ROW_COUNT;
                    rejections := rejections + touched;
                END LOOP;
            ELSIF phase = 1 THEN
                EXECUTE $sql$ {sweep_events} $sql$
                   INTO scanned, deleted, next_at, next_last USING at, last, step, dead;
                events := events + COALESCE(deleted, 0);
            ELSIF phase = 2 THEN
                EXECUTE $sql$ {sweep_bodies} $sql$
                   INTO scanned, deleted, next_at, next_last USING at, last, step;
                bodies := bodies + COALESCE(deleted, 0);
            ELSIF phase = 3 THEN
                EXECUTE $sql$ {sweep_rejections} $sql$ USING rejections_for, step;
                GET DIAGNOSTICS scanned = ROW_COUNT;
                rejections := rejections + scanned;
            ELSE
                EXECUTE $sql$ {sweep_keys} $sql$ USING step;
                GET DIAGNOSTICS scanned = ROW_COUNT;
            END IF;
            scanned := COALESCE(scanned, 0);
        EXCEPTION
            WHEN integrity_constraint_violation THEN
                IF phase <> 1 THEN
                    failed := SQLERRM;
                ELSIF step = 1 THEN
                    -- This one can't go (its delivery was reopened): pass it over.
                    EXECUTE $sql$ {first_expired} $sql$ INTO next_at, next_last USING at, last;
                    scanned := CASE WHEN next_last IS NULL THEN 0 ELSE 1 END;
                ELSE
                    scanned := batch;
                    next_at := at;
                    next_last := last;
                    singly := batch + 1;
                END IF;
            WHEN OTHERS THEN
                failed := SQLERRM;
        END;
        EXIT WHEN failed IS NOT NULL;

        IF scanned < step OR phase = 0 THEN
            phase := phase + 1;
            at := 'epoch';
            last := before_all;
            singly := 0;
        ELSE
            at := next_at;
            last := next_last;
            singly := greatest(singly - 1, 0);
        END IF;

        EXECUTE $sql$ {renew} $sql$ USING run, lease, events, bodies, rejections;
        GET DIAGNOSTICS touched = ROW_COUNT;
        COMMIT;
        IF touched = 0 THEN
            RAISE EXCEPTION 'another replica took this cleanup over';
        END IF;
        IF phase < 5 AND clock_timestamp() - begun >= max_run THEN
            outcome := 'partial';
            EXIT;
        END IF;
        PERFORM pg_sleep(pause);
        COMMIT;
    END LOOP;

    IF failed IS NOT NULL THEN
        outcome := 'failed';
    END IF;
    EXECUTE $sql$ {finish} $sql$ USING run, outcome, events, bodies, rejections, failed;
    COMMIT;
    IF failed IS NOT NULL THEN
        RAISE EXCEPTION 'the cleanup failed: %', failed;
    END IF;
END
$procedure$;

-- 2. In the database that pg_cron lives in (its setting cron.database_name), as the same role. Times are UTC
--    unless pg_cron's cron.timezone says otherwise. The same name replaces the job; to end it:
--    SELECT cron.unschedule('hookonce-cleanup');

SELECT cron.schedule_in_database('hookonce-cleanup', {schedule}, 'CALL hookonce_cleanup()', {database});

-- pg_cron keeps a row for each run in cron.job_run_details, for ever. To keep a week of them:
-- SELECT cron.schedule('cron-history', '0 4 * * *',
--     $$DELETE FROM cron.job_run_details WHERE end_time < now() - interval '7 days'$$);
