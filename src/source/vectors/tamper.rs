//! Every vector, tampered with in each class of its bytes: never accepted.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::verify::Integrity;
use crate::verify::field::Field;

/// How many bytes of a long body are changed, evenly spread.
const BODY_BYTES_MAX: usize = 2000;

/// Copies that were refused, by class; and every one that was not.
#[derive(Default)]
struct Tally {
    refused: BTreeMap<&'static str, usize>,
    /// How often one that was refused as another was not called stale at an extreme of time.
    never_stale: usize,
    accepted: Vec<String>,
}

impl Tally {
    fn expect_refusal(
        &mut self,
        class: &'static str,
        name: &str,
        source: &Source,
        request: &Received,
        now: i64,
    ) {
        match code(source, request, now) {
            Err(_) => {
                *self.refused.entry(class).or_default() += 1;
                self.expect_no_talk_of_time(class, name, source, request, now);
            }
            Ok(()) => self.accepted.push(format!("{name}: {class}")),
        }
    }

    /// What isn't authentic is never called stale, however old it is: who can't sign must not learn that
    /// only the time was wrong, and "stale" proves to a diagnosis that a request is authentic.
    fn expect_no_talk_of_time(
        &mut self,
        class: &'static str,
        name: &str,
        source: &Source,
        request: &Received,
        now: i64,
    ) {
        let judged = |now| source.scheme.verify(request, at(now)).map_err(|refused| refused.code);
        if judged(now).is_ok() || judged(now).is_err_and(Code::is_of_time) {
            return;
        }
        for seconds in [8 * 24 * 3600, -8 * 24 * 3600] {
            match judged(now + seconds) {
                Err(code) if code.is_of_time() => {
                    self.accepted.push(format!("{name}: {class}: {code:?}"));
                }
                _ => self.never_stale += 1,
            }
        }
    }
}

/// Another character of the same kind, so that a grammar is kept where it can be.
fn other(byte: u8) -> u8 {
    match byte {
        b'0'..=b'8' | b'a'..=b'y' | b'A'..=b'Y' => byte + 1,
        b'9' => b'0',
        b'z' => b'a',
        b'Z' => b'A',
        _ => byte ^ 1,
    }
}

fn bodies(name: &str, source: &Source, request: &Received, now: i64, tally: &mut Tally) {
    let with = |body: Vec<u8>| Received { body: Bytes::from(body), ..request.clone() };
    let length = request.body.len();
    let step = (length / BODY_BYTES_MAX).max(1);
    for byte in (0..length).step_by(step) {
        for changed in
            [request.body[byte] ^ 1, other(request.body[byte]), request.body[byte] ^ 0x80]
        {
            let mut body = request.body.to_vec();
            body[byte] = changed;
            tally.expect_refusal("body", name, source, &with(body), now);
        }
    }
    let longer = [request.body.as_ref(), b"\n"].concat();
    tally.expect_refusal("body", name, source, &with(longer), now);
    if length > 0 {
        tally.expect_refusal("body", name, source, &with(request.body[..length - 1].to_vec()), now);
        tally.expect_refusal("body", name, source, &with(Vec::new()), now);
    }
}

/// Every character of what is shown is changed by itself, and all of it is taken away.
fn signatures(
    name: &str,
    source: &Source,
    request: &Received,
    field: &Field,
    now: i64,
    tally: &mut Tally,
) {
    let Ok(Some(value)) = field.read(request) else { return };
    let value = value.into_owned();
    let mut gone = request.clone();
    gone.headers = Headers::new();
    for (header, line) in request.headers.iter() {
        if *field != Field::Header(header.to_owned()) {
            gone.headers.push(header, line);
        }
    }
    if matches!(field, Field::Header(_)) {
        tally.expect_refusal("signature", name, source, &gone, now);
    }
    let alone = !value.iter().any(is_separator) || matches!(field, Field::Body(_));
    let whole = std::iter::once(0..value.len()).filter(|_| alone);
    let parts = if alone { Vec::new() } else { needed(source, request, field, now) };
    for part in whole.chain(parts) {
        // A time that stands beside the signature is bytes of its own class.
        let text = &value[part.clone()];
        let digits = text.rsplit(|byte| *byte == b'=').next().unwrap_or_default();
        let is_time = !alone && digits.len() >= 10 && digits.iter().all(u8::is_ascii_digit);
        let class = if is_time { "timestamp" } else { "signature" };
        for i in part {
            let mut changed = value.clone();
            changed[i] = other(changed[i]);
            let Ok(text) = String::from_utf8(changed) else { continue };
            let mut request = request.clone();
            if field.put(&mut request, &text).is_ok() {
                tally.expect_refusal(class, name, source, &request, now);
            }
        }
    }
}

fn is_separator(byte: &u8) -> bool {
    matches!(byte, b',' | b' ' | b';' | b'&')
}

/// The parts of a value of several without which the request is refused: of several signatures each
/// is enough, so a change of one proves nothing.
fn needed(
    source: &Source,
    request: &Received,
    field: &Field,
    now: i64,
) -> Vec<std::ops::Range<usize>> {
    let Ok(Some(value)) = field.read(request) else { return Vec::new() };
    let value = value.into_owned();
    let mut parts = Vec::new();
    let mut start = 0;
    for end in (0..=value.len()).filter(|at| value.get(*at).is_none_or(is_separator)) {
        if start < end {
            parts.push(start..end);
        }
        start = end + 1;
    }
    parts.retain(|part| {
        let mut without = value.clone();
        // The name before it stays: without one, a part that isn't needed is malformed.
        let named = value[part.clone()].iter().position(|byte| *byte == b'=');
        let from = named.map(|at| part.start + at + 1).filter(|from| from + 1 < part.end);
        for byte in &mut without[from.unwrap_or(part.start)..part.end] {
            // Zeros in hex and in base64, whose padding stays.
            *byte = if *byte == b'=' { b'=' } else { b'A' };
        }
        let Ok(text) = String::from_utf8(without) else { return false };
        let mut request = request.clone();
        field.put(&mut request, &text).is_ok() && code(source, &request, now).is_err()
    });
    parts
}

