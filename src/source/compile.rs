//! From what is written to what is used. Every fault is found, each with the path of its key.

use std::collections::BTreeMap;
use std::time::Duration;

use super::capture::Capture;
use super::diagnose::Clues;
use super::identity::{Format, Place, Reader};
use super::spec::SchemeSpec;
use super::{OnReplay, SourceSettings, facts};
use super::{Source, handshake, reply};
use crate::secret::Secret;
use crate::verify::Integrity;
use crate::verify::scheme::Scheme;
use crate::verify::template::Words;

mod clock;
mod event;
mod fetched;
mod jwt;
pub(super) mod key;
mod scheme;
mod signature;
mod signed;

/// Faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults(pub(super) Vec<String>);

impl Faults {
    /// Adds a fault of the key at `path`.
    pub(super) fn push(&mut self, path: &str, fault: impl AsRef<str>) {
        self.0.push(format!("{path}: {}", fault.as_ref()));
    }

    /// The value, or one more fault.
    pub(super) fn take<T>(&mut self, path: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|fault| self.push(path, fault)).ok()
    }

    /// A fault for each word that is written but isn't built yet.
    pub(super) fn unbuilt(&mut self, path: &str, words: &[(&str, bool)]) {
        for (word, written) in words {
            if *written {
                self.push(&format!("{path}.{word}"), format!("`{word}` is not built yet"));
            }
        }
    }
}

/// What schemes are compiled with.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The source's; `None` when only the facts are wanted, as for `provider show`.
    pub(super) secrets: Option<&'a [Secret]>,
    /// The operator's, in place of the scheme's own.
    pub(super) tolerance: Option<Duration>,
    /// What `{url}` stands for.
    pub(super) url: Option<&'a str>,
    /// What `{param:X}` stands for; `None` when only the facts are wanted.
    pub(super) params: Option<&'a BTreeMap<String, Secret>>,
    /// Whether weak secrets are refused.
    pub(super) strict: bool,
}

impl<'a> Surroundings<'a> {
    /// What templates are read with.
    pub(super) fn words(&self) -> Words<'a> {
        Words { url: self.url, params: self.params }
    }
}

/// Compiles a source, or says everything that is wrong with it; `strict` refuses weak secrets.
pub(super) fn compile(settings: SourceSettings, strict: bool) -> Result<Source, Vec<String>> {
    let mut faults = Faults::default();
    let spec = &settings.spec;
    let captures =
        spec.handshake.iter().flatten().any(|handshake| handshake.capture_secret.is_some());
    // A source that is handed its secret has none to begin with.
    let awaits = captures && settings.secrets.is_empty();
    let surroundings = Surroundings {
        secrets: (!awaits).then_some(settings.secrets.as_slice()),
        tolerance: settings.tolerance,
        url: settings.public_url.as_deref(),
        params: Some(&settings.params),
        strict,
    };
    let scheme = root_scheme(spec.verify.as_ref(), &surroundings, &mut faults);
    let group = settings.dedupe_group.as_ref().unwrap_or(&settings.name);
    let ignore: Vec<String> = spec
        .conflict_ignore
        .iter()
        .flatten()
        .chain(settings.conflict_ignore.iter().filter(|pointer| {
            // The config may have resolved the preset's pointers into both places.
            !spec.conflict_ignore.iter().flatten().any(|known| known == *pointer)
        }))
        .cloned()
        .collect();
    let reader = reader(spec, scheme.as_ref(), group.as_str(), &ignore, &mut faults);
    let reader =
        reader.map(|reader| guarded(reader, scheme.as_ref(), settings.on_replay, &mut faults));
    let methods = methods(spec.methods.as_deref(), &mut faults);
    let around = handshake::Around {
        verify: spec.verify.as_ref(),
        surroundings: &surroundings,
        methods: &methods,
        path: &settings.path,
    };
    let handshakes =
        handshake::compile(spec.handshake.as_deref().unwrap_or_default(), &around, &mut faults);
    if let Some(reader) = &reader
        && handshakes.iter().any(handshake::Handshake::signs_for_anybody)
        && !reader.formats.iter().all(Format::is_document)
    {
        faults.push(
            "handshake",
            "answers anybody with an HMAC by the source's secret: `event.format` must then be json, form_field, xml or base64_xml, so that no such answer is an event's signature",
        );
    }
    let reply = reply::compile(spec.reply.as_ref(), &mut faults);
    if !settings.path.starts_with('/') {
        faults.push("path", format!("`{}` is not a path: it begins with `/`", settings.path));
    }
    if settings.max_body == 0 {
        faults.push("max_body", "0 bytes take no webhook");
    }
    let retries = spec.retries.clone().unwrap_or_default();
    if retries.none == Some(true) && (retries.horizon.is_some() || retries.schedule.is_some()) {
        faults.push("retries", "`none` and a horizon or schedule contradict each other");
    }
    let content_types = spec.content_types.clone().unwrap_or_default();
    let capture = spec.verify.clone().filter(|_| captures).map(|verify| Capture {
        verify,
        secrets: settings.secrets.clone(),
        tolerance: settings.tolerance,
        url: settings.public_url.clone(),
        params: settings.params.clone(),
        learnt: std::sync::RwLock::default(),
    });
    match (scheme, reader) {
        (Some(scheme), Some(reader)) if faults.0.is_empty() => Ok(Source {
            name: settings.name,
            provider: settings.provider,
            path: settings.path,
            max_body: settings.max_body,
            rate_limit: settings.rate_limit,
            respond: settings.respond,
            on_id_conflict: settings.on_id_conflict,
            on_replay: reader.on_replay,
            allow_ips: settings.allow_ips,
            methods,
            content_types: content_types.iter().map(|t| t.trim().to_ascii_lowercase()).collect(),
            public_url: settings.public_url,
            scheme,
            capture,
            reader,
            handshakes,
            reply,
            retries,
            clues: Clues { secrets: settings.secrets, params: settings.params },
        }),
        _ => Err(faults.0),
    }
}

