//! `hookonce verify`: would this request be accepted, and if not, why? Offline, from the config.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use entity::Name;
use serde::Serialize;

use super::output::Grid;
use super::{Failure, Global, Output};
use crate::config::did_you_mean;
use crate::received::{Headers, Received};
use crate::secret::Secret;
use crate::source::{Examined, Source, SourceSettings, Sources, catalog};

/// A longer head is no head.
const HEAD_MAX: u64 = 1024 * 1024;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A source of the config; with --secret, a provider's slug will do
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The request's headers, one `Name: value` a line; a request line may stand before them
    #[arg(long, value_name = "FILE")]
    headers: PathBuf,
    /// The exact body; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// The request's method [default: POST, or that of the request line]
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// Judge its freshness as of this time, in seconds since 1970 [default: now]
    #[arg(long, value_name = "UNIX")]
    now: Option<i64>,
    /// Use this secret in place of the config's; may stand several times
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
}

/// A step as it is shown.
#[derive(Serialize)]
struct Line {
    step: &'static str,
    ok: bool,
    said: String,
}

/// An event in the request.
#[derive(Serialize)]
struct Event {
    id: String,
    r#type: String,
}

/// What was found, as `-o json` prints it.
#[derive(Serialize)]
struct Report {
    source: String,
    accepted: bool,
    steps: Vec<Line>,
    events: Vec<Event>,
    /// The code of the refusal.
    code: Option<&'static str>,
    /// Its cause.
    cause: Option<&'static str>,
    /// A second cause, when only both together explain it.
    also: Option<&'static str>,
    /// Whether undoing the cause makes the request fit.
    proven: bool,
}

pub(super) fn run(args: &Args, global: &Global, output: &Output) -> Result<(), Failure> {
    let settings = settings(args, global)?;
    let received = received(args, &settings, global)?;
    let now = received.arrived_at;
    let spec = settings.spec.clone();
    let name = settings.name.clone();
    let source = Source::compile(settings)
        .map_err(|faults| Failure::Usage(format!("source `{name}`: {}", faults.join("; "))))?;
    if received.body.len() > source.max_body() {
        return Err(Failure::Failed(format!(
            "body_too_large: the source takes {} bytes, and the body has {}",
            source.max_body(),
            received.body.len()
        )));
    }
    let report = report(&name, source.examine(&spec, received, now, &others(global)));
    output.one(&report, text)?;
    match report.cause {
        None => Ok(()),
        Some(cause) => Err(Failure::Failed(format!(
            "it would be refused as {}: {cause}",
            report.code.unwrap_or_default()
        ))),
    }
}

/// The config's sources, when there is a config: the request may be meant for another one.
fn others(global: &Global) -> Sources {
    let config = global.load().ok().map(|loaded| loaded.config);
    let settings = config.into_iter().flat_map(|config| config.sources);
    Sources::new(settings.filter_map(|settings| Source::compile(settings).ok()))
}

