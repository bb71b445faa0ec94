//! Each hot statement uses its index and reads few rows: 100,000 events, analyzed, default settings of
//! the planner. On PostgreSQL the *generic* plan is what counts, because that is what a prepared
//! statement ends up with.

use hookonce::store::cleanup::{DELETE_EVENTS_SQLITE, DOOMED_SQLITE};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

use crate::support::TestDatabase;

mod front;
mod keys;
mod recording;
mod replays;
mod versions;

/// 100,000 settled events of handler `a`, 2,000 pending ones (half of them due), 200 leased ones.
const FILL_POSTGRES: &str = "
    INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, received_at, expires_at)
    SELECT gen_random_uuid(), 'shop', 'evt_' || n, md5(n::text)::uuid, 'order.paid', sha256(n::text::bytea), 2,
           now() - n * interval '1 second', now() + (n - 50000) * interval '1 second'
      FROM generate_series(1, 100000) AS n;
    INSERT INTO event_body (event_id, headers, body, expires_at) SELECT id, '', '{}', expires_at FROM event;
    INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, settled_at)
    SELECT gen_random_uuid(), id, 'a', 'delivered', 1, received_at, received_at, now() FROM event;
    INSERT INTO delivery (id, event_id, handler, state, opened_at, due_at)
    SELECT gen_random_uuid(), id, CASE WHEN row_number() OVER () % 2 = 0 THEN 'b' ELSE 'c' END, 'pending', now(),
           now() + (row_number() OVER () - 1000) * interval '1 second'
      FROM (SELECT id FROM event LIMIT 2000) AS few;
    INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, lease_epoch, lease_until, leased_by)
    SELECT gen_random_uuid(), id, 'd', 'leased', 1, now(), now(), 1, now() + interval '30 seconds', 'w'
      FROM (SELECT id FROM event LIMIT 200) AS few;
    ANALYZE;";

pub(super) const FILL_SQLITE: &str = "
    WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 100000)
    INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, received_at, expires_at)
    SELECT randomblob(16), 'shop', 'evt_' || n, randomblob(16), 'order.paid', randomblob(32), 2,
           strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || n || ' seconds'),
           strftime('%Y-%m-%d %H:%M:%f', 'now', (n - 50000) || ' seconds') FROM count;
    INSERT INTO event_body (event_id, headers, body, expires_at) SELECT id, x'', x'7b7d', expires_at FROM event;
    INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, settled_at)
    SELECT randomblob(16), id, 'a', 'delivered', 1, received_at, received_at, received_at FROM event;
    INSERT INTO delivery (id, event_id, handler, state, opened_at, due_at)
    SELECT randomblob(16), id, 'b', 'pending', received_at, received_at FROM event LIMIT 2000;
    ANALYZE;";

/// What a plan says, in a form that can be asked.
#[derive(Debug)]
pub(super) struct Plan(Value);

impl Plan {
    fn nodes(&self) -> Vec<&Value> {
        fn collect<'a>(node: &'a Value, into: &mut Vec<&'a Value>) {
            into.push(node);
            for child in node["Plans"].as_array().into_iter().flatten() {
                collect(child, into);
            }
        }
        let mut nodes = Vec::new();
        collect(&self.0[0]["Plan"], &mut nodes);
        nodes
    }

    /// Some node reads `index`, with a condition on each of these columns.
    pub(super) fn assert_uses(&self, index: &str, columns: &[&str]) {
        let nodes = self.nodes();
        let conditions: Vec<&str> = nodes
            .iter()
            .filter(|node| node["Index Name"] == index)
            .map(|node| node["Index Cond"].as_str().unwrap_or_default())
            .collect();
        let one = |condition: &&str| columns.iter().all(|column| condition.contains(column));
        assert!(
            conditions.iter().any(one),
            "no search of {index} by {columns:?}, only {conditions:?}:\n{:#}",
            self.0
        );
    }

    /// No table is read whole, nor walked by its primary key, which is the same for a session without
    /// sequential scans.
    pub(super) fn assert_no_full_scan(&self) {
        for node in self.nodes() {
            let table = node["Relation Name"].as_str().unwrap_or_default();
            let index = node["Index Name"].as_str().unwrap_or_default();
            let walked = index.ends_with("_pkey") && node["Index Cond"].is_null();
            let full = node["Node Type"] == "Seq Scan" || walked;
            assert!(!full, "{table} is read whole:\n{:#}", self.0);
        }
    }

    /// How many tables of this prefix were really read.
    pub(super) fn read_of(&self, prefix: &str) -> usize {
        let read = |node: &&&Value| {
            let table = node["Relation Name"].as_str().unwrap_or_default();
            table.starts_with(prefix) && node["Actual Loops"].as_f64().unwrap_or(0.0) > 0.0
        };
        self.nodes().iter().filter(read).count()
    }

    /// No node passes more than this many rows, discarded ones included.
    pub(super) fn assert_reads_at_most(&self, rows: f64) {
        for node in self.nodes() {
            let loops = node["Actual Loops"].as_f64().unwrap_or(1.0);
            let each = node["Actual Rows"].as_f64().unwrap_or(0.0)
                + node["Rows Removed by Filter"].as_f64().unwrap_or(0.0);
            assert!(
                each * loops <= rows,
                "{} rows pass {}:\n{:#}",
                each * loops,
                node["Node Type"],
                self.0
            );
        }
    }
}

