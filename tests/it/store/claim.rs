//! Claiming and renewing: one lease at a time, under an epoch.

use std::collections::HashSet;
use std::time::Duration;

use entity::TryOutcome;
use hookonce::store::claim::Held;
use hookonce::store::{Settled, Store, Verdict};

use super::ground::{
    LEASE, claim, claim_one, delivered, event, event_of, fresh, name, room, settle, settlement,
};
use super::lane::in_lane;
use crate::both_databases;
use crate::support::wait::eventually;
use crate::support::{Kind, TestDatabase};

both_databases!(a_claim_leases_the_oldest_first_and_brings_the_event_along, |db| async move {
    let store = db.store().await;
    for at in 0..3 {
        fresh(&store, event(&format!("evt_{at}"), format!("body {at}").as_bytes(), &["a"])).await;
    }
    let claims = claim(&store, "a", 2).await;
    let bodies: Vec<_> =
        claims.iter().map(|claim| claim.event.as_ref().unwrap().body.clone()).collect();
    assert_eq!(bodies, ["body 0", "body 1"]);
    let first = &claims[0];
    assert_eq!((first.epoch, first.attempt, first.tried), (1, 1, 1));
    let read = first.event.as_ref().unwrap();
    assert_eq!((read.event_id.as_str(), read.kind.as_str()), ("evt_0", "order.paid"));
    assert_eq!(read.source, name("shop"));
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE state = 'leased'").await, 2);
});

both_databases!(what_is_leased_is_not_claimed_again, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    assert_eq!(claim(&store, "a", 10).await.len(), 1);
    assert_eq!(claim(&store, "a", 10).await.len(), 0);
});

both_databases!(each_handler_gets_no_more_than_its_room, |db| async move {
    let store = db.store().await;
    for at in 0..5 {
        fresh(&store, event(&format!("evt_{at}"), b"{}", &["a", "b", "c"])).await;
    }
    let claims = store.claim("w", vec![room("a", 2), room("b", 4)]).await.unwrap();
    let of = |handler: &str| claims.iter().filter(|claim| claim.handler == name(handler)).count();
    assert_eq!((of("a"), of("b"), of("c")), (2, 4, 0));
});

both_databases!(many_workers_share_the_work_without_overlap, |db| async move {
    let store = db.store().await;
    let batch = (0..200).map(|at| event(&format!("evt_{at}"), b"{}", &["a"])).collect();
    assert!(store.record_batch(batch).await.iter().all(Result::is_ok));
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..6 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claims = store.claim(&format!("w{worker}"), vec![room("a", 7)]).await.unwrap();
                if claims.is_empty() {
                    return mine;
                }
                mine.extend(claims.into_iter().map(|claim| claim.delivery));
            }
        });
    }
    let all: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(all.len(), 200);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 200);
});

both_databases!(a_delivery_that_is_due_later_waits, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let first = claim_one(&store, "a").await;
    let later = Verdict::Pending { after: Duration::from_secs(600), cause: "x".to_owned() };
    settle(&store, settlement(&first, later, TryOutcome::Retry)).await;
    assert!(claim(&store, "a", 1).await.is_empty());
    let until = store.next_due(vec![name("a")]).await.unwrap().unwrap();
    assert!((590..=600).contains(&until.as_secs()), "{until:?}");
    assert_eq!(store.next_due(vec![name("b")]).await.unwrap(), None);
});

both_databases!(renewing_keeps_a_lease_and_tells_which_are_lost, |db| async move {
    let store = db.store().await;
    for id in ["evt_1", "evt_2"] {
        fresh(&store, event(id, b"{}", &["a"])).await;
    }
    let claims = claim(&store, "a", 2).await;
    let held =
        |at: usize, epoch: i64| Held { delivery: claims[at].delivery, epoch, lease: 10 * LEASE };
    let lost = store.renew(vec![held(0, 1), held(1, 99)]).await.unwrap();
    assert_eq!((lost.lost, lost.busy), (vec![claims[1].delivery], Vec::new()));
    let (_, done) = delivered(&store, "evt_3", "b").await;
    let lost = store.renew(vec![Held { delivery: done, epoch: 1, lease: LEASE }]).await.unwrap();
    assert_eq!(lost.lost, [done], "a settled delivery has no lease");
});

both_databases!(a_claim_that_was_not_begun_is_given_back_uncounted, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let first = claim_one(&store, "a").await;
    store.unclaim(vec![(first.delivery, first.epoch)]).await.unwrap();
    let second = claim_one(&store, "a").await;
    assert_eq!((second.attempt, second.epoch), (1, 2));
    let stale = settlement(&first, Verdict::Delivered, TryOutcome::Delivered);
    let settled = store.settle_batch(vec![stale]).await.pop().unwrap().unwrap();
    assert_eq!(settled, Settled::LeaseLost);
});

