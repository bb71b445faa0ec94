//! `hookonce event`: what was recorded.

use std::ffi::OsString;

use chrono::{DateTime, Utc};
use clap::{Args, CommandFactory, Subcommand};
use entity::{Name, State};

use super::access::Access;
use super::delivery::{self, actions};
use super::moment;
use super::output::{Grid, count, plain};
use super::{Cli, Failure, Global, Output, unbuilt};
use crate::http::admin::shape::{DeliveryFull, EventFull, EventItem};
use crate::store::EventFilter;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Events, newest first.
    List(ListArgs),
    /// Everything about events but their bodies.
    Show(Ids),
    /// An event's exact bytes.
    Body {
        /// Our id or the provider's.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Reopen dead deliveries, or backfill a handler.
    Replay(ReplayArgs),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Args)]
pub(super) struct ListArgs {
    /// Only of this source
    #[arg(long)]
    source: Option<String>,
    /// Only of this type; a trailing `*` matches any rest
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only with a delivery in this state
    #[arg(long, value_parser = delivery::state)]
    state: Option<State>,
    /// Only this one: our id or the provider's
    #[arg(long)]
    id: Option<String>,
    /// Recorded since: 2h, 3d, or an RFC 3339 time
    #[arg(long, value_parser = moment::parse)]
    since: Option<DateTime<Utc>>,
    /// Recorded before: 2h, 3d, or an RFC 3339 time
    #[arg(long, value_parser = moment::parse)]
    until: Option<DateTime<Utc>>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<String>,
    #[arg(long = "where", hide = true)]
    condition: Option<String>,
}

