//! Lanes: of one lane the next delivery never begins before the one before it is final.

use std::time::Duration;

use entity::{State, TryOutcome};
use hookonce::store::{LanePlace, NewEvent, Removed, Reopened, Settlement, Store, Verdict};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};
use uuid::Uuid;

use super::ground::{claim, claim_one, event, fresh, name, settle, settlement};
use super::plan::{FILL_SQLITE, explain, filled_postgres, plan_as_hot};
use crate::both_databases;
use crate::support::TestDatabase;

/// An event for handler `a` in this lane.
pub(super) fn in_lane(id: &str, lane: &str, skip_dead: bool) -> NewEvent {
    let mut event = event(id, b"{}", &["a"]);
    event.deliveries[0].lane = Some(LanePlace { lane: lane.to_owned(), skip_dead });
    event
}

/// Records these in one lane, one after the other, and gives their deliveries.
async fn lane_of(store: &Store, lane: &str, skip_dead: bool, ids: &[&str]) -> Vec<Uuid> {
    let mut deliveries = Vec::new();
    for id in ids {
        let event = in_lane(id, lane, skip_dead);
        deliveries.push(event.deliveries[0].id);
        fresh(store, event).await;
    }
    deliveries
}

async fn claimed(store: &Store) -> Vec<Uuid> {
    claim(store, "a", 99).await.into_iter().map(|claim| claim.delivery).collect()
}

/// Claims the one that is due and lets it end so.
async fn end(store: &Store, verdict: Verdict) -> Uuid {
    let claim = claim_one(store, "a").await;
    settle(store, settlement(&claim, verdict, TryOutcome::Delivered)).await;
    claim.delivery
}

fn dead() -> Verdict {
    Verdict::Dead { cause: "no".to_owned() }
}

both_databases!(the_next_waits_until_the_one_before_it_is_final, |db| async move {
    let store = db.store().await;
    let x = lane_of(&store, "x", false, &["x1", "x2", "x3"]).await;
    let y = lane_of(&store, "y", false, &["y1"]).await;
    // Without a lane, and in the same lane of another handler: neither waits.
    let mut other = in_lane("o1", "x", false);
    other.deliveries[0].handler = name("b");
    fresh(&store, other).await;
    fresh(&store, event("free", b"{}", &["a"])).await;
    let first = claim(&store, "a", 99).await;
    assert_eq!(first.len(), 3, "the heads of two lanes, and the one without");
    assert_eq!(claim(&store, "b", 99).await.len(), 1);
    assert!(claimed(&store).await.is_empty(), "x2 and x3 wait");
    assert_eq!(store.next_due(vec![name("a")]).await.unwrap(), None);
    let waiting = &store.backlog(vec![name("a")]).await.unwrap()[0];
    assert_eq!((waiting.pending, waiting.oldest), (2, Duration::ZERO), "they are counted");

    // Failed and due later is not final.
    let head = first.iter().find(|claim| claim.delivery == x[0]).unwrap();
    let later = Verdict::Pending { after: Duration::ZERO, cause: "again".to_owned() };
    settle(&store, settlement(head, later, TryOutcome::Retry)).await;
    let again = claim(&store, "a", 99).await;
    assert_eq!(again.iter().map(|claim| claim.delivery).collect::<Vec<_>>(), [x[0]]);
    // Given back is not final either.
    store.unclaim(vec![(x[0], again[0].epoch)]).await.unwrap();
    let again = claim(&store, "a", 99).await;
    assert_eq!(again.iter().map(|claim| claim.delivery).collect::<Vec<_>>(), [x[0]]);
    settle(&store, settlement(&again[0], Verdict::Delivered, TryOutcome::Delivered)).await;
    assert_eq!(claimed(&store).await, [x[1]]);
    assert_eq!(store.cancel(x[1]).await.unwrap(), Removed::Done);
    assert_eq!(claimed(&store).await, [x[2]], "a cancelled one is final");
    assert!(first.iter().any(|claim| claim.delivery == y[0]));
});

