//! The library: an app as a value, with handlers in Rust.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hookonce::handler::{Outcome, Reply};

use crate::both_databases;
use crate::daemon::{PATIENCE, STRIPE, stripe};
use crate::support::daemon::wait_until_settled;
use crate::support::{DaemonPlan, Kind, TestApp, TestDatabase};

both_databases!(a_function_is_called_once_for_each_event_that_it_asked_for, |db| async move {
    let plan = DaemonPlan::on(&db).source(&stripe());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let app = TestApp::start(&db, &plan, |app| {
        app.on("stripe", "invoice.*", move |event, context| {
            let counted = Arc::clone(&counted);
            async move {
                assert_eq!((event.kind.as_str(), context.attempt), ("invoice.paid", 1));
                counted.fetch_add(1, Ordering::SeqCst);
                Outcome::done()
            }
        })
    })
    .await;
    let sender = app.sender();
    for _ in 0..3 {
        let sent = sender.send(STRIPE, &stripe().event("evt_1", "invoice.paid")).await;
        assert_eq!(sent.status, 200, "{sent:?}");
    }
    sender.send(STRIPE, &stripe().event("evt_2", "charge.failed")).await.assert_accepted();
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    app.finish().await;
});

both_databases!(a_function_that_panics_is_tried_again, |db| async move {
    let plan = DaemonPlan::on(&db).source(&stripe());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let app = TestApp::start(&db, &plan, |app| {
        app.on("stripe", "*", move |_, _| {
            let counted = Arc::clone(&counted);
            async move {
                assert!(counted.fetch_add(1, Ordering::SeqCst) > 0, "the first call panics");
                Outcome::done()
            }
        })
    })
    .await;
    app.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    crate::support::eventually(PATIENCE, "the panic to be recorded", || async {
        let outcomes = db.texts("SELECT outcome FROM attempt ORDER BY n").await;
        // The next try may be there too: the first wait is chosen between nothing and ten seconds.
        outcomes.first().is_some_and(|first| first == "panic").then_some(())
    })
    .await;
    // Tests move rows, not clocks.
    make_due(&db).await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(db.texts("SELECT outcome FROM attempt ORDER BY n").await, ["panic", "delivered"]);
    app.finish().await;
});

both_databases!(what_one_app_leaves_waiting_the_next_one_takes_up, |db| async move {
    let plan = DaemonPlan::on(&db).source(&stripe());
    let first = TestApp::start(&db, &plan, |app| {
        app.on("stripe", "*", |_, _| async {
            let after = Some(Duration::from_secs(3600));
            Outcome::Retry { cause: "not today".to_owned(), after, reply: Reply::default() }
        })
    })
    .await
    .leaving_work();
    first.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    crate::support::eventually(PATIENCE, "the first try", || async {
        (db.number("SELECT count(*) FROM attempt").await == 1).then_some(())
    })
    .await;
    first.finish().await;
    // Tests move rows, not clocks.
    make_due(&db).await;
    let second =
        TestApp::start(&db, &plan, |app| app.on("stripe", "*", |_, _| async { Outcome::done() }))
            .await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(db.texts("SELECT outcome FROM attempt ORDER BY n").await, ["retry", "delivered"]);
    second.finish().await;
});

async fn make_due(db: &TestDatabase) {
    db.run(match db.kind() {
        Kind::Postgres => "UPDATE delivery SET due_at = now() WHERE state = 'pending'",
        Kind::Sqlite => {
            "UPDATE delivery SET due_at = '2026-01-01 00:00:00.000' WHERE state = 'pending'"
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_apps_live_in_one_process_without_knowing_each_other() {
    let (one, two) = (TestDatabase::postgres().await, TestDatabase::sqlite().await);
    let log = "[handlers.audit]\nfrom = \"stripe\"\nlog = {}";
    let start = async |db: &TestDatabase| {
        let plan = DaemonPlan::on(db).source(&stripe()).toml(log);
        TestApp::start(db, &plan, |app| app).await
    };
    let (first, second) = (start(&one).await, start(&two).await);
    let event = stripe().event("evt_1", "x");
    first.sender().send(STRIPE, &event).await.assert_accepted();
    first.sender().send(STRIPE, &event).await.assert_duplicate();
    second.sender().send(STRIPE, &event).await.assert_accepted();
    wait_until_settled(&one, PATIENCE).await;
    wait_until_settled(&two, PATIENCE).await;
    let accepted = "hookonce_intake_total{source=\"stripe\",outcome=\"accepted\"} 1";
    let duplicate = "hookonce_intake_total{source=\"stripe\",outcome=\"duplicate\"} 1";
    let (of_first, of_second) =
        (first.running().metrics().render(), second.running().metrics().render());
    assert!(of_first.contains(accepted) && of_first.contains(duplicate), "{of_first}");
    assert!(of_second.contains(accepted) && !of_second.contains(duplicate), "{of_second}");
    first.finish().await;
    // One's end is not the other's.
    second.sender().send(STRIPE, &event).await.assert_duplicate();
    second.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_app_is_given_wrongly_is_said_before_it_serves() {
    use hookonce::app::App;
    use hookonce::config::{Config, Environment};
    let db = TestDatabase::sqlite().await;
    let text = DaemonPlan::on(&db)
        .source(&stripe())
        .text(crate::support::daemon::loopback(0), crate::support::daemon::loopback(0));
    let environment = Environment::default();
    let (config, _) = Config::read(&text, "test", &environment, std::path::Path::new("")).unwrap();
    let app = App::build(config, &Default::default()).unwrap();
    let app = app.on("strype", "*", |_, _| async { Outcome::done() });
    let error = app.start().await.unwrap_err().to_string();
    assert!(error.contains("strype"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_could_never_answer_is_refused_before_it_serves() {
    use hookonce::app::App;
    use hookonce::config::{Config, Environment};
    let db = TestDatabase::sqlite().await;
    let loopback = crate::support::daemon::loopback;
    let text = DaemonPlan::on(&db)
        .source_with(&stripe(), "respond = { handler = \"on.stripe.x\" }")
        .text(loopback(0), loopback(0));
    let environment = Environment::default();
    let (config, _) = Config::read(&text, "test", &environment, std::path::Path::new("")).unwrap();
    let app = || App::build(config.clone(), &Default::default()).unwrap();
    for (app, want) in [
        (app(), "there is no handler `on.stripe.x`"),
        (
            app().on_tx("stripe", "x", |_, _, _| Box::pin(async { Outcome::done() })),
            "`on.stripe.x` works in a transaction",
        ),
    ] {
        let error = app.start().await.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("sources.stripe.respond: ") && error.contains(want), "{error}");
    }
    let app = app().on("stripe", "x", |_, _| async { Outcome::done() });
    app.start().await.unwrap().shutdown().await;
}
