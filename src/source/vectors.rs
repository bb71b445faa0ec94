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
use crate::verify::field::Field;
use crate::verify::signature::Signatures;
use crate::verify::signed::{From as SignatureFrom, SignedScheme};

/// A source of this preset with these secrets.
pub(super) fn source_of(preset: &Preset, secrets: &[String], vector: Option<&Vector>) -> Source {
    let settings = SourceSettings {
        name: Name::new("s").expect("a name"),
        provider: Some(preset.slug.to_owned()),
        path: "/in/s".to_owned(),
        spec: preset.source.clone(),
        secrets: secrets.iter().cloned().map(Secret::new).collect(),
        tolerance: None,
        max_body: 1 << 20,
        allow_ips: Vec::new(),
        rate_limit: None,
        on_id_conflict: OnIdConflict::Flag,
        conflict_ignore: Vec::new(),
        dedupe_group: None,
        public_url: vector.and_then(|vector| vector.public_url.clone()),
        params: vector
            .iter()
            .flat_map(|vector| &vector.params)
            .map(|(name, value)| (name.clone(), Secret::new(value.clone())))
            .collect(),
    };
    Source::compile(settings).unwrap_or_else(|faults| panic!("{}: {faults:?}", preset.slug))
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

/// The hmac that reads this request's signature, with the name of its header.
fn hmac_of<'a>(scheme: &'a Scheme, request: &Received) -> Option<(&'a SignedScheme, String)> {
    match scheme {
        Scheme::Signed(hmac) => match &hmac.from {
            SignatureFrom::Field(Field::Header(name))
                if request.headers.all(name).next().is_some() =>
            {
                Some((hmac, name.clone()))
            }
            _ => None,
        },
        Scheme::Any(members) => members.iter().find_map(|member| hmac_of(member, request)),
        _ => None,
    }
}

/// Runs `check` with each hmac vector, its signature's header and text, and those of its encoded
/// signatures that a secret makes.
fn each_signature(mut check: impl FnMut(&str, &Source, &Vector, &Received, &str, &str, &str)) {
    let mut seen = 0;
    each_vector(|name, source, vector, request| {
        let Some((hmac, header)) = hmac_of(&source.scheme, request) else { return };
        let text = vector.headers[&header].as_slice()[0].clone();
        let mut read = Signatures::default();
        hmac.grammar.read(text.as_bytes(), &mut read).expect("a signature");
        for (encoded, key) in read.encoded {
            let encoded = std::str::from_utf8(encoded).expect("text");
            let alone = hmac.grammar.write(
                encoded,
                read.ts.map(|ts| std::str::from_utf8(ts).expect("text")),
                key,
            );
            if code(source, &with_header(request, &header, alone.as_bytes()), vector.now).is_ok() {
                seen += 1;
                check(name, source, vector, request, &header, &alone, encoded);
            }
        }
    });
    assert!(seen >= 14, "only {seen} signatures");
}

#[test]
fn every_vector_is_accepted_and_read() {
    each_vector(|name, source, vector, request| {
        match source.admit(request.clone(), at(vector.now)) {
            Ok(Admitted::Event(verified)) => {
                let identity = verified.identity();
                let id = vector.id.as_ref().map(|ids| ids.as_slice()[0].as_str());
                assert_eq!(id, Some(identity.event_id.as_str()), "{name}");
                let kind = vector.kind_of_event.as_ref().map_or("", |k| k.as_slice()[0].as_str());
                assert_eq!(kind, identity.kind, "{name}");
                assert_eq!(identity.held, None, "{name}");
                assert_eq!(verified.body(), &request.body, "{name}");
            }
            Ok(Admitted::Handshake(answer)) => {
                let body = std::str::from_utf8(&answer.body).expect("text");
                let wanted = vector.answer.as_ref().expect("an answer");
                assert_eq!((wanted.status, wanted.body.as_str()), (answer.status, body), "{name}");
            }
            Err(refused) => panic!("{name}: {}", refused.rejection),
        }
    });
}

