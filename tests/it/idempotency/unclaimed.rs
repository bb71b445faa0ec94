//! Claims that nobody heard of, and keys that can't be claimed for a while: nothing is run twice, and nothing stays taken.

use std::sync::Arc;
use std::time::Duration;

use entity::Name;
use hookonce::idempotency::{Begun, Engine, Refusal, Rules};
use hookonce::metric::Metrics;
use hookonce::store::Store;
use hookonce::store::StoreSettings;
use hookonce::store::idempotency::{KeyBid, KeyFound, KeySettled, KeyVerdict};
use sqlx::{Connection, Executor, PgConnection};

use super::{PATIENCE, claim, id};
use crate::both_databases;
use crate::support::{Link, TestDatabase, eventually, within};

fn rules(fail_open: bool) -> Arc<Rules> {
    Arc::new(Rules { fail_open, ..Rules::new(Name::new("pay").unwrap()) })
}

/// Holds up each COMMIT of a new row of the table for as long as somebody has the advisory lock: at no lock of its own,
/// so that no time-out ends it.
pub fn held_up(table: &str) -> String {
    format!(
        "CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             LOOP EXIT WHEN pg_try_advisory_xact_lock_shared(1); PERFORM pg_sleep(0.01); END LOOP;
             RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER hold_up AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION hold_up()"
    )
}

/// How many COMMITs are held up.
pub const HELD_UP: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event = 'PgSleep'";

/// Takes the lock that holds them up, until it is closed.
pub async fn holder(db: &TestDatabase) -> PgConnection {
    let mut holder = PgConnection::connect(&db.url()).await.unwrap();
    holder.execute("SELECT pg_advisory_lock(1)").await.unwrap();
    holder
}

/// A store whose way to the database is the link.
pub async fn behind(db: &TestDatabase) -> (Link, Store) {
    let url = db.url();
    let server = url.split(['@', '/']).nth(3).unwrap().to_owned();
    let link = Link::to(server.clone()).await;
    let url = url.replace(&server, &format!("127.0.0.1:{}", link.port));
    let store = Store::open(&StoreSettings { url, ..db.settings() }).await.unwrap();
    (link, store)
}

const STATUS: &str = "SELECT status FROM idempotency_key WHERE key = 'k'";

