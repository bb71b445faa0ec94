//! Versions: one lane of a hundred deliveries, and a statement that reads its highest version alone.

use hookonce::store::version::{KEEP_POSTGRES, KEEP_SQLITE};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

use super::{FILL_SQLITE, explain, filled_postgres};
use crate::support::TestDatabase;

const LANES: &str = "UPDATE delivery SET lane = 'l', version = '00000000000000000001.000000000' WHERE handler IN ('a', 'd')";

#[tokio::test(flavor = "multi_thread")]
async fn postgres_reads_one_version_of_a_lane() {
    let (db, mut c) = filled_postgres().await;
    let lanes = format!("{LANES}; ANALYZE delivery;");
    sqlx::raw_sql(AssertSqlSafe(lanes)).execute(&mut c).await.unwrap();
    let one = db.texts("SELECT id::text FROM delivery WHERE handler = 'd' LIMIT 1").await.remove(0);
    let plan =
        explain(&mut c, KEEP_POSTGRES, &format!("'{one}', 1, '00000000000000000002.000000000'"))
            .await;
    plan.assert_uses("delivery_version", &["handler", "lane"]);
    plan.assert_no_full_scan();
    plan.assert_reads_at_most(2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_reads_one_version_of_a_lane() {
    let db = TestDatabase::sqlite().await;
    let mut c = SqliteConnection::connect(&db.url()).await.unwrap();
    sqlx::raw_sql(FILL_SQLITE).execute(&mut c).await.unwrap();
    let explain = format!("EXPLAIN QUERY PLAN {KEEP_SQLITE}");
    let rows = sqlx::query(AssertSqlSafe(explain))
        .bind(vec![0_u8; 16])
        .bind(1_i64)
        .bind("x")
        .fetch_all(&mut c)
        .await
        .unwrap();
    let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    let said = |step: &str| assert!(steps.iter().any(|it| it.contains(step)), "{step}: {steps:?}");
    said("USING INDEX sqlite_autoindex_delivery_1 (id=?)");
    said("USING COVERING INDEX delivery_version (handler=? AND lane=?");
}
