//! What must hold whatever bytes come: nothing panics, nothing is accepted without the right secret,
//! and what is read of an accepted body can be recorded. The fuzz targets and the tests beside this
//! file feed it; nothing else calls it.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use entity::Name;

use super::identity::{EVENT_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX};
use super::{Admitted, Source, SourceSettings, catalog, spec};
use crate::received::{Headers, Received};
use crate::secret::Secret;
use crate::verify::encoding::Encoding;
use crate::verify::field::{Field, check_form, one_pair};
use crate::verify::json::select::PARTS_MAX;
use crate::verify::json::{self, Pointer, select::Selector};
use crate::verify::multipart;
use crate::verify::signature::{Grammar, SIGNATURES_MAX, Signatures};
use crate::verify::template::{Context, Template, Words};
use crate::verify::{Effort, Verified};

/// The secret of every source here. No input may make a signature by it.
const SECRETS: [&str; 4] = [
    "c2VjcmV0LW9mLXRoZS1maXhlZC1zb3VyY2VzLW9mLWhvc3RpbGU",
    "whsec_c2VjcmV0LW9mLXRoZS1maXhlZC1zb3VyY2VzLW9mLWhvc3RpbGU",
    "73656372657420666f7220686f7374696c6520736f7572636573",
    "key-1:c2VjcmV0LW9mLXRoZS1maXhlZC1zb3VyY2Vz",
];

/// Schemes that no preset may have now, each with another way to read a request.
const SPECS: [&str; 7] = [
    r#"verify = { hmac = "sha256", signature = { from = "header:x-sig", lines = "all", encoding = ["hex", "base64", "base64url"], grammar = { kv = { sep = ",", sig = ["v1"], ts = "t" } } }, content = "{ts}.{sig:h}.{signed_headers:h}.{body}", timestamp = { unit = "s_or_ms" } }
event = { id = "sha256(body)", format = "raw" }"#,
    r#"verify = { hmac = "sha1", signature = { from = "header:x-sig-*", grammar = { list = { sep = " ", tag = "v1," } } }, content = "{method}{url:with_port}{header_lines:x-signed}{sorted_form}", timestamp = { from = "header:x-time", unit = "rfc3339" } }
event = { id = ["form:id", "sha256(body)"], format = "form" }"#,
    r#"verify = { hmac = "sha512", signature = { from = "body:/sig", encoding = "base64" }, content = "{body:/a|}{raw:/b}{?;{query:id}?}{crc32:body}" }
event = { id = "body:/id" }"#,
    r#"verify = { hmac = "sha384", key = { by_id = "sig" }, signature = { from = "query:sig", grammar = { keyed = { sep = "&", by = "|" } } }, content = "{target:contentful}{body}" }
event = { id = "sha256(body)", format = "raw" }"#,
    r#"verify = { hmac = "sha256", signature = { from = "part:json:/sig" }, content = "{part:a}.{part:json:/ts}" }
event = { id = ["concat(part:a, part:json:/id)", "sha256(body)"], format = ["multipart", "raw"] }"#,
    r#"verify = { any = [{ token = { from = "form:payload:/token", prefix = "Bearer " } }, { basic = true }, { token = "query:token" }] }
event = { id = "sha256(body)", format = "raw" }"#,
    r#"verify = { digest = "sha256", signature = { from = "header:x-sig", grammar = { positional = { sep = "," } } }, content = "{secret}{ts}{body}", timestamp = { unit = "ms" } }
event = { id = "sha256(body)", format = "raw" }"#,
];

/// Rules of events that no preset may have now.
const EVENTS: [&str; 6] = [
    r#"verify = "none"
event = { id = ["part:json:/id", "part:a", "form:a", "sha256(body)"], type = "part:b", format = ["multipart", "form", "raw"] }"#,
    r#"verify = "none"
event = { id = ["xml:/a/b", "sha256(body)"], type = "xml:/a/c", format = ["xml", "json", "text"] }"#,
    r#"verify = "none"
event = { id = ["xml:/a/b", "form:id", "sha256(body)"], format = ["base64_xml(payload)", "form"] }"#,
    r#"verify = "none"
event = { id = ["item:/id", "sha256(item)"], type = "item:/t", split = ["/a/*/b/*", "/a/*/c/*"], format = "json" }"#,
    r#"verify = "none"
event = { id = ["item:/id", "sha256(item)"], split = "ndjson", format = "ndjson", empty_ok = true }
conflict_ignore = ["/n"]"#,
    r#"verify = "none"
event = { id = ["concat(body:/a, body:/b)", "body:/id", "sha256(body)"], type = ["dotted(body:/t, body:/u)", "body:/kind"], format = ["form_field(payload)", "json"] }
conflict_ignore = ["/n", "/a/0"]"#,
];

