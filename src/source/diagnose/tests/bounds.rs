//! One effort is for all that is tried, and "stale" is said of nothing that isn't signed.

use std::time::Duration;

use super::*;

/// Some bytes' worth of work, whatever time it takes.
fn worth(bytes: usize) -> Effort {
    Effort { bytes, trials: 10_000, time: Duration::from_secs(600) }
}

fn named(name: &str, text: &str, secrets: &[String]) -> Source {
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let mut settings = settings(spec(text), &secrets);
    settings.name = entity::Name::new(name).expect("a name");
    Source::compile(settings).expect("compiles")
}

const LONG: usize = 100_000;

/// The cause that is found, for so many bytes' worth, of a request to `theirs` that comes to `ours`.
fn cause(all: &Sources, theirs: &str, bytes: usize) -> Cause {
    let (ours, theirs) = (all.named("ours").expect("it"), all.named(theirs).expect("it"));
    let secret = theirs.clues.secrets.len() - 1;
    let sent = theirs.sign(request(&[], &[b'x'; LONG]), at(NOW), secret).expect("signed");
    all.diagnose(ours, &sent, at(NOW), worth(bytes)).expect("a diagnosis").cause
}

#[test]
fn each_secret_of_another_source_is_paid_for() {
    let secrets: Vec<String> = (0..50).map(|n| format!("{KEY}-of-theirs-{n}")).collect();
    // Tokens are compared: there is nothing to search for in this one.
    let ours = named("ours", TOKEN, &["some-token-of-ours".to_owned()]);
    let all = Sources::new([ours, named("theirs", PLAIN, &secrets)]);
    assert_eq!(cause(&all, "theirs", 200 * LONG), Cause::OtherSource);
    assert_eq!(cause(&all, "theirs", 10 * LONG), Cause::SignatureMissing);
}

#[test]
fn what_the_search_has_spent_is_spent_for_other_sources_too() {
    let ours = named("ours", PLAIN, &[KEY.to_owned()]);
    let theirs =
        (0..30).map(|n| named(&format!("s{n:02}"), PLAIN, &[format!("{KEY}-of-theirs-{n}")]));
    let all = Sources::new([ours].into_iter().chain(theirs));
    assert_eq!(cause(&all, "s29", 1000 * LONG), Cause::OtherSource);
    // The search alone would use up ten times as much.
    assert_eq!(cause(&all, "s29", 40 * LONG), Cause::SecretWrong);
}

/// A machine that is slow, or busy, has no time left for them after the search.
#[test]
fn the_last_questions_are_asked_however_late_it_is() {
    let late = Effort { time: Duration::ZERO, ..Effort::MODEST };
    let [ours, theirs] = [("ours", KEY.to_owned()), ("theirs", format!("{KEY}-of-theirs"))]
        .map(|(name, secret)| named(name, PLAIN, &[secret]));
    let sent = theirs.sign(request(&[], JSON), at(NOW), 0).expect("signed");
    let all = Sources::new([ours, theirs]);
    let ours = all.named("ours").expect("it");
    let found = all.diagnose(ours, &sent, at(NOW), late).expect("a diagnosis");
    assert_eq!(found.cause, Cause::OtherSource, "{found}");
}

#[test]
fn other_providers_are_paid_for() {
    let signed = githubs();
    let partner = source(&(TIMED, vec![KEY.to_owned()]), REGISTERED);
    let found = |effort| partner.diagnose(&signed, at(NOW), effort).expect("a diagnosis");
    assert!(found(unhurried(Effort::MODEST)).proven);
    let nothing = found(worth(0));
    assert!(!nothing.proven, "{nothing}");
    let no_trials = found(Effort { trials: 0, ..unhurried(Effort::MODEST) });
    assert!(!no_trials.proven, "{no_trials}");
}

