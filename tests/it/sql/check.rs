//! `hookonce check` asks the databases whether they understand the statements.

use super::{account, handler, ledger};
use crate::both_databases;
use crate::daemon::stripe;
use crate::support::{DaemonPlan, TestDatabase};

both_databases!(check_names_the_place_of_each_statement_that_is_not_understood, |db| async move {
    account(&db).await;
    let app = match db.kind() {
        crate::support::Kind::Postgres => TestDatabase::postgres_without_tables().await,
        crate::support::Kind::Sqlite => TestDatabase::sqlite().await,
    };
    account(&app).await;
    let good = "update acct set n = n + :body.a";
    let wrong = ["insert into nowhere values (:event.id)", good, "update acct set m = 1"];
    let daemon = ledger(&db, &wrong, "").place();
    let said = daemon.run(&["check"]).await;
    said.code(2).says("statement 1 of `ledger` is not understood by our own database");
    said.says("nowhere").says("statement 3 of `ledger`").says("hookonce.toml:");
    assert!(!said.err.contains("statement 2"), "{}", said.err);

    let there = handler("database = \"app\", ", &wrong, "");
    let databases = format!("[databases.app]\nurl = {:?}\n", app.url());
    let plan = DaemonPlan::on(&db).source(&stripe()).toml(&there).toml(&databases);
    let said = plan.place().run(&["check"]).await;
    said.code(2).says("statement 3 of `ledger` is not understood by the database `app`");
    let fences = "SELECT count(*) FROM ".to_owned() + "hookonce_fence";
    assert!(app.try_number(&fences).await.is_err(), "a check makes nothing");

    ledger(&db, &[good], "").place().run(&["check"]).await.code(0);
    assert_eq!(db.number("SELECT n FROM acct").await, 0, "nothing was run");
});
