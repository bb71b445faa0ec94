//! Requests that come at once share commits, and nobody's trouble becomes another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use entity::Name;
use futures::StreamExt;
use futures::future::join_all;
use hookonce::idempotency::{
    Answer, AnswerBody, Begun, Concluded, Ended, Engine, Refusal, Rules, Run,
};
use hookonce::metric::Metrics;
use hookonce::received::Headers;
use hookonce::store::idempotency::{KeyBid, KeyFound};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

use super::together::poison;
use super::{PATIENCE, claim};
use crate::both_databases;
use crate::support::{Kind, PostgresServer, TestDatabase, eventually, within};

fn rules() -> Arc<Rules> {
    Arc::new(Rules::new(Name::new("pay").unwrap()))
}

async fn engine(db: &TestDatabase) -> Engine {
    Engine::new(db.store().await, Metrics::new()).patient(PATIENCE)
}

fn paid() -> Ended {
    let body = AnswerBody::Whole(Bytes::from_static(b"{\"paid\":1}"));
    Ended::Answered(Answer { status: 201, headers: Headers::new(), body })
}

fn runs(begun: impl IntoIterator<Item = Begun>) -> Vec<Run> {
    let run = |begun| if let Begun::Run(run) = begun { Some(*run) } else { None };
    begun.into_iter().filter_map(run).collect()
}

/// A statement under way, behind which others gather.
enum Holder {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Holder {
    /// Holds the key `held`; on SQLite the only writer.
    async fn of(db: &TestDatabase) -> Self {
        let insert = "INSERT INTO idempotency_key (scope, key, request_hash, status, lease_epoch, attempts, created_at, expires_at)
            VALUES ('pay:someone', 'held', sha256('x'), 'failed', 1, 1, now(), now() + interval '1 hour')";
        match db.kind() {
            Kind::Postgres => {
                let mut c = PgConnection::connect(&db.url()).await.unwrap();
                c.execute("BEGIN").await.unwrap();
                c.execute(insert).await.unwrap();
                Self::Postgres(c)
            }
            Kind::Sqlite => {
                let mut c = SqliteConnection::connect_with(&db.sqlite_options()).await.unwrap();
                c.execute("BEGIN IMMEDIATE").await.unwrap();
                Self::Sqlite(c)
            }
        }
    }

