//! `hookonce send`: sign a fixture as its provider would, and send it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::global::Format;
use super::output::plain;
use super::{Failure, Global, Output};
use crate::fixture::file::load as load_fixtures;
use crate::fixture::{Change, Fault, Fixture, SendError, SendPlan, Sender, Sent, Summary};
use crate::fixture::{run as run_plan, shipped};
use crate::replay::rate;

mod key;
mod load;
mod target;
mod wait;

/// What to send, where to, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A provider with shipped fixtures, or a fixture's file, or a folder of them
    #[arg(value_name = "PROVIDER|FILE|DIR")]
    what: String,
    /// The event's type, such as invoice.paid; the provider's first fixture when absent
    #[arg(value_name = "TYPE")]
    kind: Option<String>,
    /// Where to; the configured source on this machine when absent
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// The configured source whose secret signs; the only one of the provider when absent
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Sign with this secret instead of the source's own
    // A private key in PEM begins with hyphens.
    #[arg(
        long,
        value_name = "SECRET",
        env = "HOOKONCE_SEND_SECRET",
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    secret: Option<String>,
    /// A value that the preset asks for beside the secret: verify_token=…
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    params: Vec<(String, String)>,
    /// The private key to sign with where the provider has one; made when it isn't there
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Put a value into the body: /data/object/amount=100 or data.object.amount=100
    #[arg(long = "set", value_name = "POINTER=VALUE")]
    changes: Vec<Change>,
    /// The event's id; a recorded fixture's own, else a fresh one for each request, when absent
    #[arg(long)]
    id: Option<String>,
    /// Give recorded fixtures a fresh id each time too
    #[arg(long, conflicts_with = "id")]
    fresh_ids: bool,
    /// How often to send each fixture [default: 1, or as often as --duration allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Requests a second: 50/s or 600/m
    #[arg(long, value_name = "R/s", value_parser = rate)]
    rate: Option<f64>,
    /// Begin no request after this: 10s
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Send each request a second time after it was answered
    #[arg(long)]
    twice: bool,
    /// Requests under way at once, at most 1024; in load mode connections, at most 10000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    concurrent: u16,
    /// Flip one bit of the signature
    #[arg(long)]
    bad_signature: bool,
    /// Sign as of eight days ago: beyond every provider's tolerance
    #[arg(long)]
    stale: bool,
    /// Cut the body in half after signing
    #[arg(long)]
    truncate: bool,
    /// Send the whole batch in shuffled order
    #[arg(long)]
    reorder: bool,
    /// The same seed gives the same ids and the same order
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Pad the JSON body to this many bytes by a member `padding`
    #[arg(long, value_name = "BYTES")]
    size: Option<usize>,
    /// Wait until every delivery of what was sent is delivered, at most this long: 10s
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    load: load::Flags,
}

/// One request and its answer, as `-o json` and `-o jsonl` print it.
#[derive(Debug, Serialize)]
struct Line {
    /// The HTTP status.
    status: u16,
    /// `accepted`, `duplicate`, a refusal's code, or `ok` for an answer that isn't an ack.
    code: String,
    /// The provider's id that was sent.
    event_id: Option<String>,
    /// Our id.
    event: Option<Uuid>,
    /// From the first byte sent to the whole answer.
    ms: f64,
}

impl Line {
    fn new(sent: &Sent) -> Self {
        let ms = sent.elapsed.as_secs_f64() * 1000.0;
        Self {
            status: sent.status,
            code: sent.code.clone(),
            event_id: sent.event_id.clone(),
            event: sent.event,
            ms: (ms * 1000.0).round() / 1000.0,
        }
    }

    /// `accepted  200  evt_…  <our id>  1.8 ms`
    fn text(&self) -> String {
        let event = self.event.map_or_else(|| "-".to_owned(), |event| event.to_string());
        let event_id = plain(self.event_id.as_deref().unwrap_or("-"));
        format!("{}  {}  {event_id}  {event}  {:.1} ms", plain(&self.code), self.status, self.ms)
    }
}

/// Sends; fails when an answer isn't 2xx, nobody answers, or `--wait` is in vain.
pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<(), Failure> {
    load::check(&args)?;
    let mut fixtures = args.fixtures()?;
    let target = target::choose(&args, &fixtures, global, output)?;
    let sender = Sender::new(&target.url, target.source).map_err(failure)?;
    if let Some(size) = args.size {
        for fixture in &mut fixtures {
            let padded = sender.pad(fixture, &args.changes, args.id.as_deref(), size);
            *fixture = padded.map_err(failure)?;
        }
    }
    if args.load.is_load() {
        let (flags, summarised) = (args.load.clone(), args.load.is_summarised());
        return load::send(flags.plan(args.plan(fixtures)), summarised, sender, output).await;
    }
    // Before anything is sent: a wait that can't work must not leave events behind.
    let waiting = match args.wait {
        Some(most) => Some((wait::Watcher::new(target.admin.as_ref(), global)?, most)),
        None => None,
    };
    let plan = args.plan(fixtures);
    let (summary, events) = send(&plan, &sender, output).await?;
    if summary.sent > 1 {
        output.say(&format!(
            "sent {} in {:.1} s: {} answered 2xx, {} of them duplicates",
            summary.sent,
            summary.elapsed.as_secs_f64(),
            summary.ok,
            summary.duplicates
        ));
    }
    if summary.ok < summary.sent {
        let refused = summary.sent - summary.ok;
        return Err(Failure::Failed(format!("{refused} of {} were refused", summary.sent)));
    }
    match waiting {
        Some((watcher, most)) => watcher.until_delivered(events, most, output).await,
        None => Ok(()),
    }
}

