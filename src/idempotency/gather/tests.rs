use super::*;
use std::time::Duration;

use crate::store::idempotency::{KeyClaim, KeyRow, KeyState};

type Answered = oneshot::Receiver<Option<Result<KeyFound, StoreError>>>;

fn bid(key: &str, until: Option<Instant>) -> (Bidding, Answered) {
    let id = KeyId { scope: "pay:someone".to_owned(), key: key.to_owned() };
    let (lease, ttl) = (Duration::from_secs(60), Duration::from_secs(3600));
    let wish = KeyBid::new(KeyClaim { id, request_hash: [1; 32], lease, ttl });
    let (answer, answered) = oneshot::channel();
    (Bidding { wish, until, answer }, answered)
}

fn row(state: KeyState) -> KeyFound {
    KeyFound::Row(Box::new(KeyRow {
        request_hash: [1; 32],
        state,
        epoch: 1,
        attempts: 1,
        recovery_point: None,
        expires_in: Duration::from_secs(60),
        expires_at: 0,
    }))
}

/// A batch of `each` for every key, and what they are told.
fn batch(keys: &[&str], each: usize) -> (Split<KeyBid, KeyFound>, Vec<Answered>) {
    let (batch, answers) =
        keys.iter().flat_map(|key| (0..each).map(|_| bid(key, None))).unzip::<_, _, Vec<_>, _>();
    (Split::of(batch, |bid| &bid.claim.id), answers)
}

#[test]
fn who_wants_a_key_that_no_batch_answers_takes_no_place_in_the_next() {
    let (Split { first, others }, mut answers) = batch(&["large", "busy"], 60);
    let busy = row(KeyState::Running { left: Duration::from_secs(9) });
    let left = deal_out(first, others, vec![None, Some(busy)]);
    assert!(left.is_empty(), "{} come again", left.len());
    for answer in &mut answers[..60] {
        assert!(matches!(answer.try_recv(), Ok(None)), "it asks by itself");
    }
    for answer in &mut answers[60..] {
        assert!(matches!(answer.try_recv(), Ok(Some(Ok(KeyFound::Row(_))))));
    }
}

#[test]
fn who_may_have_the_key_comes_again() {
    let (Split { first, others }, _answers) = batch(&["given back"], 3);
    assert_eq!(deal_out(first, others, vec![Some(row(KeyState::Released))]).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn whom_nobody_waits_for_any_longer_is_not_asked_for() {
    let (hand_in, mut waiting) = mpsc::channel(8);
    let until = |secs| Some(Instant::now() + Duration::from_secs(secs));
    let (left, mut crowded) = bid("left", until(2));
    let (late, mut late_too) = bid("late", until(2));
    let (kept, mut kept_one) = bid("kept", until(9));
    let (must, mut must_be) = bid("must", None);
    for one in [late, kept, must] {
        hand_in.send(one).await.expect("room");
    }
    tokio::time::advance(Duration::from_secs(3)).await;
    let batch = gather(vec![left], &mut waiting, |_| 0).await.expect("a batch");
    let keys: Vec<_> = batch.iter().map(|one| one.wish.claim.id.key.as_str()).collect();
    assert_eq!(keys, ["kept", "must"]);
    for told in [&mut crowded, &mut late_too] {
        let Ok(Some(Err(why))) = told.try_recv() else { panic!("it was not told") };
        assert!(why.is_transient() && !why.is_fate_unknown(), "{why:?}");
    }
    assert!(kept_one.try_recv().is_err() && must_be.try_recv().is_err(), "nothing is said yet");
}