/// Members of a scheme share the effort as well.
#[test]
fn every_member_is_paid_for() {
    let member = |n: usize| {
        format!(
            r#"{{ hmac = "sha256", signature = {{ from = "header:x-{n}" }} , key = {{ secrets = [{n}] }} }}"#
        )
    };
    let members: Vec<String> = (0..8).map(member).collect();
    let text = format!(
        "verify = {{ any = [{}] }}\nevent = {{ id = \"sha256(body)\", format = \"raw\" }}",
        members.join(", ")
    );
    let secrets: Vec<String> = (0..8).map(|n| format!("{KEY}-{n}")).collect();
    let ours = named("ours", &text, &secrets);
    // The last member's own signature, over a body that lost its end.
    let mut sent = ours.sign(request(&[], &[b'x'; LONG]), at(NOW), 7).expect("signed");
    for n in 0..7 {
        sent.headers.push(&format!("x-{n}"), "0".repeat(64));
    }
    sent.body = [sent.body.as_ref(), b"\n"].concat().into();
    let found = |bytes| ours.diagnose(&sent, at(NOW), worth(bytes)).expect("a diagnosis").cause;
    assert_eq!(found(10_000 * LONG), Cause::BodyNewlineAdded);
    // Enough for one member's search, and not for the seven before it.
    assert_eq!(found(60 * LONG), Cause::SecretWrong);
}

const EACH: &str = r#"
verify = { hmac = "sha256", signature = { from = "body:/sig" }, content = "{body:/ts}.{body:/id}", timestamp = { from = "body:/ts", unit = "s" }, each = "/items/*" }
event  = { id = "sha256(body)", format = "raw" }
"#;
const HASHED: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig" }, content = "{ts}.{header:x-body}", timestamp = { from = "header:x-time", unit = "s" }, body_digest = { from = "header:x-body", hash = "sha256", encoding = "hex" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const ALL: &str = r#"
verify = { all = [
    { hmac = "sha256", key = { secrets = [0] }, signature = { from = "header:x-sig" }, content = "{ts}.{body}", timestamp = { from = "header:x-time", unit = "s" } },
    { token = "header:x-token", key = { secrets = [1] } },
] }
event  = { id = "sha256(body)", format = "raw" }
"#;

const ITEMS: &[u8] =
    br#"{"items":[{"id":"1","ts":1767225600,"sig":""},{"id":"2","ts":1767225600,"sig":""}]}"#;

/// An old request of which the first part is authentic, and another part isn't: by scheme.
fn half_signed() -> Vec<(Source, Received)> {
    let one = [KEY.to_owned()];
    let two = [KEY.to_owned(), "a-token-of-the-provider".to_owned()];
    let (each, hashed, all) =
        (named("each", EACH, &one), named("hashed", HASHED, &one), named("all", ALL, &two));
    let mut batch = each.sign(request(&[], ITEMS), at(NOW), 0).expect("signed");
    body(&mut batch, |text| text.replace(r#""id":"2""#, r#""id":"3""#));
    let mut other_body = hashed.sign(request(&[], JSON), at(NOW), 0).expect("signed");
    other_body.body = Bytes::from_static(b"{\"amount\":1}");
    let mut other_token = all.sign(request(&[], JSON), at(NOW), 0).expect("signed");
    set(&mut other_token, "x-token", |_| "a-token-of-somebody".to_owned());
    vec![(each, batch), (hashed, other_body), (all, other_token)]
}

#[test]
fn stale_is_said_only_of_what_is_signed_as_a_whole() {
    for (source, sent) in half_signed() {
        let name = source.name().as_str();
        for (now, what) in [(NOW, "fresh"), (NOW + 90_000, "stale"), (NOW - 90_000, "early")] {
            let refused = code(&source, &sent, now);
            assert_eq!(refused, Err(Code::SignatureMismatch), "{name}, {what}");
            let found =
                source.diagnose(&sent, at(now), unhurried(Effort::PATIENT)).expect("a diagnosis");
            assert_ne!(found.step(), Step::Freshness, "{name}, {what}: {found}");
            // Nor is it said to be another source's.
            assert!(!proves(&source.scheme, &sent, at(now)), "{name}, {what}");
        }
    }
}

/// What is whole and old is stale: by each of these schemes.
#[test]
fn what_is_signed_as_a_whole_and_old_is_stale() {
    for (source, sent) in half_signed() {
        let whole = match source.name().as_str() {
            "each" => ITEMS,
            _ => JSON,
        };
        let mut unsigned = request(&[], whole);
        unsigned.target.clone_from(&sent.target);
        let signed = source.sign(unsigned, at(NOW), 0).expect("signed");
        assert_eq!(code(&source, &signed, NOW), Ok(()), "{}", source.name());
        let late = code(&source, &signed, NOW + 90_000);
        assert_eq!(late, Err(Code::TimestampStale), "{}", source.name());
        let early = code(&source, &signed, NOW - 90_000);
        assert_eq!(early, Err(Code::TimestampFuture), "{}", source.name());
    }
}
