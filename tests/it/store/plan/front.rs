//! What a claim costs after much of a backlog was claimed, and nothing vacuumed.

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::{explain, filled_postgres, plan_as_hot};

/// Pages that a claim of ten looks at, told so of the front.
async fn pages_of_a_claim(c: &mut PgConnection, known: &str) -> i64 {
    let claim = include_str!("../../../../src/store/sql/claim.postgres.sql");
    let prepare = format!("DEALLOCATE ALL; PREPARE hot AS {claim}");
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *c).await.unwrap();
    let explain = format!(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE hot (ARRAY['backlog'], ARRAY[10]::int8[], ARRAY[30]::float8[], 'w', {known})"
    );
    let mut pages = Vec::new();
    for _ in 0..3 {
        // The first one marks the dead as such, which makes it dearer than the ones behind it.
        sqlx::raw_sql("BEGIN").execute(&mut *c).await.unwrap();
        let rows = sqlx::raw_sql(AssertSqlSafe(&*explain)).fetch_all(&mut *c).await.unwrap();
        sqlx::raw_sql("ROLLBACK").execute(&mut *c).await.unwrap();
        let plan: serde_json::Value = rows[0].get(0);
        let of = |key: &str| plan[0]["Plan"][key].as_i64().unwrap();
        pages.push(of("Shared Hit Blocks") + of("Shared Read Blocks"));
    }
    pages[2]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_knows_the_front_walks_over_nothing_that_was_claimed_before() {
    let (_db, mut c) = filled_postgres().await;
    let backlog = "
        INSERT INTO delivery (id, event_id, handler, round, state, opened_at, due_at)
        SELECT gen_random_uuid(), e.id, 'backlog', n, 'pending', now(), now() - interval '1 hour' + n * interval '100 s'
          FROM generate_series(0, 29) AS n, (SELECT id FROM event LIMIT 1000) AS e;
        ANALYZE;
        UPDATE delivery SET state = 'leased', lease_until = now() + interval '1 hour', leased_by = 'w', leased_at = now()
         WHERE handler = 'backlog' AND due_at < now() - interval '800 s';";
    sqlx::raw_sql(backlog).execute(&mut c).await.unwrap();
    plan_as_hot(&mut c).await;
    let everywhere = pages_of_a_claim(&mut c, "'{}', '{}', '{}', '{}', '{}'").await;
    let front = "'{backlog}', '{backlog}', ARRAY[''], '{10}', ARRAY[now() - interval '810 s']";
    let known = pages_of_a_claim(&mut c, front).await;
    // What is claimed costs the same in both; 28,000 dead entries fill some 250 pages.
    assert!(everywhere > known + 150, "{everywhere} and {known} pages");
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_what_is_due_next_passes_over_other_sources() {
    let (_db, mut c) = filled_postgres().await;
    let backlog = "
        INSERT INTO delivery (id, event_id, handler, state, opened_at, due_at, source)
        SELECT gen_random_uuid(), id, 'backlog', 'pending', now(), now() + interval '1 hour', 'shop' FROM event;
        ANALYZE;";
    sqlx::raw_sql(backlog).execute(&mut c).await.unwrap();
    let next_due = include_str!("../../../../src/store/sql/next_due.postgres.sql");
    let known =
        "'{}', '{backlog,backlog,backlog}', ARRAY['', 'shop', 'till'], ARRAY[NULL, now(), now()]";
    let plan = explain(&mut c, next_due, known).await;
    plan.assert_uses("delivery_turn", &["handler", "COALESCE(source", "due_at"]);
    plan.assert_reads_at_most(3.0);
}
