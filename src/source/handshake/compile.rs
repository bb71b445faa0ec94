//! From written handshakes to compiled ones.

use std::collections::HashSet;

use super::echo::{Echo, Words};
use super::{Callout, Handshake, Needs, Wanted};
use crate::secret::Secret;
use crate::source::compile::{Faults, Surroundings, key, root_scheme};
use crate::source::spec::{
    CalloutSpec, HandshakeReplySpec, HandshakeSpec, MatchSpec, SchemeSpec, SourceState,
};
use crate::verify::field::Field;
use crate::verify::host::HostPattern;
use crate::verify::mac::{Hash, Mac};
use crate::verify::template;

/// What handshakes are compiled with.
pub(in crate::source) struct Around<'a> {
    /// How the source's events are proven.
    pub(in crate::source) verify: Option<&'a SchemeSpec>,
    /// What schemes are compiled with.
    pub(in crate::source) surroundings: &'a Surroundings<'a>,
    /// The methods of the source's events.
    pub(in crate::source) methods: &'a [String],
    /// The source's own path.
    pub(in crate::source) path: &'a str,
}

/// Headers that say how an answer is read, or that a browser acts upon.
const NOT_TO_SET: [&str; 8] = [
    "connection",
    "content-length",
    "content-type",
    "location",
    "refresh",
    "set-cookie",
    "transfer-encoding",
    "www-authenticate",
];

/// Compiles every handshake of a source.
pub(in crate::source) fn compile(
    specs: &[HandshakeSpec],
    around: &Around<'_>,
    faults: &mut Faults,
) -> Vec<Handshake> {
    let one = |(i, spec)| compile_one(spec, &format!("handshake[{i}]"), around, faults);
    specs.iter().enumerate().filter_map(one).collect()
}

fn compile_one(
    spec: &HandshakeSpec,
    path: &str,
    around: &Around<'_>,
    faults: &mut Faults,
) -> Option<Handshake> {
    let fields = match_fields(&spec.when, path, faults);
    let absent = places(&spec.when.absent, &format!("{path}.match.absent"), faults);
    wide(&spec.when, path, around, faults);
    let needs = needs(spec, path, around, faults);
    states(spec, path, faults);
    let signed = matches!(needs, Some(Needs::Scheme));
    let reply = reply(&spec.reply, signed, path, around, faults);
    let checks = checks(spec, path, around, faults);
    let refuse = spec.refuse.unwrap_or(403);
    if spec.refuse.is_some() && spec.check.is_empty() && spec.callout.is_none() {
        faults.push(&format!("{path}.refuse"), "nothing is refused without `check`");
    }
    if !(400..=499).contains(&refuse) {
        faults.push(&format!("{path}.refuse"), format!("{refuse} is not between 400 and 499"));
    }
    let callout = match &spec.callout {
        Some(callout) => callout_of(callout, signed, path, faults),
        None => None,
    };
    let capture = spec
        .capture_secret
        .as_ref()
        .and_then(|place| faults.take(&format!("{path}.capture_secret"), Field::parse(place)));
    let (status, content_type, headers, body) = reply?;
    Some(Handshake {
        needs: needs?,
        method: spec.when.method.clone(),
        path: spec.when.path.clone(),
        fields,
        absent,
        checks,
        refuse,
        capture,
        only_pending: spec.only_while == Some(SourceState::Pending),
        callout,
        status,
        content_type,
        headers,
        body,
    })
}

fn match_fields(spec: &MatchSpec, path: &str, faults: &mut Faults) -> Vec<(Field, Wanted)> {
    let mut fields = Vec::new();
    for (place, wanted) in [
        ("header", &spec.header),
        ("query", &spec.query),
        ("form", &spec.form),
        ("body", &spec.body),
    ] {
        for (name, value) in wanted {
            let path = format!("{path}.match.{place}");
            let field = faults.take(&path, Field::parse(&format!("{place}:{name}")));
            let value = faults.take(&path, wanted_value(value));
            fields.extend(field.zip(value));
        }
    }
    fields
}

/// Reads `*`, `*hex{20,32}`, or a text.
fn wanted_value(text: &str) -> Result<Wanted, String> {
    let Some(rest) = text.strip_prefix('*') else { return Ok(Wanted::Text(text.to_owned())) };
    if rest.is_empty() {
        return Ok(Wanted::Anything);
    }
    rest.strip_prefix("hex{")
        .and_then(|rest| rest.strip_suffix('}')?.split_once(','))
        .and_then(|(min, max)| Some((min.parse().ok()?, max.parse().ok()?)))
        .filter(|(min, max)| (1..=*max).contains(min))
        .map(|(min, max)| Wanted::Hex(min, max))
        .ok_or_else(|| format!("`{text}` is not known: write \"*\", \"*hex{{20,32}}\" or a text"))
}