#[test]
fn any_changed_bit_of_a_signed_body_is_a_mismatch() {
    each_signature(|name, source, vector, request, _, _, _| {
        for at in 0..request.body.len() {
            for bit in 0..8 {
                let mut body = request.body.to_vec();
                body[at] ^= 1 << bit;
                let changed = Received { body: Bytes::from(body), ..request.clone() };
                let refused = code(source, &changed, vector.now);
                assert_eq!(refused, Err(Code::SignatureMismatch), "{name}: byte {at} bit {bit}");
            }
        }
        let longer = Bytes::from([request.body.as_ref(), b"\n"].concat());
        let shorter = request.body.slice(..request.body.len() - 1);
        for body in [longer, shorter, Bytes::new()] {
            let changed = Received { body, ..request.clone() };
            assert_eq!(code(source, &changed, vector.now), Err(Code::SignatureMismatch), "{name}");
        }
    });
}

#[test]
fn any_changed_character_of_a_signed_header_is_a_mismatch() {
    let mut changes = 0;
    each_signature(|name, source, vector, request, signature, _, _| {
        for (header, lines) in &vector.headers {
            let value = &lines.as_slice()[0];
            let field = Field::Header(header.clone());
            let (hmac, _) = hmac_of(&source.scheme, request).expect("an hmac");
            let signed = hmac.signs(&field);
            if header == signature || !signed {
                continue;
            }
            for i in 0..value.len() {
                let mut changed = value.clone().into_bytes();
                changed[i] = if changed[i] == b'1' { b'2' } else { b'1' };
                let changed = with_header(request, header, &changed);
                let refused = code(source, &changed, vector.now);
                assert_eq!(refused, Err(Code::SignatureMismatch), "{name}: {header}[{i}]");
                changes += 1;
            }
            assert!(code(source, &without_header(request, header), vector.now).is_err(), "{name}");
            let empty = with_header(request, header, b"");
            assert!(code(source, &empty, vector.now).is_err(), "{name}: empty {header}");
            let twice = with_line(request, header, value.as_bytes());
            let refused = code(source, &twice, vector.now);
            assert_eq!(refused, Err(Code::SignatureMalformed), "{name}: {header} twice");
        }
    });
    assert!(changes > 200, "only {changes} changes");
}

#[test]
fn any_changed_bit_of_a_signature_is_a_mismatch() {
    each_signature(|name, source, vector, request, header, alone, encoded| {
        let (hmac, _) = hmac_of(&source.scheme, request).expect("an hmac");
        let bytes = hmac.encodings[0].decode(encoded.as_bytes()).expect("decodes");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let text = alone.replace(encoded, &hmac.encodings[0].encode(&changed));
            let refused = code(source, &with_header(request, header, text.as_bytes()), vector.now);
            assert_eq!(refused, Err(Code::SignatureMismatch), "{name}: bit {bit}");
        }
    });
}

#[test]
fn a_signature_of_another_length_or_spelling_is_malformed() {
    each_signature(|name, source, vector, request, header, alone, encoded| {
        let (hmac, _) = hmac_of(&source.scheme, request).expect("an hmac");
        let bytes = hmac.encodings[0].decode(encoded.as_bytes()).expect("decodes");
        let mut others: Vec<String> = (1..bytes.len())
            .map(|end| hmac.encodings[0].encode(&bytes[..end]))
            .chain([hmac.encodings[0].encode(&[bytes.as_slice(), &[0]].concat())])
            .collect();
        others.extend((1..encoded.len()).map(|end| encoded[..end].to_owned()));
        others.extend([format!("{encoded}0"), format!("{encoded} "), format!(" {encoded}")]);
        others.extend([format!("{encoded}\t"), format!("{encoded}="), format!("{encoded}\0")]);
        // The last character of a base64 MAC has unused bits: only one spelling of it is good.
        if encoded.ends_with('=') {
            let last = encoded.len() - 2;
            let next = char::from(encoded.as_bytes()[last] + 1);
            others.push(format!("{}{next}=", &encoded[..last]));
        }
        for other in others {
            let text = alone.replacen(encoded, &other, 1);
            let refused = code(source, &with_header(request, header, text.as_bytes()), vector.now);
            assert_eq!(refused, Err(Code::SignatureMalformed), "{name}: {text:?}");
        }
    });
}

