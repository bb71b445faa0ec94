//! What the table's statements promise.

use bytes::Bytes;
use futures::future::join_all;
use hookonce::received::Headers;
use hookonce::store::idempotency::{
    KeyAnswer, KeyFilter, KeyFound, KeyLease, KeyRow, KeySettled, KeyState, KeyVerdict, key_version,
};
use hookonce::store::{Store, StoreError};

use super::{MINUTE, backdate, claim, id};
use crate::both_databases;

async fn claimed(store: &Store, key: &str, request: u8) -> KeyLease {
    match store.claim_key(claim(key, request)).await.unwrap() {
        KeyFound::Claimed(lease) => lease,
        KeyFound::Row(row) => panic!("{key} is taken: {row:?}"),
    }
}

async fn taken(store: &Store, key: &str, request: u8) -> KeyRow {
    match store.claim_key(claim(key, request)).await.unwrap() {
        KeyFound::Row(row) => *row,
        KeyFound::Claimed(lease) => panic!("{key} was free: {lease:?}"),
    }
}

fn answer(body: &'static [u8]) -> KeyAnswer {
    let mut headers = Headers::new();
    headers.push("content-type", "application/json");
    headers.push("x-odd", b"\xff: \xfe");
    KeyAnswer { status: 201, headers, body: Some(Bytes::from_static(body)), note: None }
}

both_databases!(one_of_fifty_concurrent_claims_gets_the_key, |db| async move {
    let store = db.store().await;
    let claims = (0..50).map(|_| store.claim_key(claim("k", 1)));
    let found = join_all(claims).await;
    let leases: Vec<_> = found
        .into_iter()
        .map(Result::unwrap)
        .filter(|found| matches!(found, KeyFound::Claimed(_)))
        .collect();
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert_eq!(db.number("SELECT CAST(attempts AS bigint) FROM idempotency_key").await, 1);
});

both_databases!(an_answer_comes_back_byte_for_byte, |db| async move {
    let store = db.store().await;
    let lease = claimed(&store, "k", 1).await;
    assert!(
        matches!(taken(&store, "k", 1).await.state, KeyState::Running { left } if left > MINUTE / 2)
    );
    let answer = answer(b"\x00\xff{}");
    let verdict = KeyVerdict::Completed(answer.clone());
    assert_eq!(store.settle_key(lease, verdict).await.unwrap(), KeySettled::Done);
    let row = taken(&store, "k", 1).await;
    assert_eq!(row.state, KeyState::Completed(answer));
    assert!(row.expires_in > 59 * MINUTE, "{:?}", row.expires_in);
    // Another request is told apart by its hash, and another principal has keys of its own.
    assert_eq!(taken(&store, "k", 2).await.request_hash, [1; 32]);
    let mut other = claim("k", 2);
    other.id.scope = "pay:other".to_owned();
    assert!(matches!(store.claim_key(other).await.unwrap(), KeyFound::Claimed(_)));
});

both_databases!(an_empty_body_is_an_answer_and_a_missing_one_is_not, |db| async move {
    let store = db.store().await;
    let lease = claimed(&store, "empty", 1).await;
    let empty = KeyVerdict::Completed(answer(b""));
    assert_eq!(store.settle_key(lease, empty).await.unwrap(), KeySettled::Done);
    let lease = claimed(&store, "large", 1).await;
    let note = Some("too large".to_owned());
    let large = KeyAnswer { body: None, note, ..answer(b"") };
    let verdict = KeyVerdict::Completed(large.clone());
    assert_eq!(store.settle_key(lease, verdict).await.unwrap(), KeySettled::Done);
    assert_eq!(taken(&store, "empty", 1).await.state, KeyState::Completed(answer(b"")));
    assert_eq!(taken(&store, "large", 1).await.state, KeyState::Completed(large));
});

