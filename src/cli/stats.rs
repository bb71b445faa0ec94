//! `hookonce stats`: sums over a time, and how things stand now.

use chrono::{DateTime, Utc};

use super::access::Access;
use super::output::{Grid, plain};
use super::{Failure, Global, Output, moment};
use crate::http::admin::shape::Stats;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Sum over what came since: 2h, 3d, or an RFC 3339 time
    #[arg(long, default_value = "1h", value_parser = moment::parse)]
    since: DateTime<Utc>,
}

pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<(), Failure> {
    let access = Access::open(global).await?;
    let result = access.stats(args.since).await;
    access.close().await;
    output.one(&result?, text)
}

fn text(stats: &Stats) -> String {
    let mut sources = Grid::new(["SOURCE", "EVENTS", "DUPLICATES", "REJECTED", "LAST"]);
    for it in &stats.sources {
        sources.row([
            it.source.clone(),
            it.events.to_string(),
            it.duplicates.to_string(),
            it.rejected.values().sum::<u64>().to_string(),
            it.last_received_at.map_or_else(|| "-".to_owned(), moment::show),
        ]);
    }
    let mut handlers = Grid::new([
        "HANDLER",
        "DELIVERED",
        "TRIES",
        "OPEN",
        "DEAD",
        "| NOW PENDING",
        "DEAD",
        "OLDEST",
    ]);
    for it in &stats.handlers {
        let in_state = |state: &str| it.deliveries.get(state).copied().unwrap_or(0);
        handlers.row([
            it.handler.clone(),
            in_state("delivered").to_string(),
            it.tries.to_string(),
            (in_state("pending") + in_state("leased")).to_string(),
            in_state("dead").to_string(),
            format!("| {}", it.pending),
            it.dead.to_string(),
            format!("{:.0}s", it.oldest_pending_seconds),
        ]);
    }
    let mut tables = Grid::new(["TABLE", "ROWS", "SIZE", "EXPIRED"]);
    for it in &stats.tables {
        let or_dash = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let size = it.bytes.map_or_else(|| "-".to_owned(), |n| bytesize::ByteSize(n).to_string());
        tables.row([it.table.clone(), or_dash(it.rows), size, or_dash(it.expired)]);
    }
    let last = stats.cleanup.last_success_at.map_or_else(|| "never".to_owned(), moment::show);
    let cleanup = match &stats.cleanup.fault {
        Some(fault) => format!("cleanup: {}; last ended well: {last}", plain(fault)),
        None => format!("cleanup: last ended well: {last}"),
    };
    let rejected: Vec<String> = stats
        .sources
        .iter()
        .flat_map(|it| it.rejected.iter().map(move |(code, n)| format!("{} {code} {n}", it.source)))
        .map(|line| plain(&line))
        .collect();
    let mut parts = vec![
        format!("since {} until {}", moment::show(stats.since), moment::show(stats.until)),
        sources.text(),
        handlers.text(),
        tables.text(),
        cleanup,
    ];
    if !rejected.is_empty() {
        parts.insert(2, format!("rejected: {}", rejected.join(", ")));
    }
    parts.join("\n\n")
}