fn headers(name: &str, source: &Source, request: &Received, now: i64, tally: &mut Tally) {
    let signed: Vec<(String, Vec<u8>)> = request
        .headers
        .iter()
        .filter(|(header, _)| source.scheme.signs(&Field::Header((*header).to_owned())))
        .map(|(header, line)| (header.to_owned(), line.to_vec()))
        .collect();
    for (header, value) in signed {
        for i in 0..value.len() {
            let mut changed = value.clone();
            changed[i] = other(changed[i]);
            let changed = with_header(request, &header, &changed);
            tally.expect_refusal("signed header", name, source, &changed, now);
        }
        let gone = without_header(request, &header);
        tally.expect_refusal("signed header", name, source, &gone, now);
    }
}

fn urls(name: &str, preset: &Preset, vector: &Vector, source: &Source, tally: &mut Tally) {
    let Some(url) = &vector.public_url else { return };
    let request = request_of(vector);
    let elsewhere = Vector { public_url: Some(format!("{url}x")), ..vector.clone() };
    let elsewhere = source_of(preset, &vector.secrets, Some(&elsewhere));
    tally.expect_refusal("url", name, &elsewhere, &request, vector.now);
    if !url.contains('?') {
        let mut other = request;
        other.target.push_str(if other.target.contains('?') { "&x=1" } else { "?x=1" });
        tally.expect_refusal("url", name, source, &other, vector.now);
    }
}

#[test]
fn no_tampered_copy_is_accepted() {
    let mut tally = Tally::default();
    for preset in &catalog::on_disk() {
        for (i, vector) in preset.vector.iter().enumerate() {
            let name = format!("{}[{i}]", preset.slug);
            let source = source_of(preset, &vector.secrets, Some(vector));
            let request = request_of(vector);
            if source.scheme.is_unsigned()
                || source.scheme.verify(&request, at(vector.now)).is_err()
            {
                continue;
            }
            if source.scheme.integrity() == Integrity::Full {
                bodies(&name, &source, &request, vector.now, &mut tally);
            }
            let mut fields = source.scheme.shown(&request, at(vector.now));
            // Of several headers with a signature each is enough: a change of one proves nothing.
            let several = fields.len() > 1;
            fields.retain(|field| match field {
                Field::Header(header) if several => {
                    code(&source, &without_header(&request, header), vector.now).is_err()
                }
                _ => true,
            });
            for field in &fields {
                signatures(&name, &source, &request, field, vector.now, &mut tally);
            }
            headers(&name, &source, &request, vector.now, &mut tally);
            if source.scheme.signs_url() {
                urls(&name, preset, vector, &source, &mut tally);
            }
            if is_timed(&source.scheme, &request, vector.now) {
                for seconds in [8 * 24 * 3600, -8 * 24 * 3600] {
                    let now = vector.now + seconds;
                    tally.expect_refusal("timestamp", &name, &source, &request, now);
                }
            }
        }
    }
    assert!(tally.accepted.is_empty(), "{}", tally.accepted.join("\n"));
    let least = [
        ("body", 5000),
        ("signature", 500),
        ("signed header", 150),
        ("url", 10),
        ("timestamp", 300),
    ];
    for (class, least) in least {
        let seen = tally.refused.get(class).copied().unwrap_or_default();
        assert!(seen >= least, "only {seen} of {class}: {:?}", tally.refused);
    }
    assert!(tally.never_stale >= 10_000, "only {}", tally.never_stale);
}

/// A secret of the same form with another value.
fn another(secret: &str) -> Option<String> {
    let changed: String = secret
        .chars()
        .enumerate()
        .map(|(at, c)| match c {
            // The head of a secret may be its kind or its id, and the last characters of base64 have
            // bits that must be zero.
            _ if at < secret.len() / 2 || at + 4 >= secret.len() => c,
            '1'..='8' => char::from(c as u8 + 1),
            'b'..='e' | 'h'..='y' => char::from(c as u8 + 1),
            'B'..='E' | 'H'..='Y' => char::from(c as u8 + 1),
            _ => c,
        })
        .collect();
    (changed != secret && !secret.contains("-----BEGIN")).then_some(changed)
}

#[test]
fn another_secret_is_a_mismatch_even_when_the_request_is_stale() {
    let mut seen = 0;
    for preset in &catalog::on_disk() {
        for vector in preset.vector.iter().filter(|vector| !vector.secrets.is_empty()) {
            let source = source_of(preset, &vector.secrets, Some(vector));
            if source.scheme.verify(&request_of(vector), at(vector.now)).is_err() {
                continue;
            }
            // A changed point is rarely one of the curve.
            if preset.source.verify.as_ref().is_some_and(|scheme| scheme.ecdsa.is_some()) {
                continue;
            }
            let others: Option<Vec<String>> =
                vector.secrets.iter().map(|secret| another(secret)).collect();
            let Some(others) = others else { continue };
            let weak = Vector { weak: true, ..vector.clone() };
            let source = source_of(preset, &others, Some(&weak));
            for now in [vector.now, vector.now + 1_000_000, vector.now - 1_000_000] {
                let refused = source.scheme.verify(&request_of(vector), at(now));
                let refused = refused.map(|_| ()).map_err(|rejection| rejection.code);
                assert_eq!(refused, Err(Code::SignatureMismatch), "{}", preset.slug);
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "only {seen}");
}
