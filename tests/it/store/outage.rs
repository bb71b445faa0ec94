//! The database goes away, comes back as another, or falls silent: the store finds its way by itself.

use std::sync::Arc;
use std::time::Duration;

use entity::{State, TryOutcome};
use hookonce::handler::{Outcome, function};
use hookonce::metric::Metrics;
use hookonce::retry::RetryPolicy;
use hookonce::store::{Settled, Store, StoreSettings, Verdict};
use hookonce::upkeep::UpkeepParts;
use hookonce::worker::effect::Effect;
use hookonce::worker::{Callee, WorkerParts, WorkerStop};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ground::{claim_one, event, name, room, settlement, try_record};
use crate::support::{Link, PostgresServer, TestDatabase, eventually, within};

/// A session beside the store's, on this database or, when `elsewhere`, on another of the cluster.
async fn admin(db: &TestDatabase, elsewhere: bool) -> (PgConnection, String) {
    let own = db.texts("SELECT current_database()::text").await.remove(0);
    let url = if elsewhere { db.url().replace(&own, "postgres") } else { db.url() };
    (PgConnection::connect(&url).await.unwrap(), own)
}

async fn run(admin: &mut PgConnection, statements: &[String]) {
    for statement in statements {
        admin.execute(AssertSqlSafe(statement.clone())).await.unwrap();
    }
}