#[derive(Args)]
pub(super) struct Ids {
    /// Our id or the provider's
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

#[derive(Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    ids: Ids,
    /// Only for this handler, which need not have had the event
    #[arg(long, value_name = "HANDLER", value_parser = delivery::name)]
    to_handler: Option<Name>,
    /// Also what was delivered: a new round under a new id, which receivers won't dedupe
    #[arg(long)]
    again: bool,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(verb: Verb, global: &Global, output: &Output) -> Result<(), Failure> {
    if let Verb::Other(words) = &verb {
        return Err(unbuilt::verb(&["event"], words, &Cli::command()));
    }
    if let Verb::List(ListArgs { condition: Some(_), .. }) = &verb {
        return Err(unbuilt::flag("--where"));
    }
    let access = Access::open(global).await?;
    let result = match verb {
        Verb::List(args) => list(args, &access, output).await,
        Verb::Show(ids) => show(&ids.ids, &access, output).await,
        Verb::Body { id } => {
            let event = access.event(&id).await?;
            output.bytes(&access.event_body(event.event.id).await?)
        }
        Verb::Replay(args) => replay(args, &access, global, output).await,
        Verb::Other(_) => Ok(()),
    };
    access.close().await;
    result
}

async fn list(args: ListArgs, access: &Access, output: &Output) -> Result<(), Failure> {
    let filter = EventFilter {
        source: args.source,
        kind: args.kind,
        state: args.state,
        id: args.id,
        since: args.since,
        until: args.until,
        cursor: args.cursor,
        limit: Some(args.limit),
    };
    let page = access.events(&filter).await?;
    output.list(&page.items, page.next_cursor.as_deref(), grid)
}

fn grid(events: &[EventItem]) -> Grid {
    let mut grid =
        Grid::new(["ID", "RECEIVED", "SOURCE", "TYPE", "EVENT", "SIZE", "COPIES", "DELIVERIES"]);
    for event in events {
        let mut deliveries: Vec<String> = event
            .deliveries
            .iter()
            .map(|delivery| format!("{} {}", delivery.handler, delivery.state.as_str()))
            .collect();
        deliveries.extend(event.held.iter().map(|why| format!("held: {why}")));
        if event.conflict {
            deliveries.push("id conflict".to_owned());
        }
        if event.replay_suspected {
            deliveries.push("replay suspected".to_owned());
        }
        grid.row([
            event.id.to_string(),
            moment::show(event.received_at),
            event.source.clone(),
            event.r#type.clone(),
            event.event_id.clone(),
            event.size.to_string(),
            event.duplicates.to_string(),
            deliveries.join(", "),
        ]);
    }
    grid
}

async fn show(ids: &[String], access: &Access, output: &Output) -> Result<(), Failure> {
    for id in ids {
        let event = access.event(id).await?;
        output.one(&event, text)?;
    }
    Ok(())
}

fn text(event: &EventFull) -> String {
    let head = &event.event;
    let mut grid = Grid::default();
    let mut pair = |key: &str, value: String| grid.row([key.to_owned(), value]);
    pair("id", head.id.to_string());
    pair("source", head.source.clone());
    pair("event", head.event_id.clone());
    pair("type", head.r#type.clone());
    pair("received", moment::show(head.received_at));
    pair("expires", moment::show(event.expires_at));
    pair("size", format!("{} bytes", head.size));
    pair("digest", event.digest.clone());
    pair("copies", head.duplicates.to_string());
    if let Some(why) = &head.held {
        pair("held", why.clone());
    }
    if let Some(earlier) = &head.replay_of {
        pair("replay", format!("the same signed bytes came before as {earlier}"));
    }
    for other in &event.conflicts {
        pair("conflict", format!("another body came under this id: {other}"));
    }
    let mut text = grid.text();
    match &event.headers {
        Some(headers) => {
            text += "\n\nheaders\n";
            for (name, value) in headers {
                text += &format!("  {}: {}\n", plain(name), plain(value));
            }
        }
        None => text += "\n\nretention dropped headers and body\n",
    }
    for one in &event.deliveries {
        text += &format!("\n{}\n", delivery::text(one));
    }
    text
}

async fn replay(
    args: ReplayArgs,
    access: &Access,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    let mut events = Vec::new();
    for id in &args.ids.ids {
        events.push(access.event(id).await?);
    }
    if args.dry_run {
        let lines: Vec<DeliveryFull> = events.iter().flat_map(last_rounds).collect();
        output.say("nothing is changed; this is what a replay finds (dead is reopened, delivered is skipped but for --again):");
        return output.list(&lines, None, delivery::grid);
    }
    if args.again {
        output.warn(
            "--again makes new deliveries under new ids: receivers can't know that they had them",
        );
        let question = format!("deliver {} again?", count(events.len(), "event"));
        output.insist(&question, global.yes())?;
    }
    let mut done = Vec::new();
    for event in &events {
        match access.replay(event.event.id, args.to_handler.as_ref(), args.again).await {
            Ok(replayed) => done.extend(replayed),
            Err(failure) => {
                // What was done must be known before the failure is: repeated, it may be delivered again.
                output.list(&done, None, actions)?;
                return Err(failure);
            }
        }
    }
    if done.is_empty() {
        output.say("these events have no deliveries; name a handler with --to-handler");
    }
    output.list(&done, None, actions)
}

/// The last delivery of each handler.
fn last_rounds(event: &EventFull) -> Vec<DeliveryFull> {
    let mut last: Vec<&DeliveryFull> = Vec::new();
    for delivery in &event.deliveries {
        last.retain(|other| other.handler != delivery.handler || other.round > delivery.round);
        if !last.iter().any(|other| other.handler == delivery.handler) {
            last.push(delivery);
        }
    }
    last.into_iter().map(|it| DeliveryFull { tries: None, ..it.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_handler_the_last_round_is_shown() {
        let delivery = |handler: &str, round: i32, state: &str| {
            serde_json::json!({
                "id": uuid::Uuid::nil(), "event": uuid::Uuid::nil(), "source": "s", "event_id": "e",
                "type": "t", "handler": handler, "round": round, "state": state, "attempts": 1,
                "due_at": "2026-11-23T12:00:00Z", "settled_at": null, "cause": null, "tries": []
            })
        };
        let event: EventFull = serde_json::from_value(serde_json::json!({
            "id": uuid::Uuid::nil(), "source": "s", "event_id": "e", "type": "t",
            "received_at": "2026-11-23T12:00:00Z", "size": 1, "duplicates": 0, "conflict": false,
            "headers": null, "digest": "00", "expires_at": "2026-11-23T12:00:00Z", "conflicts": [],
            "deliveries": [
                delivery("a", 0, "delivered"), delivery("b", 0, "dead"), delivery("a", 1, "dead"),
            ],
        }))
        .expect("an event");
        let last: Vec<(String, i32)> =
            last_rounds(&event).into_iter().map(|it| (it.handler, it.round)).collect();
        assert_eq!(last, [("b".to_owned(), 0), ("a".to_owned(), 1)]);
    }
}