/// Names of headers that the schemes read, so that bytes find their way in.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut names: Vec<String> =
        SOURCES.iter().flat_map(|source| source.scheme.headers()).collect();
    for name in ["x-sig-1", "x-signed", "x-time", "content-type", "authorization", "x-other"] {
        names.push(name.to_owned());
    }
    names.sort();
    names.dedup();
    names
});

static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let own = SPECS.iter().filter_map(|text| toml::from_str(text).ok());
    let presets = catalog::all().map(|preset| preset.source.clone());
    let compiled = own.chain(presets).filter_map(|spec| source(&spec));
    compiled.filter(|source| !source.scheme.is_unsigned()).collect()
});

/// The rules of events alone, of every preset and in every format: each request is accepted.
static OPEN: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let own = EVENTS.iter().filter_map(|text| toml::from_str(text).ok());
    let presets = catalog::all().filter_map(|preset| {
        let open: spec::SourceSpec = toml::from_str("verify = \"none\"").ok()?;
        let mut spec = preset.source.clone().overlay(open);
        (spec.handshake, spec.content_types) = (None, None);
        Some(spec)
    });
    own.chain(presets).filter_map(|spec| source(&spec)).collect()
});

/// The source of this spec, with the first of the secrets that it takes, or with none.
fn source(spec: &spec::SourceSpec) -> Option<Source> {
    let secrets = SECRETS.iter().map(|secret| vec![Secret::new((*secret).to_owned())]);
    secrets.chain([Vec::new()]).find_map(|secrets| {
        let settings = SourceSettings {
            secrets,
            max_body: 1 << 20,
            public_url: Some("https://hooks.example.com/in/hostile".to_owned()),
            ..SourceSettings::new(Name::new("hostile").ok()?, spec.clone())
        };
        Source::compile(settings).ok()
    })
}

/// How many sources judge each request.
#[must_use]
pub fn sources() -> usize {
    SOURCES.len()
}

/// Gives `bytes` as a request to every source. Fails with what doesn't hold; panics where a reader does.
pub fn requests(bytes: &[u8], now: DateTime<Utc>) -> Result<(), String> {
    let request = request(bytes, now);
    for source in SOURCES.iter() {
        if !matches!(source.admit(request.clone(), now), Err(_) | Ok(Admitted::Handshake(_))) {
            return Err(format!("accepted without a secret: {request:?} by {source:?}"));
        }
    }
    // Dear, so only one of them is asked why.
    let chosen = usize::from(bytes.last().copied().unwrap_or_default());
    if let Some(source) = SOURCES.get(chosen % SOURCES.len().max(1)) {
        let effort = Effort { bytes: 1 << 20, trials: 100, time: Duration::from_secs(1) };
        if let Some(found) = source.diagnose(&request, now, effort)
            && found.proven
            && found.sentence.contains("secret of this source made")
        {
            return Err(format!("called authentic without a secret: {request:?}: {found}"));
        }
    }
    Ok(())
}

/// A request: a byte for the method, a line for the query, lines of headers (a byte for the name), an
/// empty line, the body.
fn request(bytes: &[u8], now: DateTime<Utc>) -> Received {
    let (first, mut rest) = bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest));
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        line
    };
    let target = format!("/in/hostile?{}", String::from_utf8_lossy(line()));
    let mut headers = Headers::new();
    for header in std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty())).take(64) {
        let Some((name, value)) = header.split_first() else { break };
        if let Some(name) = NAMES.get(usize::from(*name) % NAMES.len().max(1)) {
            headers.push(name, value);
        }
    }
    Received {
        method: ["POST", "GET", "PUT"]
            .get(usize::from(first) % 3)
            .map_or("POST", |m| *m)
            .to_owned(),
        target,
        headers,
        body: Bytes::copy_from_slice(rest),
        peer: None,
        arrived_at: now,
    }
}