#[test]
fn a_missing_empty_or_repeated_signature_header_has_its_code() {
    each_signature(|name, source, vector, request, header, alone, _| {
        let missing = Err(Code::SignatureMissing);
        assert_eq!(code(source, &without_header(request, header), vector.now), missing, "{name}");
        assert_eq!(code(source, &with_header(request, header, b""), vector.now), missing, "{name}");
        for second in [alone.as_bytes(), b"", b"x"] {
            let twice = with_line(request, header, second);
            let refused = code(source, &twice, vector.now);
            assert_eq!(refused, Err(Code::SignatureMalformed), "{name}: {second:?}");
        }
        let binary = with_header(request, header, b"\xff\xfe");
        assert_eq!(code(source, &binary, vector.now), Err(Code::SignatureMalformed), "{name}");
    });
}

#[test]
fn another_secret_is_a_mismatch_even_when_the_request_is_stale() {
    for preset in &catalog::on_disk() {
        for vector in &preset.vector {
            let other = "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=".to_owned();
            let source = source_of(preset, &[other], Some(vector));
            for now in [vector.now, vector.now + 100_000, vector.now - 100_000] {
                let refused = code(&source, &request_of(vector), now);
                assert_eq!(refused, Err(Code::SignatureMismatch), "{}", preset.slug);
            }
        }
    }
}

#[test]
fn an_authentic_request_is_stale_or_early_outside_of_its_tolerance() {
    let mut clocks = 0;
    each_vector(|name, source, vector, request| {
        let far = |seconds: i64| code(source, request, vector.now + seconds);
        if source.scheme.has_clock() {
            clocks += 1;
            assert_eq!(far(3600), Err(Code::TimestampStale), "{name}");
            assert_eq!(far(-3600), Err(Code::TimestampFuture), "{name}");
        } else {
            assert_eq!(far(1_000_000_000), Ok(()), "{name}");
        }
    });
    assert!(clocks >= 10, "only {clocks}");
}

#[test]
fn any_changed_byte_of_a_token_is_a_mismatch() {
    let mut tokens = 0;
    each_vector(|name, source, vector, request| {
        let Scheme::Token(scheme) = &source.scheme else { return };
        let Field::Header(header) = &scheme.from else { return };
        tokens += 1;
        let token = vector.headers[header].as_slice()[0].as_bytes();
        for i in 0..token.len() {
            for bit in 0..8 {
                let mut changed = token.to_vec();
                changed[i] ^= 1 << bit;
                let refused = code(source, &with_header(request, header, &changed), vector.now);
                // CR and LF can't stand in a header line at all, and are dropped with it.
                assert_eq!(refused, Err(Code::SignatureMismatch), "{name}: byte {i} bit {bit}");
            }
            let cut = with_header(request, header, &token[..i]);
            let wanted = if i == 0 { Code::SignatureMissing } else { Code::SignatureMismatch };
            assert_eq!(code(source, &cut, vector.now), Err(wanted), "{name}: {i} bytes");
        }
        let longer = with_header(request, header, &[token, b"x"].concat());
        assert_eq!(code(source, &longer, vector.now), Err(Code::SignatureMismatch), "{name}");
        let gone = without_header(request, header);
        assert_eq!(code(source, &gone, vector.now), Err(Code::SignatureMissing), "{name}");
        let twice = with_line(request, header, token);
        assert_eq!(code(source, &twice, vector.now), Err(Code::SignatureMalformed), "{name}");
    });
    assert!(tokens >= 2, "only {tokens}");
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