/// Sends a plan and prints each answer. Gives the ids by which the events can be asked for.
async fn send(
    plan: &SendPlan,
    sender: &Sender,
    output: &Output,
) -> Result<(Summary, Vec<String>), Failure> {
    let mut printer = Printer::new(output);
    let mut events = Vec::new();
    let mut sink = |sent: &Sent| {
        // An answer without our id is one that the provider wants: then its own id must do.
        events.extend(sent.event.map(|event| event.to_string()).or_else(|| sent.event_id.clone()));
        printer.take(sent);
    };
    let summary = run_plan(plan, sender, &mut sink).await;
    printer.finish()?;
    events.sort();
    events.dedup();
    Ok((summary.map_err(failure)?, events))
}

/// Prints answers as they come, or all of them at the end where that is the format.
struct Printer<'a> {
    output: &'a Output,
    lines: Vec<Line>,
    printed: Result<(), Failure>,
}

impl<'a> Printer<'a> {
    fn new(output: &'a Output) -> Self {
        Self { output, lines: Vec::new(), printed: Ok(()) }
    }

    fn take(&mut self, sent: &Sent) {
        let line = Line::new(sent);
        match self.output.format() {
            Format::Json => self.lines.push(line),
            Format::Jsonl if self.printed.is_ok() => self.printed = self.output.json(&line),
            Format::Table if self.printed.is_ok() => self.printed = self.output.line(&line.text()),
            Format::Jsonl | Format::Table => {}
        }
    }

    /// Fails with what kept an answer from being printed. What was answered before a failure to send
    /// is printed all the same.
    fn finish(self) -> Result<(), Failure> {
        self.printed?;
        if self.output.format() == Format::Json {
            let page = serde_json::json!({ "items": self.lines, "next_cursor": null });
            self.output.json(&page)?;
        }
        Ok(())
    }
}

fn failure(error: SendError) -> Failure {
    match error {
        SendError::Unreachable { .. } => Failure::Unreachable(error.to_string()),
        SendError::Unfit(reason) => Failure::Usage(reason),
        SendError::Journal(_) => Failure::Failed(error.to_string()),
    }
}

impl Args {
    /// Whether `what` is a file or a folder. A provider's name is the provider: write `./stripe` for
    /// a folder of that name.
    fn is_path(&self) -> bool {
        shipped::names(&self.what).is_empty()
            && (self.what.contains('/') || Path::new(&self.what).exists())
    }

    fn fixtures(&self) -> Result<Vec<Fixture>, Failure> {
        if !self.is_path() {
            let fixture = shipped::get(&self.what, self.kind.as_deref());
            return fixture.map(|fixture| vec![fixture]).map_err(Failure::Usage);
        }
        let mut fixtures = load_fixtures(Path::new(&self.what))
            .map_err(|error| Failure::Usage(error.to_string()))?;
        if let Some(kind) = &self.kind {
            fixtures.retain(|fixture| fixture.kind == *kind);
            if fixtures.is_empty() {
                let reason = format!("{} holds no fixture of type `{kind}`", self.what);
                return Err(Failure::Usage(reason));
            }
        }
        if self.fresh_ids {
            fixtures = fixtures.into_iter().map(Fixture::with_fresh_ids).collect();
        }
        Ok(fixtures)
    }

    fn plan(self, fixtures: Vec<Fixture>) -> SendPlan {
        let faults = [
            (self.bad_signature, Fault::BadSignature),
            (self.stale, Fault::Stale),
            (self.truncate, Fault::Truncate),
        ];
        SendPlan {
            fixtures,
            changes: self.changes,
            id: self.id,
            count: self.count,
            duration: self.duration,
            rate: self.rate,
            concurrent: usize::from(self.concurrent),
            twice: self.twice,
            reorder: self.reorder,
            faults: faults.into_iter().filter_map(|(wanted, it)| wanted.then_some(it)).collect(),
            seed: self.seed,
        }
    }
}

/// Reads `name=value`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as name=value".to_owned()),
    }
}

/// A listener's address as one can connect to it: "all addresses" is reached at loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests;