/// Gives `bytes` to every reader of encodings, headers, templates, forms and documents by itself. Fails
/// with what doesn't hold; panics where a reader does.
pub fn readers(bytes: &[u8], now: DateTime<Utc>) -> Result<(), String> {
    let request = &request(bytes, now);
    let text = String::from_utf8_lossy(bytes);
    for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
        if let Some(decoded) = encoding.decode(bytes) {
            let again = encoding.encode(&decoded);
            if !again.as_bytes().eq_ignore_ascii_case(bytes) {
                return Err(format!("{bytes:?} and {again} are one value in {encoding:?}"));
            }
        }
    }
    for grammar in grammars() {
        let mut out = Signatures::default();
        if grammar.read(bytes, &mut out).is_ok() && out.encoded.len() > SIGNATURES_MAX {
            return Err(format!("{} signatures by {grammar:?}", out.encoded.len()));
        }
    }
    let words = Words { url: Some("https://hooks.example.com/"), params: None };
    if let Ok(template) = Template::parse(&text, &words) {
        let context =
            Context { part: &request.body, ts: Some(b"1"), id: Some(b"2"), ..Context::default() };
        survived(template.resolve(request, &context));
    }
    if let Ok(field) = Field::parse(&text) {
        survived(field.read(request));
    }
    if check_form(bytes).is_ok()
        && matches!(one_pair(bytes, "a"), Ok(Some(v)) if v.len() > bytes.len() * 3)
    {
        return Err("a form's value is longer than the form".to_owned());
    }
    multipart_form(bytes)?;
    multipart_form(&[b"--b\r\n", bytes].concat())?;
    content_type(bytes)?;
    documents(bytes, &text)
}

/// Reads `bytes`, as a body that was accepted, by the rules of every preset that tell which events it
/// is. Fails with what doesn't hold; panics where a reader does.
pub fn events(bytes: &[u8], now: DateTime<Utc>) -> Result<(), String> {
    let mut headers = Headers::new();
    if multipart::begins(bytes) {
        let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
        let boundary = line.strip_prefix(b"--").unwrap_or_default();
        headers.push("content-type", [b"multipart/form-data; boundary=", boundary].concat());
    }
    let request = Received {
        method: "POST".to_owned(),
        target: "/in/hostile".to_owned(),
        arrived_at: now,
        ..Received::kept(headers, Bytes::copy_from_slice(bytes))
    };
    for source in OPEN.iter() {
        let first = source.admit(request.clone(), now);
        let again = source.admit(request.clone(), now);
        match (&first, &again) {
            (Ok(Admitted::Event(one)), Ok(Admitted::Event(other))) => {
                recordable(one, source)?;
                same(one, other, source)?;
            }
            (Ok(Admitted::Events(some)), Ok(Admitted::Events(others))) => {
                if some.is_empty() || some.len() > PARTS_MAX || some.len() != others.len() {
                    return Err(format!("{} events of {request:?} by {source:?}", some.len()));
                }
                for (one, other) in some.iter().zip(others) {
                    recordable(one, source)?;
                    same(one, other, source)?;
                }
            }
            (Ok(Admitted::Empty), Ok(Admitted::Empty)) | (Err(_), Err(_)) => {}
            _ => return Err(format!("{request:?} is two things to {source:?}")),
        }
    }
    Ok(())
}

/// What the tables hold: bounded texts without control characters.
fn recordable(event: &Verified, source: &Source) -> Result<(), String> {
    let identity = event.identity();
    let (id, kind) = (&identity.event_id, &identity.kind);
    let plain = !id.chars().chain(kind.chars()).any(char::is_control);
    let bounded = id.len() <= EVENT_ID_BYTES_MAX && kind.len() <= EVENT_TYPE_BYTES_MAX;
    if id.is_empty() || !plain || !bounded {
        return Err(format!("can't be recorded: {event:?} by {source:?}"));
    }
    Ok(())
}

