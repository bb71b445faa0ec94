//! Who waits for whom at the connections on which effects work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hookonce::event::Event;
use hookonce::handler::{Context, Outcome};
use hookonce::metric::Metrics;
use hookonce::retry::RetryPolicy;
use hookonce::store::effect::Tx;
use hookonce::worker::effect::{Effect, Transactional};
use hookonce::worker::{Callee, WorkerParts, WorkerStop};
use tokio::sync::{Mutex, Semaphore};

use super::{app_database, handler, slow, states};
use crate::both_databases;
use crate::daemon::{PATIENCE, STRIPE, stripe};
use crate::store::ground::{event, fresh, name};
use crate::support::daemon::wait_until_settled;
use crate::support::{DaemonPlan, Kind, TestApp, TestDatabase, eventually};

both_databases!(waiting_for_a_connection_to_another_database_is_no_try, |db| async move {
    let there = app_database(db.kind()).await;
    // One more than there are connections, each for longer than a connection is waited for.
    let events = match db.kind() {
        Kind::Postgres => 11,
        Kind::Sqlite => 2,
    };
    let lines = "timeout = \"6s\"\nretry = { attempts = 1, backoff = [\"10ms\"] }";
    let handler = handler("database = \"app\", ", &[slow(db.kind())], lines);
    let databases = format!("[databases.app]\nurl = {:?}\n", there.url());
    let plan = DaemonPlan::on(&db).source(&stripe()).toml(&handler).toml(&databases);
    let app = TestApp::start(&db, &plan, |app| app).await;
    let mut unlucky = Vec::new();
    // A second time where a machine was too busy to connect in time, which reads the same: then the connections are
    // there, and whoever waits for one too long does so again.
    for round in 1..=2 {
        for at in 0..events {
            let event = stripe().event(&format!("evt_{round}_{at}"), "x");
            app.sender().send(STRIPE, &event).await.assert_accepted();
        }
        wait_until_settled(&db, PATIENCE).await;
        // Each had its six seconds, and none failed for want of a connection.
        unlucky = states(&db).await;
        assert_eq!(unlucky.len(), events);
        unlucky.retain(|it| it.contains("can't be used now"));
        if unlucky.is_empty() {
            break;
        }
        for table in ["attempt", "delivery"] {
            db.run(&format!("DELETE FROM {table}")).await;
        }
    }
    assert!(unlucky.is_empty(), "{unlucky:?}");
    assert_eq!(there.number("SELECT n FROM acct").await, 0);
    app.finish().await;
});

/// On SQLite whoever works holds the only writer, and nothing else is even recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_hangs_leaves_turns_for_another() {
    let db = TestDatabase::postgres().await;
    let (hanging, released) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let plan = DaemonPlan::on(&db).source(&stripe());
    let app = TestApp::start(&db, &plan, |app| {
        let (hanging, released) = (Arc::clone(&hanging), Arc::clone(&released));
        let app = app.on_tx("stripe", "slow.*", move |_, _, _| {
            let (hanging, released) = (Arc::clone(&hanging), Arc::clone(&released));
            Box::pin(async move {
                hanging.fetch_add(1, Ordering::SeqCst);
                drop(released.acquire().await);
                Outcome::done()
            })
        });
        app.on_tx("stripe", "quick.*", |_, _, _| Box::pin(async { Outcome::done() }))
    })
    .await;
    for at in 0..12 {
        let event = stripe().event(&format!("evt_{at}"), "slow.one");
        app.sender().send(STRIPE, &event).await.assert_accepted();
    }
    eventually(PATIENCE, "functions that hang", || async {
        (hanging.load(Ordering::SeqCst) >= 5).then_some(())
    })
    .await;
    app.sender().send(STRIPE, &stripe().event("evt_quick", "quick.one")).await.assert_accepted();
    eventually(PATIENCE, "the quick one's end", || async {
        (db.number("SELECT count(*) FROM attempt").await > 0).then_some(())
    })
    .await;
    let ended = db.texts("SELECT d.handler || ' ' || a.outcome FROM attempt a JOIN delivery d ON d.id = a.delivery_id");
    assert_eq!(ended.await, ["on.stripe.quick._ delivered"]);
    released.add_permits(100);
    wait_until_settled(&db, PATIENCE).await;
    app.finish().await;
}

/// The first that begins shortens the leases of those that wait; each says how long its own lease still was.
struct Shortens {
    kind: Kind,
    /// How many can work at once.
    turns: u32,
    begun: AtomicU32,
    all_begun: Semaphore,
    last_begun: Semaphore,
    left: Mutex<Vec<f64>>,
}