fn report(name: &Name, examined: Examined) -> Report {
    let mut steps: Vec<Line> = examined
        .passed
        .into_iter()
        .map(|(step, said)| Line { step: step.as_str(), ok: true, said })
        .collect();
    let diagnosis = examined.diagnosis;
    steps.extend(diagnosis.iter().map(|diagnosis| Line {
        step: diagnosis.step().as_str(),
        ok: false,
        said: diagnosis.sentence.clone(),
    }));
    Report {
        source: name.to_string(),
        accepted: diagnosis.is_none(),
        steps,
        events: examined.events.into_iter().map(|(id, r#type)| Event { id, r#type }).collect(),
        code: examined.code,
        cause: diagnosis.as_ref().map(|diagnosis| diagnosis.cause.as_str()),
        also: diagnosis.as_ref().and_then(|it| it.also).map(|cause| cause.as_str()),
        proven: diagnosis.as_ref().is_some_and(|diagnosis| diagnosis.proven),
    }
}

fn text(report: &Report) -> String {
    let mut grid = Grid::default();
    for line in &report.steps {
        let mark = if line.ok { "ok" } else { "FAILS" };
        grid.row([mark.to_owned(), line.step.to_owned(), line.said.clone()]);
    }
    for event in report.events.iter().filter(|event| !event.r#type.is_empty()) {
        grid.row([String::new(), "type".to_owned(), event.r#type.clone()]);
    }
    if let Some(cause) = report.cause {
        let also = report.also.map_or(String::new(), |also| format!(" and {also}"));
        grid.row([String::new(), "cause".to_owned(), format!("{cause}{also}")]);
    }
    grid.text()
}

/// The source's settings from the config; with a secret, a provider's alone will do.
fn settings(args: &Args, global: &Global) -> Result<SourceSettings, Failure> {
    let secrets = || args.secret.iter().cloned().map(Secret::new).collect::<Vec<_>>();
    let by_hand = !args.secret.is_empty() && !global.has_config();
    if by_hand && let Some(settings) = of_preset(args, global, secrets())? {
        return Ok(settings);
    }
    let config = global.load()?.config;
    let found = config.sources.iter().find(|source| source.name.as_str() == args.source);
    let Some(found) = found else {
        if !args.secret.is_empty()
            && let Some(settings) = of_preset(args, global, secrets())?
        {
            return Ok(settings);
        }
        let near = did_you_mean(&args.source, config.sources.iter().map(|it| it.name.as_str()));
        return Err(Failure::NotFound(format!("there is no source `{}`{near}", args.source)));
    };
    let mut settings = found.clone();
    if !args.secret.is_empty() {
        settings.secrets = secrets();
    }
    Ok(settings)
}

fn of_preset(
    args: &Args,
    global: &Global,
    secrets: Vec<Secret>,
) -> Result<Option<SourceSettings>, Failure> {
    let Some(preset) = catalog::get(&args.source) else { return Ok(None) };
    let name = Name::new(preset.slug).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(Some(SourceSettings {
        provider: Some(preset.slug.to_owned()),
        secrets,
        max_body: usize::MAX,
        public_url: global.url().map(ToString::to_string),
        ..SourceSettings::new(name, preset.source.clone())
    }))
}

/// The request as it is in the files.
fn received(args: &Args, settings: &SourceSettings, global: &Global) -> Result<Received, Failure> {
    let is_stdin = |path: &Path| path == Path::new("-");
    if is_stdin(&args.headers) && is_stdin(&args.body) {
        return Err(Failure::Usage("only one of --headers and --body can be `-`".to_owned()));
    }
    let head = read(&args.headers, HEAD_MAX)?;
    let limit = u64::try_from(settings.max_body).unwrap_or(u64::MAX).saturating_add(1);
    let body = read(&args.body, limit)?;
    let Head { method, target, headers } = head_of(&head)?;
    let called = global
        .url()
        .map(|url| url[url::Position::BeforePath..url::Position::AfterQuery].to_owned());
    let arrived_at = match args.now {
        None => Utc::now(),
        Some(seconds) => DateTime::from_timestamp(seconds, 0)
            .ok_or_else(|| Failure::Usage(format!("--now {seconds} is no time")))?,
    };
    Ok(Received {
        method: args.method.clone().or(method).unwrap_or_else(|| "POST".to_owned()),
        target: called.or(target).unwrap_or_else(|| settings.path.clone()),
        headers,
        body: Bytes::from(body),
        peer: None,
        arrived_at,
    })
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))?;
    Ok(bytes)
}

#[derive(Debug)]
struct Head {
    method: Option<String>,
    target: Option<String>,
    headers: Headers,
}

/// Lines of headers, and a request line before them when there is one.
fn head_of(bytes: &[u8]) -> Result<Head, Failure> {
    let mut head = Head { method: None, target: None, headers: Headers::new() };
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        if at == 0
            && let Some((method, target)) = request_line(line)
        {
            (head.method, head.target) = (Some(method), Some(target));
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').filter(|colon| *colon > 0);
        let name = colon.and_then(|colon| std::str::from_utf8(&line[..colon]).ok());
        let (Some(colon), Some(name)) = (colon, name) else {
            let fault = format!("--headers, line {}: write `Name: value`", at + 1);
            return Err(Failure::Usage(fault));
        };
        // As every HTTP server reads it: white space around a value is not part of it.
        head.headers.push(name.trim(), line[colon + 1..].trim_ascii());
    }
    Ok(head)
}

/// Method and target of `POST /path HTTP/1.1`.
fn request_line(line: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let is = words.next().is_some_and(|version| version.starts_with("HTTP/"))
        && target.starts_with('/')
        && method.bytes().all(|byte| byte.is_ascii_uppercase());
    is.then(|| (method.to_owned(), target.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_lines_of_headers_with_a_request_line_or_without() {
        let head =
            head_of(b"PUT /in/x?a=1 HTTP/1.1\r\nX-One:  a: b \r\nx-two:\r\n\r\n").expect("a head");
        assert_eq!(head.method.as_deref(), Some("PUT"));
        assert_eq!(head.target.as_deref(), Some("/in/x?a=1"));
        assert_eq!(head.headers.one("x-one"), Ok(Some(&b"a: b"[..])));
        assert_eq!(head.headers.one("x-two"), Ok(Some(&b""[..])));
        let bare = head_of(b"a: 1\nb: 2").expect("a head");
        assert_eq!((bare.method, bare.headers.len()), (None, 2));
        for bad in [&b"a: 1\nnothing"[..], b": 1", b"\xff: 1"] {
            assert_eq!(head_of(bad).err().map(|failure| failure.code()), Some(2));
        }
    }
}