/// Sees replays where nothing else does. An id of `none` says that the same request comes again for
/// good reasons.
fn guarded(
    mut reader: Reader,
    scheme: Option<&Scheme>,
    written: Option<OnReplay>,
    faults: &mut Faults,
) -> Reader {
    let Some(scheme) = scheme else { return reader };
    let facts = facts::of(scheme, &reader);
    let never_dedupes = reader.id.iter().any(|place| matches!(place, Place::Never));
    // A signed time doesn't help: within its tolerance the same bytes come again under any id.
    let open = facts.integrity != Integrity::None && !facts.id_signed;
    if open && !never_dedupes {
        reader.on_replay = Some(written.unwrap_or_default());
    } else if written.is_some() {
        let why = match (facts.integrity, never_dedupes) {
            (Integrity::None, _) => {
                "nothing of the body is signed, so that a replay can have any body"
            }
            (_, true) => "an id of `none` says that the same request comes again",
            _ => "its id is signed, which shows a replay",
        };
        faults.push("on_replay", format!("has no effect: {why}"));
    }
    let by_hash = reader.id.iter().flat_map(Place::leaves).any(|it| *it == Place::CoveredHash);
    reader.asks_what_is_covered = by_hash || reader.on_replay.is_some();
    reader
}

/// A preset's scheme with a source's secrets, however weak they are; `None` when it can't be made.
pub(super) fn scheme_with(spec: &SchemeSpec, clues: &Clues, url: Option<&str>) -> Option<Scheme> {
    let surroundings = Surroundings {
        secrets: Some(&clues.secrets),
        tolerance: None,
        url,
        params: Some(&clues.params),
        strict: false,
    };
    let mut faults = Faults::default();
    let scheme = root_scheme(Some(spec), &surroundings, &mut faults)?;
    faults.0.is_empty().then_some(scheme)
}

/// Compiles `verify`.
pub(super) fn root_scheme(
    spec: Option<&SchemeSpec>,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Scheme> {
    let Some(spec) = spec else {
        faults.push(
            "verify",
            "is missing: name a provider, write a scheme, or write verify = \"none\" to accept everything",
        );
        return None;
    };
    let scheme = scheme::compile(spec, "verify", surroundings, faults)?;
    if let Some(secrets) = surroundings.secrets {
        if scheme.is_unsigned() && !secrets.is_empty() {
            faults.push("secrets", "verify = \"none\" uses no secret: remove them");
        }
        for position in 0..secrets.len() {
            let path = format!("secrets[{position}]");
            // One that is refused is used by nothing for that reason.
            let is_refused = faults.0.iter().any(|fault| fault.starts_with(&format!("{path}: ")));
            if !scheme.is_unsigned() && !scheme.has_secret(position) && !is_refused {
                faults.push(&path, "is used by no part of `verify`: see its `key.secrets`");
            }
        }
    }
    match surroundings.tolerance {
        Some(Duration::ZERO) => faults.push("tolerance", "0 s would refuse everything"),
        Some(_) if !scheme.has_clock() => {
            faults.push("tolerance", "has no effect: this source's scheme signs no timestamp");
        }
        Some(_) | None => {}
    }
    Some(scheme)
}

/// Compiles `event` and `conflict_ignore`.
pub(super) fn reader(
    spec: &super::spec::SourceSpec,
    scheme: Option<&Scheme>,
    group: &str,
    ignore: &[String],
    faults: &mut Faults,
) -> Option<Reader> {
    let Some(event) = &spec.event else {
        faults.push(
            "event",
            "is missing: say where the id is, such as event = { id = \"header:x-id\" }",
        );
        return None;
    };
    event::compile(event, scheme, group, ignore, faults)
}

fn methods(written: Option<&[String]>, faults: &mut Faults) -> Vec<String> {
    let Some(written) = written else { return vec!["POST".to_owned()] };
    if written.is_empty() {
        faults.push("methods", "is empty: leave it out for POST");
    }
    for method in written {
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()) {
            faults.push("methods", format!("`{method}` is not a method: write it such as `POST`"));
        }
    }
    written.to_vec()
}