fn places(texts: &[String], path: &str, faults: &mut Faults) -> Vec<Field> {
    texts.iter().filter_map(|text| faults.take(path, Field::parse(text))).collect()
}

/// A handshake that matches whatever comes would leave no events.
fn wide(spec: &MatchSpec, path: &str, around: &Around<'_>, faults: &mut Faults) {
    if let Some(method) = &spec.method
        && (method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()))
    {
        let fault = format!("`{method}` is not a method: write it such as `GET`");
        faults.push(&format!("{path}.match.method"), fault);
    }
    if let Some(extra) = &spec.path {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
        if !extra.starts_with('/') || !extra.bytes().all(plain) || extra.contains("..") {
            let fault = format!("`{extra}` is not a path such as \"/.well-known/x\"");
            faults.push(&format!("{path}.match.path"), fault);
        }
        if extra == around.path || matches!(extra.as_str(), "/livez" | "/readyz") {
            faults.push(&format!("{path}.match.path"), format!("`{extra}` is taken already"));
        }
        return;
    }
    let takes_events = spec.method.as_ref().is_none_or(|method| around.methods.contains(method));
    let nothing =
        [&spec.header, &spec.query, &spec.form, &spec.body].iter().all(|it| it.is_empty());
    let unproven = places(&spec.absent, path, &mut Faults::default());
    let none_proven = around.verify.is_some_and(|verify| cannot_prove(verify, &unproven));
    if nothing && takes_events && !none_proven {
        faults.push(
            &format!("{path}.match"),
            "would swallow every request: match a header, a query parameter, a form's field or a body pointer too",
        );
    }
}

/// Whether a request in which nothing stands in these places can't be an event.
fn cannot_prove(verify: &SchemeSpec, absent: &[Field]) -> bool {
    let is_absent = |text: &str| Field::parse(text).is_ok_and(|field| absent.contains(&field));
    if let Some(members) = &verify.any {
        return !members.is_empty() && members.iter().all(|it| cannot_prove(it, absent));
    }
    verify.signature.as_ref().is_some_and(|signature| is_absent(&signature.from))
        || verify.token.as_ref().is_some_and(|token| is_absent(&token.from))
        || (verify.basic.is_some() && is_absent("header:authorization"))
        || verify.all.iter().flatten().any(|it| cannot_prove(it, absent))
}

fn needs(
    spec: &HandshakeSpec,
    path: &str,
    around: &Around<'_>,
    faults: &mut Faults,
) -> Option<Needs> {
    let Some(published) = &spec.signed_by else {
        return Some(if spec.signed { Needs::Scheme } else { Needs::Nothing });
    };
    if !spec.signed {
        faults.push(&format!("{path}.signed_by"), "and `signed = false` contradict each other");
    }
    let secrets = [Secret::new(published.clone())];
    let known = |secret: &Secret| secret.fingerprint() == secrets[0].fingerprint();
    if let Some(at) = around.surroundings.secrets.iter().copied().flatten().position(known) {
        faults.push(
            &format!("secrets[{at}]"),
            "is the one that the provider publishes for tests: whoever knows it could send events",
        );
    }
    let surroundings = Surroundings {
        secrets: Some(&secrets),
        // What everybody knows may be short as well.
        strict: false,
        ..*around.surroundings
    };
    let mut found = Faults::default();
    let scheme = root_scheme(around.verify, &surroundings, &mut found);
    // What is wrong with `verify` itself is told once, by the source.
    match scheme {
        Some(scheme) if found.0.is_empty() => Some(Needs::Published(Box::new(scheme))),
        _ if faults.0.is_empty() => {
            for fault in found.0 {
                faults.push(&format!("{path}.signed_by"), fault);
            }
            None
        }
        _ => None,
    }
}

/// Whether what it says about the source's state and secret goes together.
fn states(spec: &HandshakeSpec, path: &str, faults: &mut Faults) {
    let unsigned = !spec.signed && spec.signed_by.is_none();
    match (&spec.capture_secret, spec.only_while) {
        (Some(_), None) => faults.push(
            &format!("{path}.capture_secret"),
            "whoever knows the URL could replace the secret: write only_while = \"pending\"",
        ),
        (None, Some(_)) => faults.push(
            &format!("{path}.only_while"),
            "only a source that captures its secret is ever pending: write `capture_secret` too",
        ),
        (Some(_), Some(_)) if !unsigned => faults.push(
            &format!("{path}.signed"),
            "nothing can be signed while there is no secret: write signed = false",
        ),
        _ => {}
    }
}