both_databases!(a_lost_lease_can_neither_complete_nor_renew, |db| async move {
    let store = db.store().await;
    let first = claimed(&store, "k", 1).await;
    assert_eq!(store.take_key_over(claim("k", 1), first.epoch).await.unwrap(), None, "it is live");
    backdate(&db, "lease_until", "k").await;
    assert_eq!(taken(&store, "k", 1).await.state, KeyState::Lapsed);
    // Of two who take it over, one gets it; with another request nobody does.
    assert_eq!(store.take_key_over(claim("k", 2), first.epoch).await.unwrap(), None);
    let takers = join_all((0..8).map(|_| store.take_key_over(claim("k", 1), first.epoch))).await;
    let mut takers: Vec<_> = takers.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(takers.len(), 1);
    let second = takers.remove(0);
    assert_eq!(second.attempts, 2);
    assert!(second.epoch > first.epoch);
    assert!(!store.renew_key(first.clone(), MINUTE).await.unwrap());
    let late = KeyVerdict::Completed(answer(b"late"));
    assert_eq!(store.settle_key(first, late).await.unwrap(), KeySettled::LeaseLost);
    assert!(store.renew_key(second.clone(), MINUTE).await.unwrap());
    let good = KeyVerdict::Completed(answer(b"good"));
    assert_eq!(store.settle_key(second, good).await.unwrap(), KeySettled::Done);
    assert_eq!(taken(&store, "k", 1).await.state, KeyState::Completed(answer(b"good")));
});

both_databases!(a_released_key_runs_again_for_the_same_request_only, |db| async move {
    let store = db.store().await;
    let lease = claimed(&store, "k", 1).await;
    assert!(store.reach_key_point(lease.clone(), "charged".to_owned()).await.unwrap());
    let released = KeyVerdict::Released("answered 429".to_owned());
    assert_eq!(store.settle_key(lease.clone(), released).await.unwrap(), KeySettled::Done);
    assert_eq!(taken(&store, "k", 2).await.state, KeyState::Released);
    let again = claimed(&store, "k", 1).await;
    assert_eq!((again.attempts, again.recovery_point.as_deref()), (2, Some("charged")));
    assert!(again.epoch > lease.epoch);
    // The day runs from the first claim.
    assert_eq!(
        db.number("SELECT count(*) FROM idempotency_key WHERE status = 'processing'").await,
        1
    );
});

both_databases!(an_expired_key_is_free_at_once_with_the_cleaner_stopped, |db| async move {
    let store = db.store().await;
    let first = claimed(&store, "k", 1).await;
    // Never under a live lease.
    backdate(&db, "expires_at", "k").await;
    assert!(matches!(taken(&store, "k", 2).await.state, KeyState::Running { .. }));
    let done = KeyVerdict::Completed(answer(b"old"));
    assert_eq!(store.settle_key(first.clone(), done).await.unwrap(), KeySettled::Done);
    assert_eq!(store.find_key(id("k")).await.unwrap(), None);
    let second = claimed(&store, "k", 2).await;
    assert_eq!((second.attempts, second.recovery_point), (1, None));
    assert!(second.epoch > first.epoch);
    let late = KeyVerdict::Released("late".to_owned());
    assert_eq!(store.settle_key(first, late).await.unwrap(), KeySettled::LeaseLost);
    assert_eq!(taken(&store, "k", 2).await.request_hash, [2; 32]);
});

both_databases!(one_of_fifty_gets_an_expired_key, |db| async move {
    let store = db.store().await;
    claimed(&store, "k", 1).await;
    backdate(&db, "expires_at", "k").await;
    backdate(&db, "lease_until", "k").await;
    let found = join_all((0..50).map(|_| store.claim_key(claim("k", 2)))).await;
    let claimed = found.into_iter().filter(|it| matches!(it, Ok(KeyFound::Claimed(_)))).count();
    assert_eq!(claimed, 1);
});

both_databases!(a_late_answer_settles_what_was_uncertain, |db| async move {
    let store = db.store().await;
    let lease = claimed(&store, "k", 1).await;
    let why = "lost".to_owned();
    assert!(!store.doubt_key(id("k"), lease.epoch, why.clone()).await.unwrap(), "it is live");
    backdate(&db, "lease_until", "k").await;
    assert!(!store.doubt_key(id("k"), lease.epoch + 1, why.clone()).await.unwrap());
    assert!(store.doubt_key(id("k"), lease.epoch, why).await.unwrap());
    assert_eq!(taken(&store, "k", 1).await.state, KeyState::Uncertain);
    let done = KeyVerdict::Completed(answer(b"late"));
    assert_eq!(store.settle_key(lease, done).await.unwrap(), KeySettled::Done);
    assert_eq!(taken(&store, "k", 1).await.state, KeyState::Completed(answer(b"late")));
});

