//! How a service tests its webhook handlers: a recorded event is signed again, sent twice at once and out
//! of order, and has one effect.
//!
//! `docs/testing.md` walks through it. In a service of yours, [`one_effect`] is a test.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use hookonce::app::App;
use hookonce::event::Event;
use hookonce::fixture::Fixture;
use hookonce::handler::Outcome;
use hookonce::store::effect::Tx;
use hookonce::store::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use hookonce::store::sqlx::{self, ConnectOptions, Connection};
use hookonce::testing::TestServer;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    one_effect(Path::new("examples/fixtures")).await?;
    println!("one charge that came twice is one row, and two that came out of order are two");
    Ok(())
}

/// The service: charges go into its ledger.
pub fn service(app: App) -> App {
    app.on_tx("stripe", "charge.succeeded", |event, _, tx| Box::pin(book(event, tx)))
}

/// Exactly once: the row is committed together with "this delivery is done", or neither is.
async fn book(event: Event, mut tx: Tx<'_>) -> Outcome {
    let amount = serde_json::from_slice::<serde_json::Value>(&event.body)
        .ok()
        .and_then(|body| body.pointer("/data/object/amount")?.as_i64());
    let (Some(amount), Some(connection)) = (amount, tx.sqlite()) else {
        return Outcome::reject("no amount, or no SQLite");
    };
    // No primary key: a second effect would be seen.
    let booked = sqlx::query("INSERT INTO ledger (event, amount) VALUES (?1, ?2)")
        .bind(&event.event_id)
        .bind(amount)
        .execute(connection)
        .await;
    match booked {
        Ok(_) => Outcome::done(),
        Err(error) => Outcome::retry(error.to_string()),
    }
}

const CONFIG: &str = r#"
    [sources.stripe]
    provider = "stripe"
    secrets  = [{ value = "whsec_a9f3c2e17b6d4058913fd2c7e6a1b045" }]
"#;

/// The test of it.
pub async fn one_effect(recorded: &Path) -> anyhow::Result<()> {
    let server = TestServer::start(CONFIG, service).await?;
    let mut tables = SqliteConnectOptions::from_str(server.database_url())?.connect().await?;
    sqlx::query("CREATE TABLE ledger (event text, amount integer)").execute(&mut tables).await?;

    // A real event, made a fixture by `hookonce record`. It is signed as of now, by our test's secret.
    let charge = Fixture::load(recorded.join("charge.json"))?;
    let answers = server.send_twice(&charge).await?;
    let accepted = answers.iter().filter(|answer| answer.code == "accepted").count();
    ensure!(accepted == 1, "one of two copies is accepted: {answers:?}");

    // Two more, the later one first, and one of them late again.
    let first = charge.clone().with_id("evt_first").set("/data/object/amount", "100")?;
    let second = charge.clone().with_id("evt_second").set("/data/object/amount", "200")?;
    server.send_reordered(&[first.clone(), second]).await?;
    server.send(&first).await?;

    server.settled().await?;
    let booked = ledger(&mut tables).await.context("the ledger")?;
    let want = [("evt_3MqqbKLt4dXK03v51aIbiNCC", 2500), ("evt_first", 100), ("evt_second", 200)];
    ensure!(
        booked.iter().map(|(event, amount)| (event.as_str(), *amount)).eq(want),
        "each charge is booked once: {booked:?}"
    );
    tables.close().await?;
    server.stop().await;
    Ok(())
}

async fn ledger(tables: &mut SqliteConnection) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT event, amount FROM ledger ORDER BY event").fetch_all(tables).await
}
