//! What a function begins within the transaction that it works in, and what of that fails or is given up.
//!
//! The driver undoes a `begin()` that fails or is dropped at the wrong depth, and so ends the outer transaction:
//! what follows on the connection must neither be settled nor stand.

use std::time::Duration;

use futures::FutureExt;
use hookonce::received::Headers;
use hookonce::store::effect::{Effected, Kept, Tx};
use hookonce::store::idempotency::{KeyAnswer, KeySettled, KeyTransaction, KeyVerdict};
use hookonce::store::{Store, Verdict};
use sqlx::{Connection, Executor};

use super::account;
use crate::both_databases;
use crate::store::ground::{claim_one, event, fresh, settlement};
use crate::support::TestDatabase;

const ADD: &str = "UPDATE acct SET n = n + 1";

/// What a function does on its connection, and passes over.
#[derive(Debug, Clone, Copy)]
enum Story {
    Commits,
    RollsBack,
    BeginFails,
    BeginFailsAndMore,
    InnerBeginFails,
    BeginDropped,
    BeginDroppedAndMore,
    BeginDroppedAndBegun,
    InnerBeginDropped,
    Leaks,
}

impl Story {
    const ALL: [Self; 10] = [
        Self::Commits,
        Self::RollsBack,
        Self::BeginFails,
        Self::BeginFailsAndMore,
        Self::InnerBeginFails,
        Self::BeginDropped,
        Self::BeginDroppedAndMore,
        Self::BeginDroppedAndBegun,
        Self::InnerBeginDropped,
        Self::Leaks,
    ];

    /// How much it counts when it is settled.
    fn counts(self) -> i64 {
        match self {
            Self::BeginFailsAndMore | Self::BeginDroppedAndMore | Self::BeginDroppedAndBegun => 2,
            _ => 1,
        }
    }
}

/// Plays a story on a connection of either driver.
macro_rules! play {
    ($story:expr, $connection:expr) => {{
        let connection = $connection;
        match $story {
            Story::Commits => {
                let mut inner = connection.begin().await.unwrap();
                inner.execute(ADD).await.unwrap();
                inner.commit().await.unwrap();
            }
            Story::RollsBack => {
                connection.execute(ADD).await.unwrap();
                let mut inner = connection.begin().await.unwrap();
                inner.execute(ADD).await.unwrap();
                inner.rollback().await.unwrap();
            }
            Story::BeginFails | Story::BeginFailsAndMore => {
                connection.execute(ADD).await.unwrap();
                assert!(connection.execute("SELECT nothing").await.is_err());
                // On PostgreSQL nothing can be begun in a transaction that has failed.
                drop(connection.begin().await);
                if matches!($story, Story::BeginFailsAndMore) {
                    drop(connection.execute(ADD).await);
                }
            }
            Story::InnerBeginFails => {
                connection.execute(ADD).await.unwrap();
                let mut inner = connection.begin().await.unwrap();
                assert!(inner.execute("SELECT nothing").await.is_err());
                drop(inner.begin().await);
            }
            Story::BeginDropped => {
                connection.execute(ADD).await.unwrap();
                drop(connection.begin().now_or_never());
            }
            Story::BeginDroppedAndMore => {
                connection.execute(ADD).await.unwrap();
                drop(connection.begin().now_or_never());
                drop(connection.execute(ADD).await);
            }
            Story::BeginDroppedAndBegun => {
                connection.execute(ADD).await.unwrap();
                drop(connection.begin().now_or_never());
                if let Ok(mut inner) = connection.begin().await {
                    drop(inner.execute(ADD).await);
                    drop(inner.commit().await);
                }
            }
            Story::InnerBeginDropped => {
                connection.execute(ADD).await.unwrap();
                let mut inner = connection.begin().await.unwrap();
                drop(inner.begin().now_or_never());
            }
            Story::Leaks => {
                connection.execute(ADD).await.unwrap();
                std::mem::forget(connection.begin().await.unwrap());
            }
        }
    }};
}

async fn in_effect(story: Story, tx: &mut Tx<'_>) {
    if let Some(connection) = tx.postgres() {
        play!(story, connection);
    } else if let Some(connection) = tx.sqlite() {
        play!(story, connection);
    }
}

async fn in_key(story: Story, transaction: &mut KeyTransaction) {
    if let Some(connection) = transaction.postgres() {
        play!(story, connection);
    } else if let Some(connection) = transaction.sqlite() {
        play!(story, connection);
    }
}

async fn counted(db: &TestDatabase) -> i64 {
    db.number("SELECT n FROM acct").await
}

/// Plays a story for a delivery of its own; whether it was settled.
async fn settled(store: &Store, story: Story, id: &str) -> bool {
    fresh(store, event(id, b"{}", &["a"])).await;
    let claim = claim_one(store, "a").await;
    let settlement = settlement(&claim, Verdict::Delivered, entity::TryOutcome::Delivered);
    let ended = store
        .settle_with(settlement, Duration::from_secs(10), move |mut tx| {
            Box::pin(async move {
                in_effect(story, &mut tx).await;
                Ok::<_, String>(Kept::default())
            })
        })
        .await;
    let settled = matches!(ended, Ok(Effected::Settled));
    println!("{story:?}: {ended:?}");
    let row = store.delivery(claim.delivery).await.unwrap().unwrap().0;
    let state = if settled { entity::State::Delivered } else { entity::State::Leased };
    assert_eq!(row.delivery.state, state, "{story:?}: {ended:?}");
    settled
}

both_databases!(a_delivery_is_settled_with_all_of_its_effect_or_not_at_all, |db| async move {
    account(&db).await;
    let store = db.store().await;
    for (at, story) in Story::ALL.into_iter().enumerate() {
        let before = counted(&db).await;
        let settled = settled(&store, story, &format!("evt_{at}")).await;
        let stands = counted(&db).await - before;
        assert_eq!(stands, if settled { story.counts() } else { 0 }, "{story:?}: {settled}");
    }
    // The connections are none the worse.
    for at in 0..12 {
        for story in [Story::Commits, Story::RollsBack] {
            assert!(settled(&store, story, &format!("more_{at}_{story:?}")).await, "{story:?}");
        }
    }
});

both_databases!(a_key_is_kept_with_all_of_its_work_or_not_at_all, |db| async move {
    account(&db).await;
    let store = db.store().await;
    for (at, story) in Story::ALL.into_iter().enumerate() {
        let before = counted(&db).await;
        let claim = crate::idempotency::claim(&format!("k{at}"), 1);
        let mut transaction = store.begin_with_key(claim).await.unwrap().unwrap();
        in_key(story, &mut transaction).await;
        let answer = KeyAnswer { status: 201, headers: Headers::new(), body: None, note: None };
        let ended = transaction.settle(KeyVerdict::Completed(answer)).await;
        let kept = matches!(ended, Ok(KeySettled::Done));
        println!("{story:?}: {ended:?}");
        let stands = counted(&db).await - before;
        assert_eq!(stands, if kept { story.counts() } else { 0 }, "{story:?}: {ended:?}");
        let keys = format!("SELECT count(*) FROM idempotency_key WHERE key = 'k{at}'");
        assert_eq!(db.number(&keys).await, i64::from(kept), "{story:?}: {ended:?}");
    }
});
