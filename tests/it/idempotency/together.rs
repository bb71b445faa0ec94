//! Many keys in one commit: each is answered as if it had come alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use hookonce::received::Headers;
use hookonce::store::Store;
use hookonce::store::idempotency::{
    KEY_BATCH_MAX, KeyAnswer, KeyBid, KeyClaim, KeyFound, KeyLease, KeyRow, KeySettled, KeyState,
    KeyVerdict,
};
use sqlx::{Connection, SqliteConnection};

use super::{PATIENCE, backdate, claim, id};
use crate::both_databases;
use crate::support::{Kind, TestDatabase, within};

fn bids(claims: impl IntoIterator<Item = KeyClaim>) -> Vec<KeyBid> {
    claims.into_iter().map(KeyBid::new).collect()
}

async fn ask(store: &Store, claims: impl IntoIterator<Item = KeyClaim>) -> Vec<Option<KeyFound>> {
    store.bid_for_keys(bids(claims)).await.unwrap()
}

async fn claimed(store: &Store, key: &str) -> KeyLease {
    lease(ask(store, [claim(key, 1)]).await.remove(0))
}

#[track_caller]
fn lease(found: Option<KeyFound>) -> KeyLease {
    let Some(KeyFound::Claimed(lease)) = found else { panic!("it is not claimed: {found:?}") };
    lease
}

#[track_caller]
fn row(found: &Option<KeyFound>) -> &KeyRow {
    let Some(KeyFound::Row(row)) = found else { panic!("no row was found: {found:?}") };
    row
}

fn answer(body: &[u8]) -> KeyAnswer {
    let mut headers = Headers::new();
    headers.push("x-odd", b"\xff: \xfe");
    KeyAnswer { status: 201, headers, body: Some(Bytes::copy_from_slice(body)), note: None }
}

async fn settle(store: &Store, ends: &[(&KeyLease, KeyVerdict)]) -> Vec<Option<KeySettled>> {
    let ends = ends.iter().map(|(lease, verdict)| ((*lease).clone(), verdict.clone())).collect();
    store.settle_keys(ends).await.unwrap()
}

fn completed(body: &[u8]) -> KeyVerdict {
    KeyVerdict::Completed(answer(body))
}

fn released() -> KeyVerdict {
    KeyVerdict::Released("a test".to_owned())
}

both_databases!(each_state_in_a_batch_gets_its_answer, |db| async move {
    let store = db.store().await;
    let mut old = BTreeMap::new();
    for key in
        ["running", "done", "given back", "lapsed", "unsure", "over", "over and live", "large"]
    {
        old.insert(key, claimed(&store, key).await);
    }
    assert!(store.reach_key_point(old["given back"].clone(), "charged".to_owned()).await.unwrap());
    let large = vec![7; 100_000];
    let ends = [
        (&old["done"], completed(b"\x00\xff{}")),
        (&old["given back"], released()),
        (&old["unsure"], KeyVerdict::Uncertain("a test".to_owned())),
        (&old["over"], completed(b"old")),
        (&old["large"], completed(&large)),
    ];
    assert_eq!(settle(&store, &ends).await, [Some(KeySettled::Done); 5]);
    backdate(&db, "lease_until", "lapsed").await;
    backdate(&db, "expires_at", "over").await;
    backdate(&db, "expires_at", "over and live").await;

    // Of others first: whoever asks for something else claims nothing that means something.
    let others = old.keys().filter(|key| **key != "over").map(|key| claim(key, 2));
    let found = ask(&store, others).await;
    let sees = |at: usize| row(&found[at]).request_hash == [1; 32];
    assert!((0..old.len() - 1).all(|at| found[at].is_none() || sees(at)), "{found:?}");

    let keys = [
        "new",
        "unsure",
        "over",
        "given back",
        "running",
        "new",
        "done",
        "over and live",
        "lapsed",
        "large",
        "zzz",
    ];
    let found = ask(&store, keys.map(|key| claim(key, 1))).await;
    let of = |key: &str| &found[keys.iter().position(|it| *it == key).unwrap()];
    assert_eq!(lease(of("new").clone()).attempts, 1);
    assert_eq!(found[5], None, "one of a key comes in");
    assert_eq!(lease(of("zzz").clone()).id, id("zzz"));
    assert_eq!(row(of("unsure")).state, KeyState::Uncertain);
    assert_eq!(row(of("lapsed")).state, KeyState::Lapsed);
    assert_eq!(row(of("lapsed")).epoch, old["lapsed"].epoch);
    assert_eq!(row(of("done")).state, KeyState::Completed(answer(b"\x00\xff{}")));
    assert!(matches!(row(of("running")).state, KeyState::Running { .. }));
    assert!(matches!(row(of("over and live")).state, KeyState::Running { .. }), "never under it");
    let anew = lease(of("over").clone());
    assert_eq!((anew.attempts, anew.recovery_point.as_deref()), (1, None));
    assert!(anew.epoch > old["over"].epoch && anew.expires_at > old["over"].expires_at);
    let again = lease(of("given back").clone());
    assert_eq!((again.attempts, again.recovery_point.as_deref()), (2, Some("charged")));
    assert_eq!(again.expires_at, old["given back"].expires_at, "it runs from the first claim");
    // What a batch leaves out is found by itself.
    let found = store.bid_for_key(KeyBid::new(claim("large", 1)), true).await.unwrap();
    assert_eq!(row(&Some(found)).state, KeyState::Completed(answer(&large)));
});