type Reply = (u16, Option<String>, Vec<(String, Echo)>, Echo);

fn reply(
    spec: &HandshakeReplySpec,
    signed: bool,
    path: &str,
    around: &Around<'_>,
    faults: &mut Faults,
) -> Option<Reply> {
    let path = format!("{path}.reply");
    if !(200..=299).contains(&spec.status) {
        let fault = format!("{} is not between 200 and 299", spec.status);
        faults.push(&format!("{path}.status"), fault);
    }
    let body = faults.take(&format!("{path}.body"), Echo::parse(&spec.body, around, signed));
    let mut headers = Vec::new();
    let mut seen = HashSet::new();
    for (name, value) in &spec.headers {
        let path = format!("{path}.headers.{name}");
        let legal = faults.take(&path, Field::parse(&format!("header:{name}")));
        let value = faults.take(&path, Echo::parse(value, around, signed));
        let name = name.to_ascii_lowercase();
        if NOT_TO_SET.contains(&name.as_str()) {
            faults.push(&path, "is not for a handshake to set");
        }
        if !seen.insert(name.clone()) {
            faults.push(&path, "stands twice");
        }
        if let (Some(_), Some(value)) = (legal, value) {
            headers.push((name, value));
        }
    }
    let mut body = body?;
    let content_type = match &spec.content_type {
        Some(kind) => Some(kind.clone()),
        None if body.is_empty() => None,
        None => Some("text/plain".to_owned()),
    };
    let kind = content_type.as_deref().unwrap_or_default();
    if !kind.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        faults.push(&format!("{path}.content_type"), "can't stand in a header");
    }
    // A browser runs what is in these, and a stranger may have put it there.
    if !signed && !body.is_fixed() && !matches!(essence(kind), "text/plain" | "application/json") {
        faults.push(
            &format!("{path}.content_type"),
            "an unsigned handshake that repeats what it was sent must be text/plain or application/json",
        );
    }
    if essence(kind).ends_with("json") && !body.make_json() {
        let fault = "what stands in JSON must be a JSON text: write {json:…} in place of \"{…}\"";
        faults.push(&format!("{path}.body"), fault);
    }
    Some((spec.status, content_type, headers, body))
}

/// A media type without its parameters.
fn essence(kind: &str) -> &str {
    kind.split(';').next().unwrap_or_default().trim()
}

fn checks(
    spec: &HandshakeSpec,
    path: &str,
    around: &Around<'_>,
    faults: &mut Faults,
) -> Vec<(Field, Secret)> {
    let mut checks = Vec::new();
    for (place, value) in &spec.check {
        let path = format!("{path}.check");
        let field = faults.take(&path, Field::parse(place));
        let value = faults.take(&path, template::params(value, &around.surroundings.words()));
        if value.as_deref() == Some("") {
            faults.push(&path, format!("`{place}`: an empty value checks nothing"));
        }
        checks.extend(field.zip(value.map(Secret::new)));
    }
    checks
}

fn callout_of(
    spec: &CalloutSpec,
    signed: bool,
    path: &str,
    faults: &mut Faults,
) -> Option<Callout> {
    let path = format!("{path}.callout");
    if !signed {
        let fault = "only for what is signed: else whoever knows the URL could make us call";
        faults.push(&path, fault);
    }
    if spec.hosts.is_empty() {
        faults.push(&format!("{path}.hosts"), "is empty: nothing could be called");
    }
    let hosts: Vec<_> = spec
        .hosts
        .iter()
        .filter_map(|host| faults.take(&format!("{path}.hosts"), HostPattern::parse(host)))
        .collect();
    let from = faults.take(&format!("{path}.url_from"), Field::parse(&spec.url_from))?;
    Some(Callout { from, hosts })
}

impl Words for Around<'_> {
    fn param(&self, name: &str) -> Result<Secret, String> {
        self.surroundings.words().param(name).map(Secret::new)
    }

    fn key_id(&self) -> Result<Secret, String> {
        key::first_hmac(self.verify, self.surroundings)?
            .0
            .map(Secret::new)
            .ok_or_else(|| "{key_id}: this scheme's secrets have no id: see `key.by_id`".to_owned())
    }

    fn mac(&self, hash: Hash) -> Result<Mac, String> {
        let (_, key) = key::first_hmac(self.verify, self.surroundings)?;
        Mac::new(hash, &key).ok_or_else(|| "the first secret is no key".to_owned())
    }
}
