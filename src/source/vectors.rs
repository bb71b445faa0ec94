//! Every `[[vector]]` of every preset: accepted as it is, refused with the right code after every
//! change. A vector is a test by being there.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use chrono::DateTime;
use entity::Name;

use super::preset::{Preset, Vector};
use super::*;
use crate::received::Headers;

mod hmac;
mod tamper;

/// A source of this preset with these secrets.
pub(super) fn source_of(preset: &Preset, secrets: &[String], vector: Option<&Vector>) -> Source {
    let settings = SourceSettings {
        provider: Some(preset.slug.to_owned()),
        secrets: secrets.iter().cloned().map(Secret::new).collect(),
        max_body: 1 << 20,
        public_url: vector.and_then(|vector| vector.public_url.clone()),
        params: vector
            .iter()
            .flat_map(|vector| &vector.params)
            .map(|(name, value)| (name.clone(), Secret::new(value.clone())))
            .collect(),
        ..SourceSettings::new(Name::new("s").expect("a name"), preset.source.clone())
    };
    let compiled = match vector {
        Some(vector) if vector.weak => Source::compile_weak(settings),
        _ => Source::compile(settings),
    };
    compiled.unwrap_or_else(|faults| panic!("{}: {faults:?}", preset.slug))
}

pub(super) fn request_of(vector: &Vector) -> Received {
    let mut headers = Headers::new();
    for (name, lines) in &vector.headers {
        lines.as_slice().iter().for_each(|line| headers.push(name, line));
    }
    let body = match &vector.body_base64 {
        Some(text) => BASE64_STANDARD.decode(text).expect("base64"),
        None => vector.body.clone().into_bytes(),
    };
    let query = vector.query.as_ref().map(|query| format!("?{query}"));
    Received {
        method: vector.method.clone(),
        target: format!("/in/s{}", query.unwrap_or_default()),
        headers,
        body: Bytes::from(body),
        peer: None,
        arrived_at: at(vector.now),
    }
}

pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).expect("a time")
}

pub(super) fn code(source: &Source, request: &Received, now: i64) -> Result<(), Code> {
    source.admit(request.clone(), at(now)).map(|_| ()).map_err(|refused| refused.rejection.code)
}

fn with_header(request: &Received, name: &str, value: &[u8]) -> Received {
    let mut changed = request.clone();
    let mut headers = Headers::new();
    for (other, line) in request.headers.iter() {
        let line = if other == name { value } else { line };
        headers.push(other, line);
    }
    changed.headers = headers;
    changed
}

fn without_header(request: &Received, name: &str) -> Received {
    let mut changed = request.clone();
    let mut headers = Headers::new();
    for (other, line) in request.headers.iter().filter(|(other, _)| *other != name) {
        headers.push(other, line);
    }
    changed.headers = headers;
    changed
}

fn with_line(request: &Received, name: &str, value: &[u8]) -> Received {
    let mut changed = request.clone();
    changed.headers.push(name, Bytes::copy_from_slice(value));
    changed
}

fn each_vector(mut check: impl FnMut(&str, &Source, &Vector, &Received)) {
    for preset in &catalog::on_disk() {
        for (i, vector) in preset.vector.iter().enumerate() {
            let source = source_of(preset, &vector.secrets, Some(vector));
            check(&format!("{}[{i}]", preset.slug), &source, vector, &request_of(vector));
        }
    }
}

/// As [`each_vector`], with those that are accepted only because of their signature or token.
fn each_accepted(mut check: impl FnMut(&str, &Source, &Vector, &Received)) {
    each_vector(|name, source, vector, request| {
        let proven = source.scheme.verify(request, at(vector.now)).is_ok();
        if proven && !source.scheme.is_unsigned() {
            check(name, source, vector, request);
        }
    });
}

/// What a vector's request is answered.
enum Seen {
    /// Events, each with its id and type.
    Events(Vec<(String, String)>),
    Handshake(Answer),
    Refused(Rejection),
}