both_databases!(a_batch_of_retries_writes_nothing, |db| async move {
    let store = db.store().await;
    let leases: Vec<_> = ask(&store, ["a", "b", "c"].map(|key| claim(key, 1)))
        .await
        .into_iter()
        .map(lease)
        .collect();
    assert_eq!(settle(&store, &[(&leases[1], completed(b"x"))]).await, [Some(KeySettled::Done)]);
    let retries = || ask(&store, ["a", "b", "c"].map(|key| claim(key, 1)));
    match db.kind() {
        Kind::Postgres => {
            let versions =
                "SELECT xmin::text || '/' || xmax::text FROM idempotency_key ORDER BY key";
            let before = db.texts(versions).await;
            assert!(retries().await.iter().all(|found| matches!(found, Some(KeyFound::Row(_)))));
            assert_eq!(db.texts(versions).await, before, "neither written nor locked");
        }
        Kind::Sqlite => {
            let mut writer = SqliteConnection::connect_with(&db.sqlite_options()).await.unwrap();
            sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await.unwrap();
            let found = within(PATIENCE, "rows", retries()).await;
            assert!(found.iter().all(|found| matches!(found, Some(KeyFound::Row(_)))));
        }
    }
});

both_databases!(a_lost_lease_in_a_batch_changes_nothing_and_the_others_stand, |db| async move {
    let store = db.store().await;
    let leases: Vec<_> = ask(&store, ["a", "b", "c"].map(|key| claim(key, 1)))
        .await
        .into_iter()
        .map(lease)
        .collect();
    backdate(&db, "lease_until", "b").await;
    let taken = store.take_key_over(claim("b", 1), leases[1].epoch).await.unwrap().unwrap();
    let mut gone = leases[0].clone();
    gone.id = id("gone");
    let ends = [
        (&leases[2], completed(b"c")),
        (&leases[1], completed(b"late")),
        (&gone, released()),
        (&leases[0], released()),
        (&leases[2], released()),
    ];
    let done = Some(KeySettled::Done);
    let lost = Some(KeySettled::LeaseLost);
    assert_eq!(settle(&store, &ends).await, [done, lost, lost, done, None]);
    // What is settled is settled, as a single one is.
    assert_eq!(settle(&store, &ends[..1]).await, [lost]);
    let found = ask(&store, ["a", "b", "c"].map(|key| claim(key, 2))).await;
    assert_eq!(row(&found[0]).state, KeyState::Released);
    assert_eq!(row(&found[1]).epoch, taken.epoch);
    assert_eq!(row(&found[2]).state, KeyState::Completed(answer(b"c")));
});

both_databases!(a_full_batch_of_new_keys_is_claimed_and_settled, |db| async move {
    let store = db.store().await;
    let keys: Vec<String> = (0..KEY_BATCH_MAX).map(|at| format!("k{at}")).collect();
    let leases: Vec<_> =
        ask(&store, keys.iter().map(|key| claim(key, 1))).await.into_iter().map(lease).collect();
    assert!(leases.iter().zip(&keys).all(|(lease, key)| lease.id.key == *key));
    let bodies: Vec<Vec<u8>> = keys.iter().map(|key| key.clone().into_bytes()).collect();
    let ends: Vec<_> =
        leases.iter().zip(&bodies).map(|(lease, body)| (lease, completed(body))).collect();
    assert!(settle(&store, &ends).await.iter().all(|it| *it == Some(KeySettled::Done)));
    let found = ask(&store, keys.iter().map(|key| claim(key, 1))).await;
    for (found, body) in found.iter().zip(&bodies) {
        assert_eq!(row(found).state, KeyState::Completed(answer(body)));
    }
});

