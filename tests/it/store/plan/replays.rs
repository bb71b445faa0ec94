//! Replays of many: a step reads the rows of its page, whatever else there is.

use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

use super::{FILL_SQLITE, explain, filled_postgres};
use crate::support::TestDatabase;

const DEAD: &str = "UPDATE delivery SET state = 'dead' WHERE handler = 'a'";

#[tokio::test(flavor = "multi_thread")]
async fn postgres_reads_one_page() {
    let (_db, mut c) = filled_postgres().await;
    sqlx::raw_sql(DEAD).execute(&mut c).await.unwrap();
    sqlx::raw_sql("VACUUM ANALYZE delivery").execute(&mut c).await.unwrap();
    let dead = include_str!("../../../../src/store/sql/replay_dead.postgres.sql");
    let start = "'00000000-0000-0000-0000-000000000000'";
    let middle = "'80000000-0000-0000-0000-000000000000'";
    let end = "'ffffffff-ffff-ffff-ffff-ffffffffffff'";
    for arguments in [format!("'', {start}, 500"), format!("'a', {middle}, 500")] {
        let plan = explain(&mut c, dead, &arguments).await;
        plan.assert_uses("delivery_dead", &["handler", "id"]);
        plan.assert_no_full_scan();
        plan.assert_reads_at_most(510.0);
    }
    let events = include_str!("../../../../src/store/sql/replay_events.postgres.sql");
    for (handler, rows) in [("NULL", 1_100.0), ("'a'", 1_100.0), ("'new'", 1_100.0)] {
        let arguments = format!("{middle}, {end}, 500, {handler}");
        let plan = explain(&mut c, events, &arguments).await;
        plan.assert_uses("event_pkey", &["id"]);
        plan.assert_uses("delivery_once", &["event_id"]);
        plan.assert_no_full_scan();
        plan.assert_reads_at_most(rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_reads_one_page() {
    let db = TestDatabase::sqlite().await;
    let mut c = SqliteConnection::connect(&db.url()).await.unwrap();
    sqlx::raw_sql(FILL_SQLITE).execute(&mut c).await.unwrap();
    for (sql, searches) in [
        (
            include_str!("../../../../src/store/sql/replay_dead.sqlite.sql"),
            &["delivery_dead ((handler,id)>(?,?))", "sqlite_autoindex_event_1 (id=?)"][..],
        ),
        (
            include_str!("../../../../src/store/sql/replay_events.sqlite.sql"),
            &[
                "sqlite_autoindex_event_1 (id>? AND id<?)",
                "sqlite_autoindex_delivery_2 (event_id=?",
            ],
        ),
    ] {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = sqlx::raw_sql(explain).fetch_all(&mut c).await.unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        for search in searches {
            assert!(
                lines.iter().any(|line| line.contains(search)),
                "{search} is not in {lines:#?}"
            );
        }
        // The page itself is what is walked over.
        let whole = lines
            .iter()
            .find(|line| line.starts_with("SCAN") && *line != "SCAN d" && *line != "SCAN page");
        assert_eq!(whole, None, "{lines:#?}");
    }
}
