//! Who waits for whom at the connections on which effects work.

use super::{app_database, handler, slow, states};
use crate::both_databases;
use crate::daemon::{PATIENCE, STRIPE, stripe};
use crate::support::daemon::wait_until_settled;
use crate::support::{DaemonPlan, Kind, TestApp};

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
    for at in 0..events {
        let event = stripe().event(&format!("evt_{at}"), "x");
        app.sender().send(STRIPE, &event).await.assert_accepted();
    }
    wait_until_settled(&db, PATIENCE).await;
    let states = states(&db).await;
    assert_eq!(states.len(), events);
    // Each had its six seconds, and none failed for want of a connection.
    let unlucky: Vec<_> = states.iter().filter(|it| it.contains("can't be used now")).collect();
    assert!(unlucky.is_empty(), "{unlucky:?}");
    assert_eq!(there.number("SELECT n FROM acct").await, 0);
    app.finish().await;
});
