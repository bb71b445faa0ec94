//! Every cause has a broken request whose cause it is, and is found.

use bytes::Bytes;

use super::super::tests::{KEY, NOW, request, settings, spec};
use super::super::vectors::{at, code};
use super::*;
use crate::verify::Step;
use crate::verify::encoding::Encoding;

mod bounds;
mod invented;
mod jwt;
mod rows;

/// A source that receives, one that signs (the same, unless it says otherwise), and what happens to
/// the request on its way.
struct Row {
    cause: Cause,
    receives: (&'static str, Vec<String>),
    signs: (&'static str, Vec<String>),
    body: Vec<u8>,
    target: &'static str,
    /// Headers that are there before it is signed.
    prepared: Vec<(&'static str, &'static str)>,
    broken: fn(&mut Received),
    now: i64,
}

const PLAIN: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig", grammar = { plain = { prefix = "sha256=" } } } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const BASE64: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig", encoding = "base64" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const TIMED: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, content = "{ts}.{body}", timestamp = { from = "header:x-time", unit = "s" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const STRIPE: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig", grammar = { kv = { sep = ",", sig = ["v1"], ts = "t" } } }, content = "{ts}.{body}", timestamp = { unit = "s" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const WITH_ID: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, content = "{id}.{body}", id = "header:x-event" }
event  = { id = "signed", format = "raw" }
"#;
const URL: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, content = "{url}{body}" }
event  = { id = "sha256(body)", format = "raw" }
"#;
const TOKEN: &str = r#"
verify = { token = { from = "header:x-token", prefix = "Bearer " } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const BASIC: &str = r#"
verify = "basic"
event  = { id = "sha256(body)", format = "raw" }
"#;

const JSON: &[u8] = br#"{"id": "evt_1","b":[1,2.50],"a":"x/y"}"#;
const REGISTERED: &str = "https://hooks.example.com/in/partner";

fn row(cause: Cause, spec: &'static str, body: &[u8], broken: fn(&mut Received)) -> Row {
    let secrets = || vec![KEY.to_owned()];
    Row {
        cause,
        receives: (spec, secrets()),
        signs: (spec, secrets()),
        body: body.to_vec(),
        target: "/in/partner",
        prepared: Vec::new(),
        broken,
        now: NOW,
    }
}

/// The sender has another secret or another scheme.
fn other(cause: Cause, receives: (&'static str, &str), signs: (&'static str, &str)) -> Row {
    let mut row = row(cause, receives.0, JSON, |_| {});
    row.receives = (receives.0, vec![receives.1.to_owned()]);
    row.signs = (signs.0, vec![signs.1.to_owned()]);
    row
}

fn source((text, secrets): &(&str, Vec<String>), url: &str) -> Source {
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let mut settings = settings(spec(text), &secrets);
    settings.public_url = Some(url.to_owned());
    Source::compile_weak(settings).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))
}

/// The request as it arrives.
fn arrived(row: &Row, url: &str) -> Received {
    let mut unsigned = request(&row.prepared, &row.body);
    row.target.clone_into(&mut unsigned.target);
    let signer = source(&row.signs, url);
    let mut received = signer.sign(unsigned, at(NOW), 0).expect("signed");
    (row.broken)(&mut received);
    received
}

fn set(received: &mut Received, name: &str, change: impl FnOnce(&str) -> String) {
    let old = received.headers.one(name).expect("one").unwrap_or_default().to_vec();
    let new = change(std::str::from_utf8(&old).expect("text"));
    received.headers.replace(name, new);
}

fn without(received: &mut Received, name: &str) -> String {
    let mut headers = crate::received::Headers::new();
    let mut value = String::new();
    for (other, line) in received.headers.iter() {
        if other == name {
            value = String::from_utf8(line.to_vec()).expect("text");
        } else {
            headers.push(other, line);
        }
    }
    received.headers = headers;
    value
}

fn renamed(received: &mut Received, from: &str, to: &str) {
    let value = without(received, from);
    received.headers.push(to, value);
}

fn body(received: &mut Received, change: impl FnOnce(&str) -> String) {
    let text = change(std::str::from_utf8(&received.body).expect("text"));
    received.body = Bytes::from(text);
}

/// Bounded by trials and bytes alone: how long they take on a busy machine is not the subject.
fn unhurried(effort: Effort) -> Effort {
    Effort { time: std::time::Duration::from_secs(600), ..effort }
}

fn check(row: &Row, url: &str, faults: &mut Vec<String>) {
    let received = arrived(row, url);
    let source = source(&row.receives, REGISTERED);
    let now = at(row.now);
    assert!(
        source.admit(received.clone(), now).is_err(),
        "{}: the request is not broken: {received:?}",
        row.cause
    );
    for (name, effort) in [("patient", Effort::PATIENT), ("modest", Effort::MODEST)] {
        let effort = unhurried(effort);
        let Some(found) = source.diagnose(&received, now, effort) else {
            faults.push(format!("{} ({name}): nothing", row.cause));
            continue;
        };
        if found.cause != row.cause {
            faults.push(format!("{} ({name}): {} {:?}", row.cause, found, found.also));
        }
        for secret in row.receives.1.iter().chain(&row.signs.1) {
            assert!(!found.sentence.contains(secret.as_str()), "{found}");
        }
        let expected = expected(&source, &received);
        assert!(expected.iter().all(|right| !found.sentence.contains(right)), "{found}");
    }
}

/// The right signatures, which nobody may be told.
fn expected(source: &Source, received: &Received) -> Vec<String> {
    let mut request = received.clone();
    let Ok(signed) = source.sign(std::mem::replace(&mut request, received.clone()), at(NOW), 0)
    else {
        return Vec::new();
    };
    let value = signed.headers.one("x-sig").ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(value).into_owned();
    text.split(['=', ',']).filter(|part| part.len() > 30).map(str::to_owned).collect()
}

#[test]
fn every_broken_request_is_told_its_cause() {
    let mut faults = Vec::new();
    let mut rows = rows::rows();
    rows.extend(jwt::rows());
    rows.extend(invented::rows());
    for row in &rows {
        check(row, REGISTERED, &mut faults);
    }
    for (cause, url, target) in rows::urls() {
        let mut row = row(cause, URL, JSON, |_| {});
        row.target = target.0;
        let at_source = target.1;
        let mut received = arrived(&row, url);
        at_source.clone_into(&mut received.target);
        let source = source(&row.receives, REGISTERED);
        match source.diagnose(&received, at(NOW), unhurried(Effort::PATIENT)) {
            Some(found) if found.cause == cause && found.proven => {}
            other => faults.push(format!("{cause}: {other:?}")),
        }
    }
    let causes: std::collections::BTreeSet<&str> = rows
        .iter()
        .map(|row| row.cause.as_str())
        .chain(rows::urls().iter().map(|row| row.0.as_str()))
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(causes.len() >= 50, "only {}: {causes:?}", causes.len());
}

#[test]
fn two_changes_that_come_together_are_found() {
    let mut twice = other(
        Cause::SecretDecoding,
        (PLAIN, "d2hpY2hldmVyLWtleS1pdC1pcw=="),
        (PLAIN, "whichever-key-it-is"),
    );
    twice.broken = |received| body(received, |text| format!("{text}\n"));
    let received = arrived(&twice, REGISTERED);
    let source = source(&twice.receives, REGISTERED);
    let found =
        source.diagnose(&received, at(NOW), unhurried(Effort::PATIENT)).expect("a diagnosis");
    assert_eq!((found.cause, found.also), (Cause::SecretDecoding, Some(Cause::BodyNewlineAdded)));
}

/// A push of GitHub's, signed with this key.
fn githubs() -> Received {
    let github = catalog::get("github").expect("a preset");
    let mut settings = settings(github.source.clone(), &[KEY]);
    settings.provider = Some("github".to_owned());
    let github = Source::compile(settings).expect("compiles");
    let unsigned = request(&[("x-github-event", "push"), ("x-github-delivery", "d-1")], JSON);
    github.sign(unsigned, at(NOW), 0).expect("signed")
}

#[test]
fn another_providers_request_is_recognised() {
    let signed = githubs();
    for (secret, proven) in [(KEY, true), ("another-key-of-sixteen-bytes", false)] {
        let partner = source(&(TIMED, vec![secret.to_owned()]), REGISTERED);
        let found =
            partner.diagnose(&signed, at(NOW), unhurried(Effort::MODEST)).expect("a diagnosis");
        assert_eq!((found.cause, found.proven), (Cause::OtherProvider, proven), "{found}");
        assert!(found.sentence.contains("GitHub"), "{found}");
    }
}

#[test]
fn an_accepted_request_has_no_diagnosis_and_an_authentic_one_without_id_says_so() {
    let partner = source(&(PLAIN, vec![KEY.to_owned()]), REGISTERED);
    let signed = partner.sign(request(&[], JSON), at(NOW), 0).expect("signed");
    assert_eq!(partner.diagnose(&signed, at(NOW), unhurried(Effort::MODEST)), None);
    let strict = PLAIN.replace("\"sha256(body)\", format = \"raw\"", "\"body:/none\"");
    let strict = Source::compile(settings(spec(&strict), &[KEY])).expect("compiles");
    let found = strict.diagnose(&signed, at(NOW), unhurried(Effort::MODEST)).expect("a diagnosis");
    assert_eq!((found.cause, found.step()), (Cause::EventIdMissing, Step::Event));
    let mut put = signed;
    put.method = "PUT".to_owned();
    let found = partner.diagnose(&put, at(NOW), unhurried(Effort::MODEST)).expect("a diagnosis");
    assert_eq!((found.cause, found.step()), (Cause::MethodRefused, Step::Request));
}

/// Zendesk's test before a webhook is saved, looked at an hour later.
#[test]
fn a_providers_test_by_its_published_secret_is_known_when_it_is_old() {
    let zendesk = catalog::get("zendesk").expect("a preset");
    let tests = zendesk.vector.iter().filter(|vector| vector.answer.is_some());
    let mut seen = 0;
    for vector in tests {
        let source = super::super::vectors::source_of(zendesk, &vector.secrets, Some(vector));
        let sent = super::super::vectors::request_of(vector);
        let found = |now| source.diagnose(&sent, at(now), unhurried(Effort::PATIENT));
        assert_eq!(found(vector.now), None);
        let late = found(vector.now + 7200).expect("a diagnosis");
        assert_eq!((late.cause, late.proven), (Cause::Stale, true), "{late}");
        assert!(late.sentence.contains("the secret that it publishes"), "{late}");
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn every_member_is_looked_at_and_the_one_that_came_furthest_wins() {
    let both = r#"
        verify = { any = [
            { hmac = "sha256", signature = { from = "header:x-other" } },
            { hmac = "sha256", signature = { from = "header:x-sig", grammar = { plain = { prefix = "sha256=" } } } },
        ] }
        event  = { id = "sha256(body)", format = "raw" }
    "#;
    let signer = source(&(PLAIN, vec![KEY.to_owned()]), REGISTERED);
    let signed = signer.sign(request(&[], JSON), at(NOW), 0).expect("signed");
    let mut received = signed.clone();
    body(&mut received, |text| format!("{text}\n"));
    let either = source(&(both, vec![KEY.to_owned()]), REGISTERED);
    let found =
        either.diagnose(&received, at(NOW), unhurried(Effort::MODEST)).expect("a diagnosis");
    assert_eq!(found.cause, Cause::BodyNewlineAdded, "{found}");
    let all = source(&(&both.replace("any", "all"), vec![KEY.to_owned()]), REGISTERED);
    let found = all.diagnose(&signed, at(NOW), unhurried(Effort::MODEST)).expect("a diagnosis");
    assert_eq!(found.cause, Cause::SignatureHeader, "{found}");
}

#[test]
fn a_request_to_another_source_is_recognised() {
    let other = "0123456789-of-the-other-environment";
    let named = |name: &str, secret: &str| {
        let mut settings = settings(spec(PLAIN), &[secret]);
        settings.name = entity::Name::new(name).expect("a name");
        Source::compile(settings).expect("compiles")
    };
    let all = Sources::new([named("live", KEY), named("test", other)]);
    let (live, test) = (all.named("live").expect("it"), all.named("test").expect("it"));
    let signed = test.sign(request(&[], JSON), at(NOW), 0).expect("signed");
    let found =
        all.diagnose(live, &signed, at(NOW), unhurried(Effort::MODEST)).expect("a diagnosis");
    assert_eq!((found.cause, found.proven), (Cause::OtherSource, true), "{found}");
    assert!(found.sentence.contains("`test`") && !found.sentence.contains(other), "{found}");
    assert_eq!(all.diagnose(test, &signed, at(NOW), unhurried(Effort::MODEST)), None);
    // What is wrong with it here is said first.
    let mut own = live.sign(request(&[], JSON), at(NOW), 0).expect("signed");
    body(&mut own, |text| format!("{text}\n"));
    let found = all.diagnose(live, &own, at(NOW), unhurried(Effort::MODEST)).expect("a diagnosis");
    assert_eq!(found.cause, Cause::BodyNewlineAdded, "{found}");
    let nobodys = named("x", "a-secret-that-nobody-has").sign(request(&[], JSON), at(NOW), 0);
    let found = all.diagnose(live, &nobodys.expect("signed"), at(NOW), unhurried(Effort::MODEST));
    assert_eq!(found.expect("a diagnosis").cause, Cause::SecretWrong);
}

/// However long the body is and however many secrets there are, the work ends.
#[test]
fn the_work_is_bounded() {
    let secrets: Vec<String> = (0..16).map(|n| format!("{KEY}-{n}")).collect();
    let partner = source(&(PLAIN, secrets), REGISTERED);
    let signer = source(&(PLAIN, vec!["somebody-elses-secret".to_owned()]), REGISTERED);
    let long = format!("{{\"a\":\"{}\"}}", "é/".repeat(1 << 20));
    let received = signer.sign(request(&[], long.as_bytes()), at(NOW), 0).expect("signed");
    let started = std::time::Instant::now();
    let found = partner.diagnose(&received, at(NOW), Effort::MODEST).expect("a diagnosis");
    assert_eq!(found.cause, Cause::SecretWrong);
    assert!(found.sentence.contains("as many as the time allowed"), "{found}");
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}

#[test]
fn a_diagnosis_is_kept_behind_a_detail_and_taken_off_again() {
    let mut diagnosis = Diagnosis::new(Cause::UrlPort, "it\nwith: the port");
    assert_eq!(Diagnosis::apart("a detail"), ("a detail", None));
    assert_eq!(Diagnosis::apart("a\nb: c"), ("a\nb: c", None));
    for also in [None, Some(Cause::BodyBomAdded)] {
        diagnosis.also = also;
        let kept = diagnosis.behind("a detail: x\ny");
        let (detail, shown) = Diagnosis::apart(&kept);
        let shown = shown.expect("a diagnosis");
        assert_eq!(detail, "a detail: x y");
        assert_eq!((shown.cause, shown.also), (Cause::UrlPort, also));
        assert_eq!(shown.sentence, "it with: the port");
    }
    for cause in Cause::ALL {
        assert_eq!(Cause::named(cause.as_str()), Some(*cause));
    }
}

/// Scripts match on these words, so each is written down.
#[test]
fn every_cause_is_documented() {
    let page = include_str!("../../../docs/operate.md");
    for cause in Cause::ALL {
        let entry = format!("`{cause}` {}", cause.about());
        assert!(page.contains(&entry), "docs/operate.md lacks: {entry}");
    }
}