both_databases!(a_batch_settles_many_lanes_and_records_in_the_order_of_events, |db| async move {
    let store = db.store().await;
    let batch: Vec<NewEvent> =
        (0..120).map(|at| in_lane(&format!("e{at:03}"), &format!("l{}", at % 40), false)).collect();
    assert!(store.record_batch(batch).await.iter().all(Result::is_ok));
    for turn in 0..3 {
        let claims = claim(&store, "a", 200).await;
        let mut ids: Vec<String> =
            claims.iter().map(|it| it.event.as_ref().unwrap().event_id.clone()).collect();
        ids.sort();
        let want: Vec<String> = (0..40).map(|at| format!("e{:03}", turn * 40 + at)).collect();
        assert_eq!(ids, want, "turn {turn}");
        let done: Vec<Settlement> = claims
            .iter()
            .map(|claim| settlement(claim, Verdict::Delivered, TryOutcome::Delivered))
            .collect();
        assert!(store.settle_batch(done).await.iter().all(Result::is_ok));
    }
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE lane_head OR lane_waits").await, 0);
});

both_databases!(a_dead_one_stops_its_lane_until_it_is_retried_or_discarded, |db| async move {
    let store = db.store().await;
    let x = lane_of(&store, "x", false, &["x1", "x2", "x3"]).await;
    assert_eq!(end(&store, dead()).await, x[0]);
    assert!(claimed(&store).await.is_empty(), "the lane is stopped");
    assert_eq!(store.retry(x[0]).await.unwrap(), Some(Reopened::Reopened(x[0])));
    assert_eq!(end(&store, dead()).await, x[0], "the same one, not the next");
    assert_eq!(store.discard(x[0]).await.unwrap(), Removed::Done);
    assert_eq!(end(&store, dead()).await, x[1]);
    // Its event is cleaned up: nobody could free the lane any more.
    db.run("DELETE FROM attempt").await;
    db.run("DELETE FROM delivery WHERE state = 'dead'").await;
    assert_eq!(claimed(&store).await, [x[2]]);
});

both_databases!(where_the_lane_skips_a_dead_one_a_retry_gets_in_line_again, |db| async move {
    let store = db.store().await;
    let x = lane_of(&store, "x", true, &["x1", "x2", "x3"]).await;
    assert_eq!(end(&store, dead()).await, x[0]);
    let second = claim_one(&store, "a").await;
    assert_eq!(second.delivery, x[1]);
    assert_eq!(store.retry(x[0]).await.unwrap(), Some(Reopened::Reopened(x[0])));
    assert!(claimed(&store).await.is_empty(), "x2 runs, so x1 waits");
    settle(&store, settlement(&second, Verdict::Delivered, TryOutcome::Delivered)).await;
    assert_eq!(end(&store, Verdict::Delivered).await, x[0], "the oldest that waits is next");
    assert_eq!(end(&store, Verdict::Delivered).await, x[2]);
});

both_databases!(another_round_goes_to_the_end_of_its_lane, |db| async move {
    let store = db.store().await;
    let first = in_lane("x1", "x", false);
    let (event, old) = (first.id, first.deliveries[0].id);
    fresh(&store, first).await;
    assert_eq!(end(&store, Verdict::Delivered).await, old);
    let rest = lane_of(&store, "x", false, &["x2", "x3"]).await;
    let Reopened::New(round) = store.replay(event, Vec::new(), true).await.unwrap()[0] else {
        panic!("no new round")
    };
    for want in [rest[0], rest[1], round] {
        assert_eq!(end(&store, Verdict::Delivered).await, want);
    }
});

both_databases!(the_wait_for_its_turn_does_not_count_against_its_retries, |db| async move {
    let store = db.store().await;
    let x = lane_of(&store, "x", false, &["x1", "x2"]).await;
    let hour = match db.kind() {
        crate::support::Kind::Postgres => "now() - interval '1 hour'",
        crate::support::Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 hour')",
    };
    db.run(&format!("UPDATE delivery SET opened_at = {hour}")).await;
    end(&store, Verdict::Delivered).await;
    let second = claim_one(&store, "a").await;
    assert_eq!(second.delivery, x[1]);
    assert!(second.open_for < Duration::from_secs(600), "{:?}", second.open_for);
    let (row, _) = store.delivery(x[1]).await.unwrap().unwrap();
    assert_eq!((row.delivery.state, row.delivery.lane.as_deref()), (State::Leased, Some("x")));
});

