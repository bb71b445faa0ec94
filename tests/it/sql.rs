//! SQL handlers: done exactly once, in the transaction that settles, or behind a fence elsewhere.

mod apart;
mod check;
mod elsewhere;
mod functions;
mod given_up;
mod nested;
mod own;
mod recovered;
mod standby;
mod storm;
mod turns;
mod unheard;

use crate::daemon::stripe;
use crate::support::{DaemonPlan, Kind, TestDatabase};

/// Another database than ours, with a table that counts.
pub async fn app_database(kind: Kind) -> TestDatabase {
    let app = match kind {
        Kind::Postgres => TestDatabase::postgres_without_tables().await,
        // The file must be there: a typing error must not make a new database.
        Kind::Sqlite => TestDatabase::sqlite().await,
    };
    account(&app).await;
    app
}

/// Stripe's events run these statements, with more lines in the handler's table.
pub fn ledger(db: &TestDatabase, statements: &[&str], lines: &str) -> DaemonPlan {
    DaemonPlan::on(db).source(&stripe()).toml(&handler("", statements, lines))
}

/// The handler's table; `database` is empty or `database = "app", `.
pub fn handler(database: &str, statements: &[&str], lines: &str) -> String {
    format!(
        "[handlers.ledger]\nfrom = \"stripe\"\nsql = {{ {database}statements = {statements:?} }}\n{lines}\n"
    )
}

/// The states of all deliveries with what they say, in the order of their events.
pub async fn states(db: &TestDatabase) -> Vec<String> {
    db.texts(
        "SELECT d.state || COALESCE(': ' || d.cause, '') FROM delivery d
           JOIN event e ON e.id = d.event_id ORDER BY e.event_id",
    )
    .await
}

/// A table that counts.
pub async fn account(db: &TestDatabase) {
    db.run("CREATE TABLE acct (n bigint NOT NULL)").await;
    db.run("INSERT INTO acct (n) VALUES (0)").await;
}

/// A query that takes a minute.
pub fn slow(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "select pg_sleep(60)",
        Kind::Sqlite => {
            "with recursive c (n) as (select 1 union all select n + 1 from c where n < 3000000000) insert into acct select count(*) from c"
        }
    }
}