    async fn let_go(self) {
        match self {
            Self::Postgres(mut c) => c.execute("ROLLBACK").await.map(drop).unwrap(),
            Self::Sqlite(mut c) => c.execute("ROLLBACK").await.map(drop).unwrap(),
        }
    }
}

both_databases!(fifty_of_one_key_that_gathered_run_once, |db| async move {
    let (engine, rules) = (engine(&db).await, rules());
    let holder = Holder::of(&db).await;
    let first = tokio::spawn({
        let (engine, rules) = (engine.clone(), Arc::clone(&rules));
        async move { engine.begin(claim("held", 1), &rules).await }
    });
    if db.kind() == Kind::Postgres {
        eventually(PATIENCE, "the first batch to wait", || async {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            (db.number(waiting).await > 0).then_some(())
        })
        .await;
    }
    // Two keys in turn, and a second request under each of them.
    let wishes =
        (0..100).map(|at| engine.begin(claim(["a", "b"][at % 2], 1 + u8::from(at >= 90)), &rules));
    let (begun, ()) = futures::future::join(join_all(wishes), holder.let_go()).await;
    let refused = |why: &Refusal| {
        begun.iter().filter(|it| matches!(it, Begun::Refused(it) if it == why)).count()
    };
    // Who comes first is chance, and so is which request's key it becomes.
    assert_eq!(refused(&Refusal::InProgress) + refused(&Refusal::Reused), 98, "{begun:?}");
    let runs = runs(begun);
    assert_eq!(runs.len(), 2);
    // On a machine that is slow enough it had waited too long before it was let go.
    let first = match first.await.unwrap() {
        Begun::Run(_) => 1,
        Begun::Refused(Refusal::Unavailable) => 0,
        other => panic!("{other:?}"),
    };
    let attempts = "SELECT CAST(sum(attempts) AS bigint) FROM idempotency_key";
    assert_eq!(db.number(attempts).await, 2 + first);
    let ends = join_all(runs.iter().map(|run| async move { run.conclude(&paid()).await })).await;
    assert!(ends.iter().all(|end| matches!(end, Concluded::Stands)));
});

both_databases!(one_that_the_database_refuses_costs_the_others_nothing, |db| async move {
    let (engine, rules) = (engine(&db).await, rules());
    poison(&db, "INSERT").await;
    let keys: Vec<String> =
        (0..20).map(|at| format!("k{at}")).chain(["poison".to_owned()]).collect();
    let begun = join_all(keys.iter().map(|key| engine.begin(claim(key, 1), &rules))).await;
    assert!(matches!(begun[20], Begun::Refused(Refusal::Unavailable)), "{:?}", begun[20]);
    let mut all = runs(begun);
    assert_eq!(all.len(), 20);
    // The same of their ends: one waits until it is taken, and the others stand.
    db.run(match db.kind() {
        Kind::Postgres => "DROP TRIGGER poison ON idempotency_key; DROP FUNCTION poison()",
        Kind::Sqlite => "DROP TRIGGER poison",
    })
    .await;
    all.extend(runs([engine.begin(claim("poison", 1), &rules).await]));
    poison(&db, "UPDATE").await;
    let poisoned = all.pop().unwrap();
    let paid = paid();
    let ends = tokio::spawn({
        let paid = self::paid();
        async move { poisoned.conclude(&paid).await }
    });
    let others = join_all(all.iter().map(|run| run.conclude(&paid))).await;
    assert!(others.iter().all(|end| matches!(end, Concluded::Stands)), "{others:?}");
    assert!(!ends.is_finished());
    db.run(match db.kind() {
        Kind::Postgres => "DROP TRIGGER poison ON idempotency_key",
        Kind::Sqlite => "DROP TRIGGER poison",
    })
    .await;
    let end = within(PATIENCE, "the last end", ends).await.unwrap();
    assert!(matches!(end, Concluded::Stands), "{end:?}");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_somebody_holds_does_not_hold_up_the_others() {
    let db = TestDatabase::postgres().await;
    let (engine, rules) = (engine(&db).await, rules());
    let holder = Holder::of(&db).await;
    let held = tokio::spawn({
        let (engine, rules) = (engine.clone(), Arc::clone(&rules));
        async move { engine.begin(claim("held", 1), &rules).await }
    });
    let keys: Vec<String> = (0..20).map(|at| format!("k{at}")).collect();
    let begun = join_all(keys.iter().map(|key| engine.begin(claim(key, 1), &rules))).await;
    assert_eq!(runs(begun).len(), 20, "while the transaction is still open");
    holder.let_go().await;
    // It got the key, or had waited long enough by then.
    let begun = held.await.unwrap();
    assert!(matches!(begun, Begun::Run(_) | Begun::Refused(Refusal::Unavailable)), "{begun:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_primary_answers_no_batch_and_serves_no_second_time() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    let bid = |key| vec![KeyBid::new(claim(key, 1))];
    let name = db.texts("SELECT current_database()::text").await.remove(0);
    let mut admin = PgConnection::connect(&db.url().replace(&name, "postgres")).await.unwrap();
    let found = store.bid_for_keys(bid("k")).await.unwrap();
    assert!(matches!(found[0], Some(KeyFound::Claimed(_))));
    let set = |value| format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    );
    admin.execute(AssertSqlSafe(set("on"))).await.unwrap();
    admin.execute(AssertSqlSafe(end)).await.unwrap();
    for _ in 0..4 {
        // Not even what it has: it may be old.
        store.bid_for_keys(bid("k")).await.unwrap_err();
    }
    admin.execute(AssertSqlSafe(set("off"))).await.unwrap();
    let found = store.bid_for_keys(bid("other")).await.unwrap();
    assert!(matches!(found[0], Some(KeyFound::Claimed(_))), "{found:?}");
}

/// Each key is asked for until its answer is known, while the server is killed again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_database_killed_in_the_middle_each_caller_knows_and_nothing_runs_twice() {
    const KEYS: usize = 300;
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    let (engine, rules) = (engine(&db).await, rules());
    let concluded = Arc::new(AtomicUsize::new(0));
    let ran: Arc<Vec<AtomicU32>> = Arc::new((0..KEYS).map(|_| AtomicU32::new(0)).collect());
    let one = |at: usize| {
        let (engine, rules) = (engine.clone(), Arc::clone(&rules));
        let (concluded, ran) = (Arc::clone(&concluded), Arc::clone(&ran));
        async move {
            loop {
                match engine.begin(claim(&format!("k{at}"), 1), &rules).await {
                    Begun::Run(run) => {
                        ran[at].fetch_add(1, Ordering::SeqCst);
                        let end = run.conclude(&paid()).await;
                        assert!(matches!(end, Concluded::Stands), "{end:?}");
                        concluded.fetch_add(1, Ordering::SeqCst);
                    }
                    Begun::Replay(_) => return,
                    // Unavailable, or taken, and whoever took it never heard of it: it is given back.
                    Begun::Refused(Refusal::Unavailable | Refusal::InProgress) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    };
    let killing = tokio::spawn({
        let (server, concluded) = (Arc::clone(&server), Arc::clone(&concluded));
        async move {
            for part in [KEYS / 6, KEYS / 3, KEYS / 2] {
                eventually(PATIENCE, "some runs", || async {
                    (concluded.load(Ordering::SeqCst) >= part).then_some(())
                })
                .await;
                let server = Arc::clone(&server);
                tokio::task::spawn_blocking(move || {
                    server.kill();
                    server.restart();
                })
                .await
                .unwrap();
            }
        }
    });
    let all = futures::stream::iter((0..KEYS).map(one)).buffer_unordered(64).collect::<Vec<_>>();
    within(4 * PATIENCE, "all answers", all).await;
    killing.await.unwrap();
    let runs: Vec<u32> = ran.iter().map(|runs| runs.load(Ordering::SeqCst)).collect();
    assert_eq!(runs, [1; KEYS]);
    // Whose run was concluded gets its answer, and nobody else's key looks as if it had one.
    assert_eq!(concluded.load(Ordering::SeqCst), KEYS);
    let completed = "SELECT count(*) FROM idempotency_key WHERE status = 'completed'";
    assert_eq!(usize::try_from(db.number(completed).await).unwrap(), KEYS);
}
