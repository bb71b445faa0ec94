//! What the signs say when no change makes a request fit.

use super::content::OLDER;
use super::search::{Case, Search};
use super::{Cause, Diagnosis};
use crate::verify::key::Algorithm;
use crate::verify::rejection::{Code, Rejection};
use crate::verify::signed::KeyId;

/// The diagnosis of a request that nothing makes fit.
pub(super) fn unproven(
    case: &Case,
    rejection: &Rejection,
    code: Code,
    search: &Search<'_>,
) -> Diagnosis {
    match code {
        Code::SignatureMissing => missing(case, rejection),
        Code::SignatureMalformed => malformed(case, rejection),
        Code::TimestampMissing => Diagnosis::new(
            Cause::TimeMissing,
            format!(
                "{}, and no other header holds it: a proxy may have removed it",
                rejection.detail
            ),
        ),
        Code::IdMissing => Diagnosis::new(
            Cause::IdMissing,
            format!(
                "{}, and no other header holds it: a proxy may have removed it",
                rejection.detail
            ),
        ),
        Code::SignatureMismatch => mismatch(case, search),
        code => Diagnosis::new(Cause::of(code), rejection.detail.clone()),
    }
}

fn missing(case: &Case, rejection: &Rejection) -> Diagnosis {
    let is_there = |header: &str| case.received.headers.all(header).next().is_some();
    if let Some(old) = OLDER.iter().find(|old| is_there(old.header)) {
        let sentence = format!(
            "{}; there is only {}, which doesn't fit either: let the provider sign by the newer header, and look at the secret",
            rejection.detail, old.name
        );
        return Diagnosis::new(Cause::OldVersion, sentence);
    }
    let sentence = format!(
        "{}: does the provider sign (is a secret set there)? does a proxy remove the header? is it the right path?",
        rejection.detail
    );
    Diagnosis::new(Cause::SignatureMissing, sentence)
}

fn malformed(case: &Case, rejection: &Rejection) -> Diagnosis {
    let demanded = case.scheme.preconditions.iter().any(|it| it.check(&case.received).is_err());
    let missing = rejection.detail.contains("which the signature covers, is missing");
    let cause = match (demanded, missing) {
        (true, _) => Cause::Precondition,
        (_, true) => Cause::CoveredMissing,
        _ => Cause::SignatureMalformed,
    };
    Diagnosis::new(cause, rejection.detail.clone())
}

fn mismatch(case: &Case, search: &Search<'_>) -> Diagnosis {
    if let Some(diagnosis) = digest(case) {
        return diagnosis;
    }
    if let Some(KeyId::Field(field)) = &case.scheme.by_id {
        let named = field.read(&case.received).ok().flatten();
        let known = |id: &Option<String>| match (&named, id) {
            (Some(named), Some(id)) => **named == *id.as_bytes(),
            _ => false,
        };
        if !case.scheme.keys.iter().any(|key| known(&key.id)) {
            let sentence = format!(
                "{field} names a key that is none of this source's: add it to `secrets` as \"id:key\""
            );
            return Diagnosis::new(Cause::KeyId, sentence);
        }
    }
    if let Some(diagnosis) = body(case) {
        return diagnosis;
    }
    let whose = match (case.scheme.algorithm, case.scheme.keys.len()) {
        (Algorithm::Public(_), 0) => "the provider's key doesn't verify it".to_owned(),
        (Algorithm::Public(_), 1) => "this source's public key doesn't verify it".to_owned(),
        (_, 1) => "the one secret of this source doesn't make it".to_owned(),
        (_, n) => format!("none of the {n} keys of this source fits"),
    };
    let tried = if search.is_spent() {
        "of the usual changes, as many as the time allowed were tried, and none makes it fit"
    } else {
        "and no change of the request makes it fit either"
    };
    let sentence = format!(
        "{whose}, {tried}: the secret is another one (of another endpoint, account or mode?), or the body was changed in a way that can't be undone"
    );
    Diagnosis::new(Cause::SecretWrong, sentence)
}

/// The signature fits, but the hash of the body that it covers doesn't.
fn digest(case: &Case) -> Option<Diagnosis> {
    let digest = case.scheme.body_digest.as_ref()?;
    let mut without = case.clone();
    without.scheme.body_digest = None;
    let judged = without.scheme.verify(&without.received, case.received.arrived_at);
    if judged.is_err_and(|rejection| !rejection.code.is_of_time()) {
        return None;
    }
    let sentence = format!(
        "the signature fits, but the body is not the one whose hash stands in {}: something on the way changed it in a way that can't be undone",
        digest.from
    );
    Some(Diagnosis { proven: true, ..Diagnosis::new(Cause::BodyChanged, sentence) })
}

/// What the body itself and its headers say.
fn body(case: &Case) -> Option<Diagnosis> {
    let received = &case.received;
    let one = |name: &str| {
        let value = received.headers.one(name).ok().flatten()?;
        std::str::from_utf8(value).ok().map(str::trim)
    };
    if let Some(promised) = one("content-length").and_then(|text| text.parse::<usize>().ok())
        && promised > received.body.len()
    {
        let sentence = format!(
            "content-length promises {promised} bytes, and {} are here: the body was cut on its way, or lost by whoever captured it",
            received.body.len()
        );
        return Some(Diagnosis::new(Cause::BodyTruncated, sentence));
    }
    let coding = one("content-encoding").filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    // Compressed bytes are hardly ever a text.
    let is_text = std::str::from_utf8(&received.body).is_ok_and(|text| !text.contains('\0'));
    if let Some(coding) = coding.filter(|_| is_text && !received.body.is_empty()) {
        let sentence = format!(
            "content-encoding says {coding}, and the body isn't: something decompressed it, and the signature is over the compressed bytes"
        );
        return Some(Diagnosis::new(Cause::BodyCompressed, sentence));
    }
    if String::from_utf8_lossy(&received.body).contains('\u{fffd}')
        && std::str::from_utf8(&received.body).is_ok()
    {
        let sentence = "the body holds replacement characters (U+FFFD): something read it in the wrong character set and lost bytes";
        return Some(Diagnosis::new(Cause::BodyCharset, sentence));
    }
    None
}
