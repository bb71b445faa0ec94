//! A small service around hookonce: charges go into a ledger exactly once, and invoices are announced.
//!
//! `docs/embed.md` walks through it.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::str::FromStr;

use anyhow::Context as _;
use hookonce::app::App;
use hookonce::config::{Config, Environment};
use hookonce::event::Event;
use hookonce::handler::{Context, Outcome, Variables};
use hookonce::store::effect::Tx;
use hookonce::store::sqlx::sqlite::SqliteConnectOptions;
use hookonce::store::sqlx::{self, ConnectOptions, Connection};
use hookonce::store::{Store, StoreSettings};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let interrupted = shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    serve(Path::new("examples/embed.toml"), shutdown).await
}

/// Serves what the config says until `shutdown`, then ends in order.
pub async fn serve(file: &Path, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (config, _) = Config::load(Some(file), &Environment::of_process())?;
    make_ledger(&config.store).await.context("the ledger")?;
    println!("webhooks on http://{}/in/stripe", config.server.listen);
    let app = App::build(config, &Variables::new())?
        .on_tx("stripe", "charge.succeeded", |event, _, tx| Box::pin(book(event, tx)))
        .on("stripe", "invoice.*", announce);
    app.run(shutdown).await?;
    Ok(())
}

/// Our own table lies beside hookonce's, so that both are written in one transaction.
async fn make_ledger(settings: &StoreSettings) -> anyhow::Result<()> {
    // Opening makes the file and hookonce's tables.
    Store::open(settings).await?.close().await;
    let mut connection = SqliteConnectOptions::from_str(&settings.url)?.connect().await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS ledger (charge text PRIMARY KEY, amount integer NOT NULL)",
    )
    .execute(&mut connection)
    .await?;
    connection.close().await?;
    Ok(())
}

/// Exactly once: the row is committed together with "this delivery is done", or neither is.
async fn book(event: Event, mut tx: Tx<'_>) -> Outcome {
    let amount = serde_json::from_slice::<serde_json::Value>(&event.body)
        .ok()
        .and_then(|body| body.pointer("/data/object/amount")?.as_i64());
    let Some(amount) = amount else {
        return Outcome::reject("the charge has no amount");
    };
    let Some(connection) = tx.sqlite() else {
        return Outcome::reject("this example keeps its ledger in SQLite");
    };
    let booked = sqlx::query("INSERT INTO ledger (charge, amount) VALUES (?1, ?2)")
        .bind(&event.event_id)
        .bind(amount)
        .execute(connection)
        .await;
    match booked {
        Ok(_) => Outcome::done(),
        Err(error) => Outcome::retry(error.to_string()),
    }
}

/// At least once: whatever leaves the house may be repeated, under the same delivery.
async fn announce(event: Event, context: Context) -> Outcome {
    println!(
        "{} {} (delivery {}, try {})",
        event.kind, event.event_id, context.delivery, context.attempt
    );
    Outcome::done()
}