/// The same bytes are the same event, but where each request is one of its own.
fn same(one: &Verified, other: &Verified, source: &Source) -> Result<(), String> {
    let (one, other) = (one.identity(), other.identity());
    let never = source.facts().id_places.iter().any(|place| place == "none");
    let same_id = never || (one.dedupe_key, &one.event_id) == (other.dedupe_key, &other.event_id);
    if !same_id || one.digest != other.digest || one.held != other.held {
        return Err(format!("{one:?} came again as {other:?} by {source:?}"));
    }
    Ok(())
}

/// Parts lie one behind the other inside of the body, and a value that is put in is the one that is read.
fn multipart_form(bytes: &[u8]) -> Result<(), String> {
    let Ok(parts) = multipart::parts(bytes) else { return Ok(()) };
    let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut end = 0;
    for part in &parts {
        let content = bytes.get(part.content.clone()).unwrap_or_default();
        if content.windows(line.len()).any(|window| window == line) {
            return Err(format!("the boundary is in a part's content: {bytes:?}"));
        }
        if part.content.start <= end || bytes.get(part.content.clone()).is_none() {
            return Err(format!("a part lies at {:?} behind {end}: {bytes:?}", part.content));
        }
        end = part.content.end;
    }
    if parts.is_empty() || parts.len() > multipart::PARTS_MAX {
        return Err(format!("{} parts of {bytes:?}", parts.len()));
    }
    let Ok(changed) = multipart::with_value(bytes, "a", "what is put in") else { return Ok(()) };
    let read =
        multipart::parts(&changed).map_err(|why| format!("{why} once changed: {bytes:?}"))?;
    match multipart::value(&read, "a")
        .map(|part| part.and_then(|it| changed.get(it.content.clone())))
    {
        Ok(Some(b"what is put in")) => Ok(()),
        _ => Err(format!("what is put in isn't read: {bytes:?}")),
    }
}

/// A content type by which a form is split names the boundary of it, and no other one.
fn content_type(bytes: &[u8]) -> Result<(), String> {
    for boundary in ["b", "b/b", "=b", "b'"] {
        for line in [bytes, &[b"multipart/form-data; ", bytes].concat()] {
            let mut headers = Headers::new();
            headers.push("Content-Type", line);
            let form = Received::kept(headers, Bytes::from(format!("--{boundary}\r\n")));
            // As it is kept: without CR and LF.
            let said = form.headers.one("content-type").ok().flatten().unwrap_or_default();
            let said = String::from_utf8_lossy(said).to_ascii_lowercase();
            let names = said.contains(&format!("boundary={boundary}"))
                || said.contains(&format!("boundary=\"{boundary}\""));
            let is_one = multipart::is_one(&form) == Ok(true);
            if is_one && (!names || said.matches("boundary").count() != 1) {
                return Err(format!("splits a form by `{boundary}`: {said}"));
            }
        }
    }
    Ok(())
}

fn documents(bytes: &[u8], text: &str) -> Result<(), String> {
    let ours = Pointer::parse("/a/0").and_then(|pointer| {
        json::scan(bytes, &[&pointer]).map(|_| ()).map_err(|error| error.to_string())
    });
    // What we call JSON, others must call JSON: they will parse what we passed on.
    if ours.is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err() {
        return Err(format!("not JSON, and read as JSON: {text:?}"));
    }
    if let Ok(pointer) = Pointer::parse(text) {
        survived(json::scan(br#"{"a":[{"b":1}]}"#, &[&pointer]));
    }
    if let Ok(selector) = Selector::parse("/a/*")
        && let Ok(selection) = selector.select(bytes)
        && selection.parts.iter().any(|part| bytes.get(part.span.clone()).is_none())
    {
        return Err(format!("a part lies outside of {text:?}"));
    }
    survived(Selector::parse(text));
    Ok(())
}

/// Whatever came of it: what counts is that it came back.
fn survived<T, E>(_: Result<T, E>) {}

fn grammars() -> [Grammar; 5] {
    let text = str::to_owned;
    [
        Grammar::Plain { prefix: text("sha256=") },
        Grammar::List { sep: text(" "), tag: text("v1,") },
        Grammar::Kv { sep: text(","), sig: vec![text("v1")], ts: Some(text("t")) },
        Grammar::Positional { sep: text(",") },
        Grammar::Keyed { sep: text("&"), by: text("|") },
    ]
}

#[cfg(test)]
mod tests;