/// A key whose claim was committed while its answer, and each look after it, came to nothing.
async fn lost(db: &TestDatabase, rules: &Arc<Rules>) -> (Link, Engine, Begun) {
    let (link, store) = behind(db).await;
    let engine = Engine::new(store, Metrics::new()).patient(PATIENCE);
    db.run(&held_up("idempotency_key")).await;
    let holder = holder(db).await;
    let asked = tokio::spawn({
        let (engine, rules) = (engine.clone(), Arc::clone(rules));
        async move { engine.begin(claim("k", 1), &rules).await }
    });
    eventually(PATIENCE, "the claim under way", || async {
        (db.number(HELD_UP).await == 1).then_some(())
    })
    .await;
    link.fall_silent().await;
    holder.close().await.unwrap();
    eventually(PATIENCE, "its commit", || async {
        (db.texts(STATUS).await == ["processing"]).then_some(())
    })
    .await;
    let begun = within(2 * PATIENCE, "a decision", asked).await.unwrap();
    (link, engine, begun)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_nobody_heard_of_is_given_back() {
    let db = TestDatabase::postgres().await;
    let rules = rules(false);
    let (link, engine, begun) = lost(&db, &rules).await;
    assert!(matches!(begun, Begun::Refused(Refusal::Unavailable)), "{begun:?}");
    link.take_over().await;
    eventually(2 * PATIENCE, "the key to be free", || async {
        (db.texts(STATUS).await == ["failed"]).then_some(())
    })
    .await;
    let Begun::Run(run) = engine.begin(claim("k", 1), &rules).await else { panic!("taken") };
    assert_eq!(run.attempt(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_have_run_unguarded_keeps_the_key_from_a_second_run() {
    let db = TestDatabase::postgres().await;
    let rules = rules(true);
    let (link, engine, begun) = lost(&db, &rules).await;
    assert!(matches!(begun, Begun::Unguarded), "{begun:?}");
    link.take_over().await;
    // The store is reached again, and the key is nobody's to run.
    eventually(2 * PATIENCE, "a decision of the database", || async {
        match engine.begin(claim("k", 1), &rules).await {
            Begun::Refused(Refusal::InProgress) => Some(()),
            Begun::Unguarded => None,
            other => panic!("{other:?}"),
        }
    })
    .await;
}

/// The claim comes through after its request was let run unguarded: then its key isn't given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_claimed_too_late_for_a_request_that_runs_unguarded_stays_taken() {
    let db = TestDatabase::postgres().await;
    let rules = rules(true);
    // Long enough for the claim to be begun: one that isn't in time is dropped. Its COMMIT is held up for longer.
    let engine = Engine::new(db.store().await, Metrics::new()).patient(Duration::from_secs(3));
    db.run(&held_up("idempotency_key")).await;
    let holder = holder(&db).await;
    let begun = engine.begin(claim("k", 1), &rules).await;
    assert!(matches!(begun, Begun::Unguarded), "{begun:?}");
    holder.close().await.unwrap();
    eventually(PATIENCE, "the claim", || async {
        (db.number("SELECT count(*) FROM idempotency_key WHERE key = 'k'").await == 1).then_some(())
    })
    .await;
    // Whatever is given back goes the way of these, and went before them.
    let patient = engine.clone().patient(PATIENCE);
    for key in ["a", "b", "c"] {
        let Begun::Run(run) = patient.begin(claim(key, 1), &rules).await else { panic!("{key}") };
        run.give_back("a test").await;
    }
    assert_eq!(db.texts(STATUS).await, ["processing"]);
}

both_databases!(
    a_withdrawn_claim_is_free_and_its_delayed_statement_takes_it_no_more,
    |db| async move {
        let store = db.store().await;
        let [lost, never] = [(); 2].map(|()| KeyBid::new(claim("k", 1)));
        let found = store.bid_for_key(lost.clone(), false).await.unwrap();
        let KeyFound::Claimed(lease) = found else { panic!("{found:?}") };
        assert_eq!(store.withdraw_key(id("k"), never.epoch).await.unwrap(), KeySettled::LeaseLost);
        assert_eq!(store.withdraw_key(id("k"), lost.epoch).await.unwrap(), KeySettled::Done);
        // The same statement once more, alone and in a batch, as a server does that got it late.
        store.bid_for_key(lost.clone(), false).await.unwrap_err();
        assert_eq!(store.bid_for_keys(vec![lost]).await.unwrap(), [None]);
        let row = store.find_key(id("k")).await.unwrap().unwrap();
        assert_eq!((row.epoch, row.attempts), (lease.epoch, 1));
        let again = store.claim_key(claim("k", 1)).await.unwrap();
        let KeyFound::Claimed(again) = again else { panic!("{again:?}") };
        assert_eq!(again.attempts, 2);
        assert_eq!(store.withdraw_key(id("k"), lease.epoch).await.unwrap(), KeySettled::LeaseLost);
        let end = KeyVerdict::Uncertain("a test".to_owned());
        assert_eq!(
            store.settle_key(again, end).await.unwrap(),
            KeySettled::Done,
            "it still has it"
        );
    }
);

/// Somebody works on the key in an open transaction: the store isn't away, so nobody runs beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_a_transaction_holds_is_not_run_unguarded() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    // The second is over while the database is still waiting for the key, which it has said after a second.
    for patience in [PATIENCE, Duration::from_millis(4500)] {
        // Its own each time: an idle one is ended after ten seconds.
        let held = store.begin_with_key(claim("k", 1)).await.unwrap().unwrap();
        let engine = Engine::new(store.clone(), Metrics::new()).patient(patience);
        let begun = engine.begin(claim("k", 1), &rules(true)).await;
        assert!(matches!(begun, Begun::Refused(_)), "{begun:?}");
        assert!(
            patience != PATIENCE || matches!(begun, Begun::Refused(Refusal::InProgress)),
            "{begun:?}"
        );
        drop(held);
    }
}