fn end_sessions_of(database: &str) -> String {
    format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = '{database}' AND pid <> pg_backend_pid()"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_may_not_write_serves_no_second_time() {
    let db = TestDatabase::postgres().await;
    let settings = StoreSettings { connections: 2, ..db.settings() };
    let store = Store::open(&settings).await.unwrap();
    try_record(&store, event("evt_1", b"{}", &["a"])).await.unwrap();
    let claimed = claim_one(&store, "a").await;
    let (mut admin, own) = admin(&db, true).await;
    let set = |value| format!("ALTER DATABASE {own} SET default_transaction_read_only = {value}");
    run(&mut admin, &[set("on"), end_sessions_of(&own)]).await;
    // Both of the pool's connections are made anew, and can only read.
    for _ in 0..8 {
        store.claim("w", vec![room("a", 1)]).await.unwrap_err();
        store.retry(claimed.delivery).await.unwrap_err();
    }
    try_record(&store, event("evt_2", b"{}", &["a"])).await.unwrap_err();
    run(&mut admin, &[set("off")]).await;
    // At once, while no connection has rested: a busy worker's never do.
    let settlement = settlement(&claimed, Verdict::Delivered, TryOutcome::Delivered);
    let settled = store.settle_batch(vec![settlement]).await.pop().unwrap();
    assert_eq!(settled.unwrap(), Settled::Done);
    try_record(&store, event("evt_3", b"{}", &["a"])).await.unwrap();
    store.claim("w", vec![room("a", 1)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_connections_for_a_while_is_waited_for() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    try_record(&store, event("evt_1", b"{}", &["a"])).await.unwrap();
    let claimed = claim_one(&store, "a").await;
    let (mut admin, own) = admin(&db, true).await;
    let allow = |value| format!("ALTER DATABASE {own} ALLOW_CONNECTIONS {value}");
    run(&mut admin, &[allow("false"), end_sessions_of(&own)]).await;
    let settlement = settlement(&claimed, Verdict::Delivered, TryOutcome::Delivered);
    let refused = store.settle_batch(vec![settlement.clone()]).await.pop().unwrap().unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
    run(&mut admin, &[allow("true")]).await;
    let settled = store.settle_batch(vec![settlement]).await.pop().unwrap();
    assert_eq!(settled.unwrap(), Settled::Done);
    let (row, _) = store.delivery(claimed.delivery).await.unwrap().unwrap();
    assert_eq!(row.delivery.state, State::Delivered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_given_up_within_seconds() {
    let db = TestDatabase::postgres().await;
    let url = db.url();
    let server = url.split(['@', '/']).nth(3).unwrap().to_owned();
    let link = Link::to(server.clone()).await;
    // Long enough for both to be seen under way on a busy machine; the session's `lock_timeout` is 5 s, too.
    let statement_timeout = Duration::from_secs(10);
    let behind = url.replace(&server, &format!("127.0.0.1:{}", link.port));
    let settings =
        StoreSettings { url: behind, statement_timeout, connections: 2, ..db.settings() };
    let store = Arc::new(Store::open(&settings).await.unwrap());
    try_record(&store, event("evt_1", b"{}", &["a"])).await.unwrap();
    store.claim("w", vec![room("b", 1)]).await.unwrap();
    // Both statements are under way when the machine dies: held up by a lock until then.
    let (mut holder, _) = admin(&db, false).await;
    run(&mut holder, &["BEGIN; LOCK TABLE delivery IN EXCLUSIVE MODE".to_owned()]).await;
    let recording = tokio::spawn({
        let store = Arc::clone(&store);
        async move { try_record(&store, event("evt_2", b"{}", &["a"])).await }
    });
    let claiming = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.claim("w", vec![room("a", 1)]).await }
    });
    eventually(Duration::from_secs(10), "both statements under way", || async {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (db.number(waiting).await == 2).then_some(())
    })
    .await;
    link.take_over().await;
    holder.close().await.unwrap();
    let patience = Duration::from_secs(30);
    // Whether it was committed was unknown; it is looked up, and answered as what it is.
    within(patience, "the recording", recording).await.unwrap().unwrap();
    let claimed = within(patience, "the claim", claiming).await.unwrap();
    claimed.expect_err("its answer never came");
    within(patience, "another claim", store.claim("w", vec![room("a", 9)])).await.unwrap();
    assert_eq!(db.number("SELECT count(*) FROM event").await, 2);
}

/// Ends the server while a handler works, lets the lease lapse, and starts the server again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_handled_while_the_database_was_away_is_settled_and_not_handled_again() {
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    let store = db.store().await;
    let [begun, finish] = [(); 2].map(|()| Arc::new(Notify::new()));
    let handler = function::from_fn({
        let (begun, finish) = (Arc::clone(&begun), Arc::clone(&finish));
        move |_, _| {
            let (begun, finish) = (Arc::clone(&begun), Arc::clone(&finish));
            async move {
                begun.notify_one();
                finish.notified().await;
                Outcome::done()
            }
        }
    });
    let (lease, wake, metrics) = (Duration::from_secs(3), Arc::new(Notify::new()), Metrics::new());
    let callee = Callee {
        name: name("a"),
        effect: Effect::Call(handler),
        shape: None,
        timeout: Duration::from_secs(60),
        concurrency: 1,
        retry: RetryPolicy::default(),
        lease,
        versions: None,
        control: hookonce::handler::control::Control::default(),
        responds: false,
    };
    let upkeep = UpkeepParts {
        store: store.clone(),
        cleanup: super::cleanup::settings(),
        retention: super::cleanup::RETENTION,
        sources: Vec::new(),
        handlers: vec![(callee.name.clone(), callee.retry.clone())],
        wake: Arc::clone(&wake),
        metrics: metrics.clone(),
        id: "w".to_owned(),
        tell: hookonce::upkeep::Tell::default(),
    };
    let (chores, stop) = (TaskTracker::new(), CancellationToken::new());
    hookonce::upkeep::start(upkeep, &chores, stop.clone()).await.unwrap();
    let worker_stop = WorkerStop::default();
    let (_births, newborn) = tokio::sync::mpsc::unbounded_channel();
    let callees = vec![callee];
    let parts = WorkerParts {
        store: store.clone(),
        seats: hookonce::worker::seats(&callees),
        births: newborn,
        callees,
        wake,
        answers: hookonce::handler::answers::Answers::default(),
        metrics,
        id: "w".to_owned(),
    };
    let working = tokio::spawn(hookonce::worker::run(parts, worker_stop.clone()));
    try_record(&store, event("evt_1", b"{}", &["a"])).await.unwrap();
    within(Duration::from_secs(60), "the handler's call", begun.notified()).await;
    let down = Arc::clone(&server);
    tokio::task::spawn_blocking(move || down.kill()).await.unwrap();
    finish.notify_one();
    // The length of time is the subject here: nobody signals that a lease has lapsed.
    tokio::time::sleep(lease + Duration::from_secs(1)).await;
    tokio::task::spawn_blocking(move || server.restart()).await.unwrap();
    let settled = "SELECT count(*) FROM delivery WHERE state = 'delivered' AND attempts = 1";
    eventually(Duration::from_secs(60), "the settlement of the first try", || async {
        (db.try_number(settled).await.ok()? == 1).then_some(())
    })
    .await;
    stop.cancel();
    worker_stop.claiming.cancel();
    working.await.unwrap();
    chores.close();
    chores.wait().await;
}
