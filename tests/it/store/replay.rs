//! Retry, replay, cancel, discard: what people do to deliveries.

use std::sync::Arc;

use entity::{State, TryOutcome};
use hookonce::store::replay_run::Target;
use hookonce::store::{LanePlace, Removed, Reopened, Settled, StoreError, Verdict};
use uuid::Uuid;

use super::ground::{claim_one, dead, delivered, event, fresh, name, settle, settlement};
use crate::both_databases;

both_databases!(
    a_retry_reopens_a_dead_delivery_under_its_id_with_a_fresh_budget,
    |db| async move {
        let store = db.store().await;
        let (_, delivery) = dead(&store, "evt_1", "a").await;
        assert_eq!(store.retry(delivery).await.unwrap(), Some(Reopened::Reopened(delivery)));
        let again = claim_one(&store, "a").await;
        assert_eq!(again.delivery, delivery);
        assert_eq!(
            (again.attempt, again.tried),
            (2, 1),
            "tries go on counting, the budget begins anew"
        );
        settle(&store, settlement(&again, Verdict::Delivered, TryOutcome::Delivered)).await;
        assert_eq!(
            store.retry(delivery).await.unwrap(),
            Some(Reopened::Skipped(delivery, State::Delivered))
        );
        assert_eq!(store.retry(Uuid::nil()).await.unwrap(), None);
    }
);

both_databases!(a_retry_makes_a_waiting_delivery_due_now, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let claim = claim_one(&store, "a").await;
    let after = std::time::Duration::from_secs(3600);
    let later = Verdict::Pending { after, cause: "x".to_owned() };
    settle(&store, settlement(&claim, later, TryOutcome::Retry)).await;
    assert_eq!(
        store.retry(claim.delivery).await.unwrap(),
        Some(Reopened::Reopened(claim.delivery))
    );
    let again = claim_one(&store, "a").await;
    assert_eq!(again.tried, 2, "the budget is not renewed");
});

both_databases!(
    replaying_skips_what_is_open_or_delivered_and_reopens_what_is_dead,
    |db| async move {
        let store = db.store().await;
        let event = fresh(&store, event("evt_1", b"{}", &["ok", "bad", "slow"])).await;
        let ok = claim_one(&store, "ok").await;
        settle(&store, settlement(&ok, Verdict::Delivered, TryOutcome::Delivered)).await;
        let bad = claim_one(&store, "bad").await;
        let verdict = Verdict::Dead { cause: "no".to_owned() };
        settle(&store, settlement(&bad, verdict, TryOutcome::Reject)).await;
        let done = store.replay(event, Vec::new(), false).await.unwrap();
        assert_eq!(done.len(), 3);
        assert!(done.contains(&Reopened::Skipped(ok.delivery, State::Delivered)));
        assert!(done.contains(&Reopened::Reopened(bad.delivery)));
        assert!(done.iter().any(|one| matches!(one, Reopened::Skipped(_, State::Pending))));
    }
);

both_databases!(again_makes_a_new_round_under_a_new_id, |db| async move {
    let store = db.store().await;
    let (event, first) = delivered(&store, "evt_1", "a").await;
    let done = store.replay(event, Vec::new(), true).await.unwrap();
    let [Reopened::New(second)] = done[..] else { panic!("{done:?}") };
    assert_ne!(first, second);
    // The new round is open: asking again makes no third one.
    let done = store.replay(event, Vec::new(), true).await.unwrap();
    assert_eq!(done, [Reopened::Skipped(second, State::Pending)]);
    assert_eq!(db.number("SELECT cast(max(round) AS bigint) FROM delivery").await, 1);
});

both_databases!(a_handler_that_did_not_exist_then_can_be_given_the_event, |db| async move {
    let store = db.store().await;
    let (event, _) = delivered(&store, "evt_1", "old").await;
    let place = |lane: String| LanePlace { lane, skip_dead: true };
    let to_new = Target {
        handler: name("new"),
        takes: Arc::new(|_, _| true),
        lane: Some(Arc::new(move |_, body| place(format!("{body:?}")))),
    };
    let done = store.replay(event, vec![to_new], false).await.unwrap();
    let [Reopened::New(made)] = done[..] else { panic!("{done:?}") };
    assert_eq!(claim_one(&store, "new").await.delivery, made);
    let (row, _) = store.delivery(made).await.unwrap().unwrap();
    assert_eq!(row.delivery.lane.as_deref(), Some("b\"{}\""), "it stands in the lane of its body");
    assert!(row.delivery.lane_skip);
});

both_databases!(an_event_whose_body_is_gone_can_not_be_delivered_again, |db| async move {
    let store = db.store().await;
    let (event, _) = delivered(&store, "evt_1", "a").await;
    db.run("DELETE FROM event_body").await;
    let error = store.replay(event, Vec::new(), true).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
});

both_databases!(many_replays_at_once_make_one_round, |db| async move {
    let store = db.store().await;
    let (event, _) = delivered(&store, "evt_1", "a").await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        tasks.spawn(async move { store.replay(event, Vec::new(), true).await.unwrap() });
    }
    let done: Vec<Reopened> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(done.iter().filter(|one| matches!(one, Reopened::New(_))).count(), 1, "{done:?}");
    assert_eq!(db.number("SELECT count(*) FROM delivery").await, 2);
});

both_databases!(a_cancelled_delivery_fences_the_worker_that_has_it, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let claim = claim_one(&store, "a").await;
    assert_eq!(store.cancel(claim.delivery).await.unwrap(), Removed::Done);
    let late = settlement(&claim, Verdict::Delivered, TryOutcome::Delivered);
    assert_eq!(store.settle_batch(vec![late]).await.pop().unwrap().unwrap(), Settled::LeaseLost);
    assert_eq!(store.cancel(claim.delivery).await.unwrap(), Removed::Skipped(State::Cancelled));
    assert_eq!(store.cancel(Uuid::nil()).await.unwrap(), Removed::NotFound);
});

both_databases!(only_a_dead_delivery_can_be_discarded, |db| async move {
    let store = db.store().await;
    let (_, gone) = dead(&store, "evt_1", "a").await;
    assert_eq!(store.discard(gone).await.unwrap(), Removed::Done);
    let (_, done) = delivered(&store, "evt_2", "a").await;
    assert_eq!(store.discard(done).await.unwrap(), Removed::Skipped(State::Delivered));
    let (row, _) = store.delivery(gone).await.unwrap().unwrap();
    assert_eq!(row.delivery.state, State::Cancelled);
    assert!(row.delivery.cause.unwrap().contains("was dead: no"));
});