both_databases!(the_cleaner_never_deletes_a_live_lease, |db| async move {
    let store = db.store().await;
    for at in 0..250 {
        let lease = claimed(&store, &format!("old{at}"), 1).await;
        let done = KeyVerdict::Completed(answer(b"x"));
        assert_eq!(store.settle_key(lease, done).await.unwrap(), KeySettled::Done);
        backdate(&db, "expires_at", &format!("old{at}")).await;
    }
    claimed(&store, "live", 1).await;
    backdate(&db, "expires_at", "live").await;
    claimed(&store, "lapsed", 1).await;
    backdate(&db, "expires_at", "lapsed").await;
    backdate(&db, "lease_until", "lapsed").await;
    claimed(&store, "young", 1).await;
    assert_eq!(store.sweep_keys(100).await.unwrap(), 100);
    assert_eq!(store.sweep_keys(1000).await.unwrap(), 151);
    assert_eq!(store.sweep_keys(1000).await.unwrap(), 0);
    let left = db.texts("SELECT key FROM idempotency_key ORDER BY key").await;
    assert_eq!(left, ["live", "young"]);
});

both_databases!(keys_are_listed_in_pages_and_released_by_hand, |db| async move {
    let store = db.store().await;
    for at in 0..5 {
        claimed(&store, &format!("k{at}"), 1).await;
    }
    let mut filter = KeyFilter { limit: Some(2), ..KeyFilter::default() };
    let mut seen = Vec::new();
    loop {
        let page = store.keys(&filter).await.unwrap();
        seen.extend(page.items.into_iter().map(|item| item.key));
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["k0", "k1", "k2", "k3", "k4"]);
    let none = KeyFilter { scope: Some("pay:o*".to_owned()), ..KeyFilter::default() };
    assert!(store.keys(&none).await.unwrap().items.is_empty());
    let some = KeyFilter { scope: Some("pay:*".to_owned()), ..KeyFilter::default() };
    assert_eq!(store.keys(&some).await.unwrap().items.len(), 5);
    let bad = KeyFilter { cursor: Some("x".to_owned()), ..KeyFilter::default() };
    assert!(matches!(store.keys(&bad).await, Err(StoreError::Invalid(_))));

    let why = || "an operator said so".to_owned();
    assert!(!store.release_key(id("k0"), None, why()).await.unwrap(), "it is being run");
    assert!(!store.release_key(id("none"), None, why()).await.unwrap());
    backdate(&db, "lease_until", "k0").await;
    assert!(store.release_key(id("k0"), None, why()).await.unwrap());
    assert_eq!(claimed(&store, "k0", 1).await.attempts, 2);
});

both_databases!(what_changed_since_it_was_seen_is_not_released, |db| async move {
    let store = db.store().await;
    let lease = claimed(&store, "k", 1).await;
    let uncertain = KeyVerdict::Uncertain("a test".to_owned());
    let settled = store.settle_key(lease.clone(), uncertain).await.unwrap();
    assert_eq!(settled, KeySettled::Done);
    let version = || async {
        let page = store.keys(&KeyFilter::default()).await.unwrap();
        Some(key_version(&page.items[0]))
    };
    let seen = version().await;
    // Its answer comes after all, while the operator makes up their mind.
    let answer =
        KeyAnswer { status: 201, headers: Headers::new(), body: Some(Bytes::new()), note: None };
    let answered = store.settle_key(lease, KeyVerdict::Completed(answer)).await.unwrap();
    assert_eq!(answered, KeySettled::Done);
    let why = || "an operator said so".to_owned();
    assert!(!store.release_key(id("k"), seen, why()).await.unwrap());
    let row = store.find_key(id("k")).await.unwrap().unwrap();
    assert!(matches!(row.state, KeyState::Completed(_)), "the answer is still there: {row:?}");
    assert!(store.release_key(id("k"), version().await, why()).await.unwrap());
});