both_databases!(the_database_takes_no_second_head, |db| async move {
    let store = db.store().await;
    lane_of(&store, "x", false, &["x1", "x2"]).await;
    let error = db.try_run("UPDATE delivery SET lane_head = true, lane_waits = false").await;
    assert!(error.is_err(), "{error:?}");
});

/// One lane with 100,000 that wait, and 100,000 lanes with one each.
const MANY: &str = "
    UPDATE delivery SET state = 'pending', settled_at = NULL, lane = 'one', lane_order = 1, lane_waits = true
     WHERE handler = 'a';
    INSERT INTO delivery (id, event_id, handler, state, opened_at, due_at, lane, lane_order, lane_head)
    SELECT id, id, 'many', 'pending', received_at, received_at, event_id, 1, true FROM event;
    ANALYZE;";

#[tokio::test(flavor = "multi_thread")]
async fn postgres_claims_from_many_lanes_by_reading_few_rows() {
    let (_db, mut c) = filled_postgres().await;
    let fill = format!("ALTER TABLE delivery DISABLE TRIGGER USER; {MANY}");
    sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut c).await.unwrap();
    plan_as_hot(&mut c).await;
    let claim = include_str!("../../../src/store/sql/claim.postgres.sql");
    let arguments = "ARRAY['a', 'many'], ARRAY[256, 256]::int8[], ARRAY[30, 30]::float8[], 'w', '{}', '{}', '{}', '{}', '{}'";
    let plan = explain(&mut c, claim, arguments).await;
    plan.assert_uses("delivery_turn", &["handler", "COALESCE(source", "due_at"]);
    plan.assert_reads_at_most(512.0);
    assert_triggers_use_indexes(&mut c).await;
}

/// What the triggers ask, in their words.
async fn assert_triggers_use_indexes(c: &mut PgConnection) {
    let head = "SELECT EXISTS (SELECT FROM delivery d WHERE d.handler = $1 AND d.lane = $2 AND d.lane_head)";
    let plan = explain(c, head, "'many', 'none'").await;
    plan.assert_uses("delivery_lane_head", &["handler", "lane"]);
    plan.assert_reads_at_most(8.0);
    let next = "SELECT d.id FROM delivery d WHERE d.handler = $1 AND d.lane = $2 AND d.lane_waits ORDER BY d.lane_order LIMIT 1";
    let plan = explain(c, next, "'a', 'one'").await;
    plan.assert_uses("delivery_lane_waits", &["handler", "lane"]);
    plan.assert_reads_at_most(8.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_claims_from_many_lanes_by_its_indexes() {
    let db = TestDatabase::sqlite().await;
    let mut connection = SqliteConnection::connect(&db.url()).await.unwrap();
    for sql in [FILL_SQLITE, "DROP TRIGGER delivery_lane_enter", MANY] {
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
    for (sql, index) in [
        (
            include_str!("../../../src/store/sql/claim.sqlite.sql"),
            "INDEX delivery_turn (handler=? AND <expr>=? AND due_at<?)",
        ),
        (
            "SELECT EXISTS (SELECT 1 FROM delivery d WHERE d.handler = ?1 AND d.lane = ?2 AND d.lane_head)",
            "INDEX delivery_lane_head (handler=? AND lane=?)",
        ),
        (
            "SELECT id FROM delivery d WHERE d.handler = ?1 AND d.lane = ?2 AND d.lane_waits ORDER BY d.lane_order LIMIT 1",
            "INDEX delivery_lane_waits (handler=? AND lane=?)",
        ),
        (
            "SELECT coalesce(max(lane_order), 0) + 1 FROM delivery WHERE lane_order IS NOT NULL",
            "COVERING INDEX delivery_lane_order",
        ),
    ] {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = sqlx::raw_sql(explain).fetch_all(&mut connection).await.unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        let plan = lines.join("\n");
        assert!(plan.contains(index), "{index} is not in:\n{plan}");
        let whole = lines.iter().find(|line| line.starts_with("SCAN d"));
        assert!(whole.is_none() && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
}