both_databases!(a_claim_whose_body_is_gone_says_so, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    fresh(&store, event("evt_2", b"{}", &["a"])).await;
    db.run(
        "DELETE FROM event_body WHERE event_id = (SELECT id FROM event WHERE event_id = 'evt_1')",
    )
    .await;
    let claims = claim(&store, "a", 2).await;
    assert_eq!(claims.iter().filter(|claim| claim.event.is_none()).count(), 1);
    assert_eq!(claims.len(), 2, "the other one is not held up");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_fails_half_way_uses_up_no_try_on_sqlite() {
    let db = TestDatabase::sqlite().await;
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a", "b"])).await;
    db.run(
        "CREATE TRIGGER no_b BEFORE UPDATE ON delivery WHEN NEW.handler = 'b' AND NEW.state = 'leased'
         BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    )
    .await;
    store.claim("w", vec![room("a", 1), room("b", 1)]).await.unwrap_err();
    let first = claim_one(&store, "a").await;
    assert_eq!((first.attempt, first.tried), (1, 1));
}

/// Records and claims so many that the front of what is pending is remembered, and leaves `rest` pending.
async fn much_is_claimed(store: &Store, rest: usize) {
    for batch in 0..6 {
        let count = if batch == 5 { rest } else { 256 };
        let events = (0..count).map(|at| event(&format!("evt_{batch}_{at}"), b"{}", &["a"]));
        assert!(store.record_batch(events.collect()).await.iter().all(Result::is_ok));
    }
    let mut claimed = 0;
    while claimed < 5 * 256 {
        claimed += store.claim("w", vec![room("a", 256)]).await.unwrap().len();
    }
}

const LONG_AGO: &str = "UPDATE delivery SET due_at = LONG_AGO, source = 'SOURCE' WHERE id IN (
    SELECT id FROM delivery WHERE state = 'pending' ORDER BY due_at DESC LIMIT 1)";

const OLD: &str = "SELECT e.event_id FROM event e JOIN delivery d ON d.event_id = e.id WHERE d.source = 'another'";

const PATIENCE: Duration = Duration::from_secs(30);

/// One that is pending becomes due an hour ago, and of this source.
async fn one_becomes_due_long_ago(db: &TestDatabase, source: &str) {
    let long_ago = match db.kind() {
        Kind::Postgres => "now() - interval '1 hour'",
        Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 hour')",
    };
    db.run(&LONG_AGO.replace("LONG_AGO", long_ago).replace("SOURCE", source)).await;
}

both_databases!(what_becomes_due_long_ago_is_found_while_much_is_claimed, |db| async move {
    let store = db.store().await;
    much_is_claimed(&store, 50).await;
    one_becomes_due_long_ago(&db, "another").await;
    let old = db.texts(OLD).await;
    eventually(PATIENCE, "the old one to be claimed", || async {
        let claims = store.claim("w", vec![room("a", 1)]).await.unwrap();
        let ids = claims.into_iter().filter_map(|claim| Some(claim.event?.event_id));
        ids.into_iter().find(|id| *id == old[0])
    })
    .await;
});

both_databases!(what_is_told_to_be_due_is_found_by_the_next_claim, |db| async move {
    let store = db.store().await;
    much_is_claimed(&store, 1).await;
    one_becomes_due_long_ago(&db, "shop").await;
    eventually(PATIENCE, "it to be told", || async {
        store.next_due(vec![name("a")]).await.unwrap().filter(Duration::is_zero)
    })
    .await;
    assert_eq!(claim(&store, "a", 1).await.len(), 1);
});

both_databases!(
    what_is_given_back_is_found_by_the_next_claim_however_long_it_is_due,
    |db| async move {
        let store = db.store().await;
        much_is_claimed(&store, 1).await;
        let last = claim_one(&store, "a").await;
        db.run("UPDATE delivery SET due_at = '2026-01-01 00:00:00' WHERE state = 'leased'").await;
        store.unclaim(vec![(last.delivery, last.epoch)]).await.unwrap();
        assert_eq!(claim(&store, "a", 1).await.len(), 1);
    }
);

both_databases!(
    what_is_recorded_is_found_by_the_next_claim_whatever_source_it_is_of,
    |db| async move {
        let store = db.store().await;
        much_is_claimed(&store, 1).await;
        fresh(&store, event_of("till", "evt_1", b"{}", &["a"])).await;
        assert_eq!(claim(&store, "a", 2).await.len(), 2);
    }
);

// One that is handed on in its lane is due since it was recorded.
both_databases!(a_lane_is_handed_on_to_the_next_claim_while_much_is_claimed, |db| async move {
    let store = db.store().await;
    much_is_claimed(&store, 1).await;
    for id in ["evt_1", "evt_2"] {
        fresh(&store, in_lane(id, "lane", false)).await;
    }
    let first = claim(&store, "a", 2).await.pop().unwrap();
    assert_eq!(first.lane.as_deref(), Some("lane"));
    db.run("UPDATE delivery SET due_at = opened_at, source = 'another' WHERE lane_waits").await;
    settle(&store, settlement(&first, Verdict::Delivered, TryOutcome::Delivered)).await;
    assert_eq!(claim_one(&store, "a").await.lane.as_deref(), Some("lane"));
});