const LEFT_POSTGRES: &str = "SELECT EXTRACT(EPOCH FROM lease_until - clock_timestamp())::float8 FROM delivery WHERE id = $1";
const LEFT_SQLITE: &str =
    "SELECT (julianday(lease_until) - julianday('now')) * 86400.0 FROM delivery WHERE id = ?1";
const SHORTEN_POSTGRES: &str = "UPDATE delivery SET lease_until = clock_timestamp() + interval '10 seconds'
     WHERE id IN (SELECT id FROM delivery WHERE state = 'leased' AND id <> $1 FOR UPDATE SKIP LOCKED)";
const SHORTEN_SQLITE: &str =
    "UPDATE delivery SET lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', '10 seconds')
     WHERE state = 'leased' AND id <> ?1";

#[async_trait::async_trait]
impl Transactional for Shortens {
    async fn apply(&self, tx: &mut Tx<'_>, _: &Event, context: &Context) -> Outcome {
        let at = self.begun.fetch_add(1, Ordering::SeqCst);
        if at + 1 == self.turns {
            self.all_begun.add_permits(100);
        } else if at == self.turns {
            self.last_begun.add_permits(100);
        }
        // At once: the others may take their time to begin.
        let left: f64 = match self.kind {
            Kind::Postgres => sqlx::query_scalar(LEFT_POSTGRES)
                .bind(context.delivery)
                .fetch_one(tx.postgres().unwrap())
                .await
                .unwrap(),
            Kind::Sqlite => sqlx::query_scalar(LEFT_SQLITE)
                .bind(context.delivery)
                .fetch_one(tx.sqlite().unwrap())
                .await
                .unwrap(),
        };
        self.left.lock().await.push(left);
        // Those that have begun have their rows locked; the one that waits hasn't.
        drop(self.all_begun.acquire().await.unwrap());
        if at == 0 {
            let shortened = match self.kind {
                Kind::Postgres => sqlx::query(SHORTEN_POSTGRES)
                    .bind(context.delivery)
                    .execute(tx.postgres().unwrap())
                    .await
                    .unwrap()
                    .rows_affected(),
                Kind::Sqlite => sqlx::query(SHORTEN_SQLITE)
                    .bind(context.delivery)
                    .execute(tx.sqlite().unwrap())
                    .await
                    .unwrap()
                    .rows_affected(),
            };
            assert_eq!(shortened, 1, "one waits for its turn");
            // It is claimed, and nothing shows that its task has come as far as to wait: it must before this ends.
            tokio::time::sleep(Duration::from_secs(5)).await;
        } else {
            // It has the first one's turn, which ends when this is committed.
            drop(self.last_begun.acquire().await.unwrap());
        }
        Outcome::done()
    }
}

both_databases!(a_lease_is_whole_when_its_effect_begins, |db| async move {
    let store = db.store().await;
    let turns = if db.kind() == Kind::Postgres { 10 } else { 1 };
    for at in 0..=turns {
        fresh(&store, event(&format!("evt_{at}"), b"{}", &["a"])).await;
    }
    let effect = Arc::new(Shortens {
        kind: db.kind(),
        turns,
        begun: AtomicU32::new(0),
        all_begun: Semaphore::new(0),
        last_begun: Semaphore::new(0),
        left: Mutex::default(),
    });
    let callees = vec![Callee {
        name: name("a"),
        effect: Effect::InTransaction(Arc::clone(&effect) as Arc<dyn Transactional>),
        shape: None,
        timeout: Duration::from_secs(50),
        concurrency: 16,
        retry: RetryPolicy::default(),
        lease: Duration::from_secs(60),
        versions: None,
        control: hookonce::handler::control::Control::default(),
        responds: false,
    }];
    let (_births, newborn) = tokio::sync::mpsc::unbounded_channel();
    let parts = WorkerParts {
        store: store.clone(),
        seats: hookonce::worker::seats(&callees),
        births: newborn,
        callees,
        wake: Arc::default(),
        answers: hookonce::handler::answers::Answers::default(),
        metrics: Metrics::new(),
        id: "w".to_owned(),
    };
    let stop = WorkerStop::default();
    let working = tokio::spawn(hookonce::worker::run(parts, stop.clone()));
    wait_until_settled(&db, PATIENCE).await;
    stop.claiming.cancel();
    working.await.unwrap();
    let left = effect.left.lock().await;
    assert_eq!(left.len(), turns as usize + 1);
    // Longer than the effect may take, also of the one that waited.
    assert!(left.iter().all(|left| *left > 50.0), "{left:?}");
});