fn see(source: &Source, vector: &Vector) -> Seen {
    let request = request_of(vector);
    let body = request.body.clone();
    match source.admit(request, at(vector.now)) {
        Ok(Admitted::Event(verified)) => {
            let identity = verified.identity();
            assert_eq!(identity.held, None);
            assert_eq!(verified.body(), &body);
            Seen::Events(vec![(identity.event_id.clone(), identity.kind.clone())])
        }
        Ok(Admitted::Events(events)) => Seen::Events(
            events
                .iter()
                .map(|verified| {
                    let identity = verified.identity();
                    assert_eq!(identity.held, None);
                    (identity.event_id.clone(), identity.kind.clone())
                })
                .collect(),
        ),
        Ok(Admitted::Empty) => Seen::Events(Vec::new()),
        Ok(Admitted::Handshake(answer)) => Seen::Handshake(answer),
        Err(refused) => Seen::Refused(refused.rejection),
    }
}

#[test]
fn every_vector_is_answered_as_it_says() {
    let mut faults = Vec::new();
    let mut check = |name: &str, holds: bool, what: String| {
        if !holds {
            faults.push(format!("{name}: {what}"));
        }
    };
    each_vector(|name, source, vector, _| match see(source, vector) {
        Seen::Events(events) => {
            let texts = |texts: &Option<spec::Texts>| {
                texts.as_ref().map(|t| t.as_slice().to_vec()).unwrap_or_default()
            };
            let ids: Vec<String> = events.iter().map(|(id, _)| id.clone()).collect();
            let mut kinds: Vec<String> = events.into_iter().map(|(_, kind)| kind).collect();
            if vector.kind_of_event.is_none() && kinds.iter().all(String::is_empty) {
                kinds.clear();
            }
            let random = |id: &String| id.starts_with("none:");
            if vector.id.is_none() {
                check(name, ids.iter().all(random), format!("it has the ids {ids:?}"));
            } else {
                check(name, texts(&vector.id) == ids, format!("it has the ids {ids:?}"));
            }
            let wanted = texts(&vector.kind_of_event);
            check(name, wanted == kinds, format!("it has the types {kinds:?}"));
            check(name, vector.answer.is_none(), "it is no handshake".to_owned());
            check(name, vector.refused.is_none(), "it is accepted".to_owned());
        }
        Seen::Handshake(answer) => {
            let Some(wanted) = &vector.answer else {
                check(name, false, format!("it is a handshake: {answer:?}"));
                return;
            };
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            let same = (answer.status, &body) == (wanted.status, &wanted.body);
            check(name, same, format!("it is answered {} {body:?}", answer.status));
            let kind = answer.content_type.clone();
            let same = wanted.content_type.is_none() || wanted.content_type == kind;
            check(name, same, format!("it is answered as {kind:?}"));
            for (header, value) in &wanted.headers {
                let there = answer.headers.iter().any(|(n, v)| (n, v) == (header, value));
                check(name, there, format!("it lacks {header}: {:?}", answer.headers));
            }
        }
        Seen::Refused(rejection) => {
            let wanted = vector.refused.as_deref() == Some(rejection.code.as_str());
            check(name, wanted, format!("it is refused: {rejection}"));
        }
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// How many presets there are, and how many of them are proven by bytes that are not ours.
#[test]
fn most_presets_are_proven() {
    // Where the secret itself is shown there is nothing that another program could have computed.
    fn signs(scheme: &spec::SchemeSpec) -> bool {
        let mut members = scheme.any.iter().chain(&scheme.all).flatten().peekable();
        match members.peek() {
            Some(_) => members.any(signs),
            None => scheme.token.is_none() && scheme.basic.is_none() && scheme.none.is_none(),
        }
    }
    let mut presets = catalog::on_disk();
    presets.retain(|preset| preset.source.verify.as_ref().is_some_and(signs));
    let unproven: Vec<&str> =
        presets.iter().filter(|preset| !preset.is_proven()).map(|preset| preset.slug).collect();
    let proven = presets.len() - unproven.len();
    assert!(proven * 2 >= presets.len(), "only {proven} of {}: {unproven:?}", presets.len());
}

/// Whether each way in which this request is accepted judges a time.
fn is_timed(scheme: &Scheme, request: &Received, now: i64) -> bool {
    match scheme {
        Scheme::Any(members) => members
            .iter()
            .filter(|member| member.verify(request, at(now)).is_ok())
            .all(|member| is_timed(member, request, now)),
        scheme => scheme.has_clock(),
    }
}

#[test]
fn an_authentic_request_is_stale_or_early_outside_of_its_tolerance() {
    let mut clocks = 0;
    each_accepted(|name, source, vector, request| {
        let far = |seconds: i64| {
            let judged = source.scheme.verify(request, at(vector.now + seconds));
            judged.map(|_| ()).map_err(|rejection| rejection.code)
        };
        if is_timed(&source.scheme, request, vector.now) {
            clocks += 1;
            // Beyond every provider's tolerance.
            assert_eq!(far(8 * 24 * 3600), Err(Code::TimestampStale), "{name}");
            assert_eq!(far(-8 * 24 * 3600), Err(Code::TimestampFuture), "{name}");
        } else {
            assert_eq!(far(1_000_000_000), Ok(()), "{name}");
        }
    });
    assert!(clocks >= 10, "only {clocks}");
}

#[test]
fn what_a_preset_proves_is_derived() {
    let facts = |slug: &str| {
        let facts = catalog::get(slug).expect("a preset").source.facts().expect("facts");
        (facts.scheme, facts.integrity.as_str(), facts.fresh, facts.id_signed)
    };
    let hmac = || "HMAC-SHA256".to_owned();
    assert_eq!(facts("stripe"), (hmac(), "full", true, true));
    assert_eq!(facts("github"), (hmac(), "full", false, false));
    assert_eq!(facts("shopify"), (hmac(), "full", false, false));
    assert_eq!(facts("slack"), (hmac(), "full", true, true));
    assert_eq!(facts("standard-webhooks"), (hmac(), "full", true, true));
    assert_eq!(facts("svix"), (hmac(), "full", true, true));
    assert_eq!(facts("gitlab-signing-token"), (hmac(), "full", true, true));
    let token = "token in header:x-gitlab-token".to_owned();
    assert_eq!(facts("gitlab-token"), (token, "none", false, false));
}

#[test]
fn whether_a_type_is_signed_is_derived() {
    for (slug, signed) in [
        ("stripe", true),
        ("github", false),
        ("shopify", false),
        ("gitlab-token", false),
        ("segment", true),
        ("segment-batch", false),
        ("mailgun", false),
        ("sendgrid", true),
    ] {
        let facts = catalog::get(slug).expect(slug).source.facts().expect("facts");
        assert!(!facts.type_places.is_empty(), "{slug}");
        assert_eq!(facts.type_signed, signed, "{slug}: {:?}", facts.type_places);
    }
    let none = catalog::get("airtable").expect("a preset").source.facts().expect("facts");
    assert!(none.type_places.is_empty() && none.type_signed);
}

#[test]
fn a_tolerance_of_the_operator_replaces_the_presets() {
    let preset = catalog::get("stripe").expect("a preset");
    let vector = &preset.vector[0];
    let settings = SourceSettings {
        tolerance: Some(Duration::from_secs(3600)),
        ..super::tests::settings(preset.source.clone(), &[&vector.secrets[0]])
    };
    let source = Source::compile(settings).expect("compiles");
    assert_eq!(code(&source, &request_of(vector), 1_767_225_600 + 3600), Ok(()));
    let late = code(&source, &request_of(vector), 1_767_225_600 + 3601);
    assert_eq!(late, Err(Code::TimestampStale));
}
