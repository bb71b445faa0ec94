//! Idempotency keys: 100,000 of them, a quarter expired, and each statement reads a handful.

use hookonce::store::idempotency::SWEEP_KEYS_SQLITE;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

use super::{explain, plan_as_hot};
use crate::support::TestDatabase;

const FILL_POSTGRES: &str = "
    INSERT INTO idempotency_key (scope, key, request_hash, status, lease_until, lease_epoch, attempts, created_at, expires_at)
    SELECT 'pay:' || n % 100, 'k' || n, sha256(n::text::bytea),
           CASE WHEN n % 1000 = 0 THEN 'processing' ELSE 'failed' END,
           CASE WHEN n % 1000 = 0 THEN now() + interval '1 hour' END, n, 1, now(), now() + (n - 25000) * interval '1 second'
      FROM generate_series(1, 100000) AS n;
    ANALYZE idempotency_key;
    SET plan_cache_mode = force_generic_plan;";

const FILL_SQLITE: &str = "
    WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 100000)
    INSERT INTO idempotency_key (scope, key, request_hash, status, lease_epoch, attempts, created_at, expires_at)
    SELECT 'pay:' || (n % 100), 'k' || n, randomblob(32), 'failed', n, 1, strftime('%Y-%m-%d %H:%M:%f', 'now'),
           strftime('%Y-%m-%d %H:%M:%f', 'now', (n - 25000) || ' seconds') FROM count;
    ANALYZE;";

#[tokio::test(flavor = "multi_thread")]
async fn postgres_reads_one_key() {
    let db = TestDatabase::postgres().await;
    let mut c = PgConnection::connect(&db.url()).await.unwrap();
    sqlx::raw_sql(FILL_POSTGRES).execute(&mut c).await.unwrap();
    let claim = include_str!("../../../../src/store/sql/key_claim.postgres.sql");
    let plan = explain(&mut c, claim, "'pay:7', 'new', sha256('7'), 60, 60, 9").await;
    plan.assert_no_full_scan();
    plan.assert_reads_at_most(2.0);
    let find = include_str!("../../../../src/store/sql/key_find.postgres.sql");
    let plan = explain(&mut c, find, "'pay:7', 'k40007'").await;
    plan.assert_uses("idempotency_key_pkey", &["scope", "key"]);
    plan.assert_reads_at_most(2.0);
    let settle = include_str!("../../../../src/store/sql/key_settle.postgres.sql");
    let plan =
        explain(&mut c, settle, "'pay:7', 'k40007', 40007, 'completed', 200, '', '', NULL").await;
    plan.assert_uses("idempotency_key_pkey", &["scope", "key"]);
    plan.assert_reads_at_most(2.0);
    let sweep = include_str!("../../../../src/store/sql/key_sweep.postgres.sql");
    let plan = explain(&mut c, sweep, "100").await;
    plan.assert_uses("idempotency_key_expiry", &["expires_at"]);
    plan.assert_no_full_scan();
    plan.assert_reads_at_most(300.0);
}

/// The statements of a batch, with arguments for three keys: a new one, a released one, and an expired one.
const BATCHES: [(&str, &str); 2] = [
    (
        include_str!("../../../../src/store/sql/key_claims.postgres.sql"),
        "ARRAY['pay:7', 'pay:7', 'pay:8'], ARRAY['new', 'k40007', 'k8'], ARRAY[sha256('7'), sha256('40007'), sha256('8')],
         ARRAY[60, 60, 60]::float8[], ARRAY[60, 60, 60]::float8[], ARRAY[9, 9, 9]::int8[]",
    ),
    (
        include_str!("../../../../src/store/sql/key_settles.postgres.sql"),
        "ARRAY['pay:7', 'pay:7', 'pay:8'], ARRAY['new', 'k40007', 'k8'], ARRAY[9, 40008, 9]::int8[],
         ARRAY['completed', 'failed', 'uncertain'], ARRAY[200, NULL, NULL]::int4[], ARRAY['', NULL, NULL]::bytea[],
         ARRAY['', NULL, NULL]::bytea[], ARRAY[NULL, 'x', 'y']",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_keys_reads_only_its_own() {
    let db = TestDatabase::postgres().await;
    let mut c = PgConnection::connect(&db.url()).await.unwrap();
    sqlx::raw_sql(FILL_POSTGRES).execute(&mut c).await.unwrap();
    plan_as_hot(&mut c).await;
    for (batch, arguments) in BATCHES {
        let plan = explain(&mut c, batch, arguments).await;
        plan.assert_uses("idempotency_key_pkey", &["scope", "key"]);
        plan.assert_no_full_scan();
        plan.assert_reads_at_most(4.0);
    }
    // The rows were what they were meant to be.
    let done = "SELECT count(*) FROM idempotency_key WHERE (key = 'k8' AND status = 'uncertain')
        OR (key = 'k40007' AND status = 'failed' AND attempts = 2) OR (key = 'new' AND status = 'completed')";
    assert_eq!(db.number(done).await, 3);
}

/// In a new database nothing is known of the table, and the plan that is made then is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_keys_reads_an_empty_table_by_its_key() {
    let db = TestDatabase::postgres().await;
    let mut c = PgConnection::connect(&db.url()).await.unwrap();
    plan_as_hot(&mut c).await;
    for rows in [0, 10, 100, 1_000, 10_000] {
        let fill = format!(
            "INSERT INTO idempotency_key (scope, key, request_hash, status, lease_epoch, attempts, created_at, expires_at)
             SELECT 'pay:1', 'k' || n, sha256(n::text::bytea), 'failed', n, 1, now(), now() + interval '1 hour'
               FROM generate_series(1, {rows}) AS n ON CONFLICT DO NOTHING"
        );
        sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut c).await.unwrap();
        for (batch, arguments) in BATCHES {
            let plan = explain(&mut c, batch, arguments).await;
            plan.assert_uses("idempotency_key_pkey", &["scope", "key"]);
            plan.assert_no_full_scan();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_reads_one_key() {
    let db = TestDatabase::sqlite().await;
    let mut c = SqliteConnection::connect(&db.url()).await.unwrap();
    sqlx::raw_sql(FILL_SQLITE).execute(&mut c).await.unwrap();
    let by_key = "USING INDEX sqlite_autoindex_idempotency_key_1 (scope=? AND key=?)";
    for (sql, index) in [
        (include_str!("../../../../src/store/sql/key_find.sqlite.sql"), by_key),
        (include_str!("../../../../src/store/sql/key_settle.sqlite.sql"), by_key),
        (SWEEP_KEYS_SQLITE, "USING INDEX idempotency_key_expiry (expires_at<?)"),
    ] {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = sqlx::raw_sql(explain).fetch_all(&mut c).await.unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        assert!(lines.iter().any(|line| line.contains(index)), "{index}: {lines:#?}");
        assert!(lines.iter().all(|line| !line.starts_with("SCAN")), "{lines:#?}");
    }
}