both_databases!(a_batch_that_is_refused_leaves_nothing, |db| async move {
    let store = db.store().await;
    poison(&db, "INSERT").await;
    let refused = store.bid_for_keys(bids(["a", "poison", "z"].map(|key| claim(key, 1)))).await;
    refused.expect_err("the database refuses one row of it");
    assert_eq!(db.number("SELECT count(*) FROM idempotency_key").await, 0);
    assert!(ask(&store, ["a", "z"].map(|key| claim(key, 1))).await.iter().all(Option::is_some));
});

/// Makes the database refuse the key `poison`: when it is claimed, or when it is settled.
pub async fn poison(db: &TestDatabase, when: &str) {
    let statement = match db.kind() {
        Kind::Postgres => format!(
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'poison'; END $$;
             CREATE TRIGGER poison BEFORE {when} ON idempotency_key FOR EACH ROW WHEN (NEW.key = 'poison')
             EXECUTE FUNCTION poison()"
        ),
        Kind::Sqlite => format!(
            "CREATE TRIGGER poison BEFORE {when} ON idempotency_key WHEN NEW.key = 'poison'
             BEGIN SELECT RAISE(ABORT, 'poison'); END"
        ),
    };
    db.run(&statement).await;
}

// Replicas' batches overlap, and come in opposite order. Each key has one winner, and nobody is a deadlock's victim.
both_databases!(overlapping_batches_in_any_order_never_deadlock, |db| async move {
    let replicas = match db.kind() {
        Kind::Postgres => {
            let name = db.texts("SELECT current_database()::text").await.remove(0);
            // Found at once, long before anybody gives up waiting.
            db.run(&format!("ALTER DATABASE {name} SET deadlock_timeout = '10ms'")).await;
            [db.store().await, db.store().await]
        }
        Kind::Sqlite => {
            let store = db.store().await;
            [store.clone(), store]
        }
    };
    let mut before: Vec<KeyLease> = Vec::new();
    for round in 0..30 {
        let key = |at: &usize| format!("{round}-{at}");
        let forth: Vec<String> = (0..60).collect::<Vec<_>>().iter().map(key).collect();
        let back: Vec<String> = (20..80).rev().collect::<Vec<_>>().iter().map(key).collect();
        // Meanwhile both claim the keys of the round before, which are being given back, too.
        let old: Vec<KeyLease> = std::mem::take(&mut before);
        let again: Vec<String> = old.iter().map(|lease| lease.id.key.clone()).collect();
        let claims = [
            insist(&replicas[0], forth.iter().chain(&again).cloned().collect()),
            insist(&replicas[1], again.iter().rev().chain(&back).cloned().collect()),
        ];
        let ends: Vec<_> = old.iter().rev().map(|lease| (lease.clone(), released())).collect();
        let (won, settled) =
            futures::future::join(join_all(claims), insist_on_ends(&replicas[round % 2], ends))
                .await;
        assert!(settled.iter().all(|it| *it == Some(KeySettled::Done)), "{settled:?}");
        let mut winners: BTreeMap<String, u32> = BTreeMap::new();
        for lease in won.into_iter().flatten() {
            *winners.entry(lease.id.key.clone()).or_default() += 1;
            if lease.id.key.starts_with(&format!("{round}-")) {
                before.push(lease);
            }
        }
        assert!(winners.values().all(|wins| *wins == 1), "{winners:?}");
        assert_eq!(before.len(), 80, "each new key has a winner");
    }
});

/// The leases that a batch gets. Waiting too long is no fault, on a machine that is slow enough.
async fn insist(store: &Store, keys: Vec<String>) -> Vec<KeyLease> {
    let bids = bids(keys.iter().map(|key| claim(key, 1)));
    let found = loop {
        match store.bid_for_keys(bids.clone()).await {
            Err(error) if error.is_lock_timeout() => {}
            found => break found.unwrap(),
        }
    };
    let leases = found.into_iter().flatten();
    leases
        .filter_map(|it| if let KeyFound::Claimed(lease) = it { Some(lease) } else { None })
        .collect()
}

async fn insist_on_ends(
    store: &Store,
    ends: Vec<(KeyLease, KeyVerdict)>,
) -> Vec<Option<KeySettled>> {
    loop {
        match store.settle_keys(ends.clone()).await {
            Err(error) if error.is_lock_timeout() => {}
            settled => break settled.unwrap(),
        }
    }
}