pub(super) async fn filled_postgres() -> (TestDatabase, PgConnection) {
    let db = TestDatabase::postgres().await;
    let mut connection = PgConnection::connect(&db.url()).await.unwrap();
    // What the planner knows is what ANALYZE says here, and nobody looks again meanwhile.
    for table in ["event", "event_body", "delivery", "attempt"] {
        let quiet = format!("ALTER TABLE {table} SET (autovacuum_enabled = off)");
        sqlx::raw_sql(AssertSqlSafe(quiet)).execute(&mut connection).await.unwrap();
    }
    sqlx::raw_sql(FILL_POSTGRES).execute(&mut connection).await.unwrap();
    sqlx::raw_sql("SET plan_cache_mode = force_generic_plan")
        .execute(&mut connection)
        .await
        .unwrap();
    (db, connection)
}

/// Runs a statement with these arguments, written as SQL, under its generic plan.
pub(super) async fn explain(connection: &mut PgConnection, sql: &str, arguments: &str) -> Plan {
    let prepare = format!("DEALLOCATE ALL; PREPARE hot AS {sql}");
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
    let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE hot ({arguments})");
    let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(connection).await.unwrap();
    Plan(rows[0].get(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_reads_only_what_it_needs() {
    let (_db, mut c) = filled_postgres().await;

    let claim = include_str!("../../../src/store/sql/claim.postgres.sql");
    let plan = explain(
        &mut c,
        claim,
        "ARRAY['b', 'c'], ARRAY[5, 5]::int8[], ARRAY[30, 30]::float8[], 'w', '{}', '{}', '{}', '{}', '{}'",
    )
    .await;
    plan.assert_uses("delivery_turn", &["handler", "COALESCE(source", "due_at"]);
    plan.assert_no_full_scan();
    plan.assert_reads_at_most(64.0);

    let next_due = include_str!("../../../src/store/sql/next_due.postgres.sql");
    let plan = explain(&mut c, next_due, "ARRAY['b', 'c'], '{}', '{}', '{}'").await;
    plan.assert_uses("delivery_due", &["handler"]);
    plan.assert_reads_at_most(8.0);

    let settle = include_str!("../../../src/store/sql/settle.postgres.sql");
    let leased: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM delivery WHERE state = 'leased' LIMIT 1")
            .fetch_one(&mut c)
            .await
            .unwrap();
    let arguments = "ARRAY[1]::int8[], ARRAY['delivered'], ARRAY[0]::float8[], ARRAY[true], ARRAY[NULL]::text[],
        ARRAY[1]::int4[], ARRAY[5]::int8[], ARRAY['delivered'], ARRAY[200]::int4[], ARRAY[NULL]::text[],
        ARRAY[NULL]::bytea[], false, ARRAY[NULL]::text[]";
    let plan = explain(&mut c, settle, &format!("ARRAY['{leased}']::uuid[], {arguments}")).await;
    plan.assert_uses("delivery_pkey", &["id"]);
    plan.assert_no_full_scan();
    plan.assert_reads_at_most(8.0);

    let lock = hookonce::store::effect::LOCK_POSTGRES;
    let plan = explain(&mut c, lock, &format!("'{leased}'::uuid, 1::int8")).await;
    plan.assert_uses("delivery_pkey", &["id"]);
    plan.assert_reads_at_most(2.0);

    let renew = hookonce::store::claim::RENEW_POSTGRES;
    let arguments = format!("ARRAY['{leased}']::uuid[], ARRAY[1]::int8[], ARRAY[30]::float8[]");
    let plan = explain(&mut c, renew, &arguments).await;
    plan.assert_uses("delivery_pkey", &["id"]);
    plan.assert_no_full_scan();
    plan.assert_reads_at_most(8.0);

    let lapsed = include_str!("../../../src/store/sql/lapsed.postgres.sql");
    let plan = explain(&mut c, lapsed, "ARRAY['d'], 256").await;
    plan.assert_uses("delivery_lapsing", &["lease_until"]);
    plan.assert_reads_at_most(8.0);

    let copies = include_str!("../../../src/store/sql/count_copies.postgres.sql");
    let arguments =
        "ARRAY[md5('7')::uuid, md5('8')::uuid], ARRAY[gen_random_uuid(), gen_random_uuid()],
        ARRAY[sha256('7'), sha256('8')]";
    let plan = explain(&mut c, copies, arguments).await;
    plan.assert_uses("event_once", &["dedupe_key"]);
    plan.assert_no_full_scan();
    plan.assert_reads_at_most(16.0);

    sqlx::query("UPDATE event SET signed_digest = digest").execute(&mut c).await.unwrap();
    sqlx::query("ANALYZE event").execute(&mut c).await.unwrap();
    let earlier = include_str!("../../../src/store/sql/earlier.postgres.sql");
    let plan = explain(&mut c, earlier, "'shop', sha256('7')").await;
    plan.assert_uses("event_signed", &["source", "signed_digest"]);
    plan.assert_reads_at_most(8.0);

    // As pg_cron runs them, and as the daemon does.
    sweeps_read_little(&mut c).await;
    sqlx::raw_sql("RESET ALL").execute(&mut c).await.unwrap();
    plan_with(&mut c, &hookonce::store::HOT_PLANNING).await;
    plan_with(&mut c, &hookonce::store::CLEANUP_PLANNING).await;
    let mode: String = sqlx::query_scalar("SHOW plan_cache_mode").fetch_one(&mut c).await.unwrap();
    assert_eq!(mode, "force_generic_plan");
    for plan in sweeps_read_little(&mut c).await {
        plan.assert_no_full_scan();
    }
}

async fn sweeps_read_little(c: &mut PgConnection) -> [Plan; 2] {
    let sweep = include_str!("../../../src/store/sql/sweep_events.postgres.sql");
    let from = "'1970-01-01', '00000000-0000-0000-0000-000000000000', 100";
    let events = explain(c, sweep, &format!("{from}, 0")).await;
    events.assert_uses("event_expiry", &["expires_at"]);
    events.assert_reads_at_most(1_000.0);

    let sweep = include_str!("../../../src/store/sql/sweep_bodies.postgres.sql");
    let bodies = explain(c, sweep, from).await;
    bodies.assert_uses("event_body_expiry", &["expires_at"]);
    bodies.assert_reads_at_most(1_000.0);
    [events, bodies]
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_reads_only_what_it_needs() {
    let db = TestDatabase::sqlite().await;
    let mut connection = SqliteConnection::connect(&db.url()).await.unwrap();
    sqlx::raw_sql(FILL_SQLITE).execute(&mut connection).await.unwrap();
    sqlx::raw_sql(DOOMED_SQLITE).execute(&mut connection).await.unwrap();
    let sweeps = DELETE_EVENTS_SQLITE.into_iter().map(|sql| (sql, "SEARCH"));
    let others = [
        (
            include_str!("../../../src/store/sql/claim.sqlite.sql"),
            "delivery_turn (handler=? AND <expr>=? AND due_at<?)",
        ),
        (
            include_str!("../../../src/store/sql/sources_due.sqlite.sql"),
            "delivery_turn (handler=? AND <expr>>?)",
        ),
        (
            include_str!("../../../src/store/sql/settle.sqlite.sql"),
            "sqlite_autoindex_delivery_1 (id=?)",
        ),
        (
            hookonce::store::settle::KEPT_SQLITE,
            "sqlite_autoindex_attempt_1 (delivery_id=? AND n=?)",
        ),
        (hookonce::store::effect::LOCK_SQLITE, "sqlite_autoindex_delivery_1 (id=?)"),
        (hookonce::store::rescue::LAPSED_SQLITE, "USING INDEX delivery_lapsing (lease_until<?)"),
    ];
    for (sql, index) in sweeps.chain(others) {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = sqlx::raw_sql(explain).fetch_all(&mut connection).await.unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        let plan = lines.join("\n");
        assert!(plan.contains(index), "{index} is not in:\n{plan}");
        // The ids of a step are few; every other table has to be searched.
        let whole = lines.iter().find(|line| {
            line.starts_with("SCAN")
                && !line.contains("doomed")
                && !line.contains("json_each")
                && !["SCAN t", "SCAN source"].contains(&line.as_str())
                && !line.starts_with("SCAN (subquery")
        });
        assert_eq!(whole, None, "{sql}\n{plan}");
    }
}

/// In a new database the server has no statistics, and the plans that a session makes then, it keeps.
#[tokio::test(flavor = "multi_thread")]
async fn plans_that_were_made_while_the_tables_were_empty_do_not_read_them_whole() {
    let db = TestDatabase::postgres().await;
    let mut c = PgConnection::connect(&db.url()).await.unwrap();
    plan_as_hot(&mut c).await;
    hot_plans_read_little(&mut c).await;
    // Nor while they were small, and nobody had looked at them yet.
    for (from, to) in [(1, 10), (11, 100), (101, 1_000)] {
        let fill = format!(
            "INSERT INTO event (id, source, event_id, dedupe_key, type, digest, size, received_at, expires_at)
             SELECT gen_random_uuid(), 'shop', 'evt_' || n, md5(n::text)::uuid, 'order.paid', sha256(n::text::bytea), 2,
                    now(), now() + interval '1 hour' FROM generate_series({from}, {to}) AS n;
             INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, settled_at)
             SELECT gen_random_uuid(), id, 'b', 'delivered', 1, now(), now(), now() FROM event
              WHERE id NOT IN (SELECT event_id FROM delivery);"
        );
        sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut c).await.unwrap();
        hot_plans_read_little(&mut c).await;
    }
}

async fn hot_plans_read_little(c: &mut PgConnection) {
    let claim = include_str!("../../../src/store/sql/claim.postgres.sql");
    let arguments =
        "ARRAY['b'], ARRAY[256]::int8[], ARRAY[30]::float8[], 'w', '{}', '{}', '{}', '{}', '{}'";
    let plan = explain(c, claim, arguments).await;
    plan.assert_uses("delivery_turn", &["handler", "COALESCE(source", "due_at"]);
    plan.assert_uses("delivery_pkey", &["id"]);
    plan.assert_no_full_scan();

    let settle = include_str!("../../../src/store/sql/settle.postgres.sql");
    let arguments = "ARRAY[gen_random_uuid()], ARRAY[1]::int8[], ARRAY['delivered'], ARRAY[0]::float8[], ARRAY[true],
        ARRAY[NULL]::text[], ARRAY[1]::int4[], ARRAY[5]::int8[], ARRAY['delivered'], ARRAY[200]::int4[],
        ARRAY[NULL]::text[], ARRAY[NULL]::bytea[], false, ARRAY[NULL]::text[]";
    let plan = explain(c, settle, arguments).await;
    plan.assert_uses("delivery_pkey", &["id"]);
    plan.assert_no_full_scan();

    let kept = hookonce::store::settle::KEPT_POSTGRES;
    let arguments =
        "ARRAY[gen_random_uuid()], ARRAY[1]::int4[], ARRAY[1]::int8[], ARRAY['delivered']";
    let plan = explain(c, kept, arguments).await;
    plan.assert_uses("attempt_pkey", &["delivery_id", "n"]);
    plan.assert_no_full_scan();

    let lock = hookonce::store::effect::LOCK_POSTGRES;
    let plan = explain(c, lock, "gen_random_uuid(), 1::int8").await;
    plan.assert_uses("delivery_pkey", &["id"]);

    let copies = include_str!("../../../src/store/sql/count_copies.postgres.sql");
    let arguments = "ARRAY[md5('7')::uuid], ARRAY[gen_random_uuid()], ARRAY[sha256('7')]";
    let plan = explain(c, copies, arguments).await;
    plan.assert_uses("event_once", &["dedupe_key"]);
    plan.assert_no_full_scan();
}

/// A session that plans as those of the hot paths do.
pub(super) async fn plan_as_hot(c: &mut PgConnection) {
    sqlx::raw_sql("SET plan_cache_mode = force_generic_plan").execute(&mut *c).await.unwrap();
    plan_with(c, &hookonce::store::HOT_PLANNING).await;
}

async fn plan_with(c: &mut PgConnection, settings: &[(&str, &str)]) {
    let set = |(setting, value): &(&str, &str)| format!("SET {setting} = {value};");
    let session: String = settings.iter().map(set).collect();
    sqlx::raw_sql(AssertSqlSafe(session)).execute(c).await.unwrap();
}

/// The planner doesn't know how many a claim takes, and expects a tenth of all that is pending.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_reads_as_few_rows_with_a_backlog_as_without() {
    let (_db, mut c) = filled_postgres().await;
    let backlog = "
        INSERT INTO delivery (id, event_id, handler, state, opened_at, due_at)
        SELECT gen_random_uuid(), id, 'backlog', 'pending', now(), now() - interval '1 hour' FROM event;
        ANALYZE;";
    sqlx::raw_sql(backlog).execute(&mut c).await.unwrap();
    plan_as_hot(&mut c).await;
    let claim = include_str!("../../../src/store/sql/claim.postgres.sql");
    let arguments = "ARRAY['backlog'], ARRAY[256]::int8[], ARRAY[30]::float8[], 'w', '{}', '{}', '{}', '{}', '{}'";
    let plan = explain(&mut c, claim, arguments).await;
    plan.assert_uses("delivery_turn", &["handler", "COALESCE(source", "due_at"]);
    plan.assert_uses("delivery_pkey", &["id"]);
    plan.assert_uses("event_pkey", &["id"]);
    // One more tells the source.
    plan.assert_reads_at_most(257.0);
}
