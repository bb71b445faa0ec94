//! `hookonce record`: a real event as a fixture, without people and secrets in it.

use std::io::Write;
use std::path::Path;

use super::access::Access;
use super::output::{count, plain};
use super::{Failure, Global, Output};
use crate::fixture::change::Change;
use crate::fixture::redact::Places;
use crate::fixture::{Fixture, Recorded, Redaction, record};
use crate::http::admin::shape::EventFull;
use crate::received::Headers;
use crate::source::{Facts, catalog};

/// Which event, and what of it stays.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Our id or the provider's
    #[arg(value_name = "EVENT")]
    event: String,
    /// Take this out too, or put VALUE there: /data/object/id or data.lines.*.sku
    #[arg(long, value_name = "POINTER[=VALUE]")]
    redact: Vec<Taken>,
    /// Leave this as it is, whatever its key says
    #[arg(long, value_name = "POINTER")]
    keep: Vec<Places>,
    /// Keep this header too
    #[arg(long, value_name = "NAME")]
    keep_header: Vec<String>,
    /// Leave the whole body as it is, byte for byte
    #[arg(long, conflicts_with_all = ["redact", "keep"])]
    no_redact: bool,
}

/// `--redact`: a place, or a change of one.
#[derive(Debug, Clone)]
enum Taken {
    Out(Places),
    Changed(Change),
}

impl std::str::FromStr for Taken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.contains('=') {
            true => text.parse().map(Self::Changed),
            false => text.parse().map(Self::Out),
        }
    }
}

/// Writes the fixture to `-o FILE`, else to standard output; what was taken out is said on standard error.
pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<(), Failure> {
    let access = Access::open(global).await?;
    let fetched = fetch(&args.event, &access, global, output).await;
    access.close().await;
    let (event, facts) = fetched?;
    let fixture = make(&args, &event, facts.as_ref(), output)?;
    let text = fixture.to_text();
    match global.file() {
        None => output.bytes(text.as_bytes()),
        Some(file) => write(file, &text, global.yes()),
    }
}

/// The event, and what is known of its source.
async fn fetch(
    id: &str,
    access: &Access,
    global: &Global,
    output: &Output,
) -> Result<(Recorded, Option<Facts>), Failure> {
    let EventFull { event, headers: lines, .. } = access.event(id).await?;
    let Some(lines) = lines else {
        return Err(Failure::NotFound(format!(
            "retention dropped the body of event {}: only its key is left",
            event.id
        )));
    };
    let body = access.event_body(event.id).await?;
    let mut headers = Headers::new();
    for (name, value) in lines {
        headers.push(&name, value);
    }
    let source = match access.source(&event.source, false).await {
        Ok(source) => Some(source),
        // Its events outlive a source.
        Err(Failure::NotFound(_)) => None,
        Err(failure) => return Err(failure),
    };
    let provider = source.and_then(|source| source.provider);
    let facts = facts(&event.source, provider.as_deref(), global, output);
    if facts.is_none() {
        output.warn(&format!(
            "no config here says how source `{}` reads its ids: headers are chosen by their names alone",
            event.source
        ));
    }
    let recorded = Recorded {
        provider,
        source: event.source,
        event_id: event.event_id,
        kind: event.r#type,
        headers,
        body: body.into(),
    };
    Ok((recorded, facts))
}

/// Of the config's source when there is a config, else of the preset.
fn facts(source: &str, provider: Option<&str>, global: &Global, output: &Output) -> Option<Facts> {
    // With `--url` there need be no config; one that is there and has faults is said.
    let config = match global.load() {
        Ok(loaded) => Some(loaded.config),
        Err(faults @ Failure::Config(_)) => {
            output.warn(&format!("the config here is not used: {faults}"));
            None
        }
        Err(_) => None,
    };
    let settings = config.and_then(|config| {
        config.sources.into_iter().find(|settings| settings.name.as_str() == source)
    });
    let configured = settings.and_then(|settings| crate::source::Source::compile(settings).ok());
    match configured {
        Some(source) => Some(source.facts()),
        None => catalog::get(provider?)?.source.facts().ok(),
    }
}

fn make(
    args: &Args,
    event: &Recorded,
    facts: Option<&Facts>,
    output: &Output,
) -> Result<Fixture, Failure> {
    let redact = args.redact.iter().filter_map(|taken| match taken {
        Taken::Out(places) => Some(places.clone()),
        Taken::Changed(_) => None,
    });
    let redaction =
        Redaction { redact: redact.collect(), keep: args.keep.clone(), ..Redaction::default() };
    let redaction = (!args.no_redact).then_some(&redaction);
    let (mut fixture, dropped) =
        record(event, facts, redaction, &args.keep_header).map_err(Failure::Failed)?;
    let mut request = fixture.request("/", event_time());
    for taken in &args.redact {
        if let Taken::Changed(change) = taken {
            change.apply(&mut request).map_err(Failure::Failed)?;
            fixture.redacted.push(change.pointer().to_owned());
        }
    }
    fixture.body = request.body;
    fixture.redacted.sort();
    fixture.redacted.dedup();
    if !dropped.is_empty() {
        output.say(&format!("headers left out: {}", plain(&dropped.join(", "))));
    }
    if args.no_redact {
        output.warn("nothing of the body was taken out: it may hold people and secrets");
    } else if fixture.redacted.is_empty() {
        output.say("no value of the body looks personal or secret: nothing was taken out");
    } else {
        let places = count(fixture.redacted.len(), "place");
        output.say(&format!("stand-ins at {places}:"));
        for pointer in &fixture.redacted {
            output.say(&format!("  {}", plain(pointer)));
        }
    }
    Ok(fixture)
}

/// Nothing of a fixture depends on when it is made.
fn event_time() -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::default()
}

fn write(file: &Path, text: &str, may_overwrite: bool) -> Result<(), Failure> {
    let mut options = std::fs::File::options();
    options.write(true);
    match may_overwrite {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let failed = |why: std::io::Error| match why.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::Failed(format!("{} is there already; --yes writes over it", file.display()))
        }
        _ => Failure::Failed(format!("{} can't be written: {why}", file.display())),
    };
    let mut opened = options.open(file).map_err(failed)?;
    opened.write_all(text.as_bytes()).map_err(failed)
}
