//! Schemes of several members: of some one must accept, of others all.

use chrono::{DateTime, Utc};

use super::Scheme;
use crate::received::Received;
use crate::verify::{Code, Proof, Rejection};

/// The first proof. When there is none, the refusal of the member that came furthest: "the other
/// header is missing" would help nobody.
pub(super) fn any(
    members: &[Scheme],
    verify: impl Fn(&Scheme) -> Result<Proof, Rejection>,
) -> Result<Proof, Rejection> {
    let mut refusal: Option<Rejection> = None;
    for member in members {
        match verify(member) {
            Ok(proof) => return Ok(proof),
            Err(new) => {
                if refusal.as_ref().is_none_or(|old| reached(new.code) > reached(old.code)) {
                    refusal = Some(new);
                }
            }
        }
    }
    Err(refusal
        .unwrap_or_else(|| Rejection::new(Code::SignatureMissing, "the scheme accepts nothing")))
}

/// Signs by the first member that has this secret and then accepts the request: which one that is may
/// depend on what the request is.
pub(super) fn sign_any(
    members: &[Scheme],
    received: &mut Received,
    now: DateTime<Utc>,
    secret: usize,
    fresh_id: &str,
) -> Result<(), String> {
    let mut why = None;
    for member in members.iter().filter(|member| member.has_secret(secret)) {
        let mut signed = received.clone();
        match member.sign(&mut signed, now, secret, fresh_id) {
            Ok(()) => match member.verify(&signed, now) {
                Ok(_) => {
                    *received = signed;
                    return Ok(());
                }
                Err(rejection) => why = why.or_else(|| Some(rejection.to_string())),
            },
            Err(fault) => why = why.or(Some(fault)),
        }
    }
    Err(why
        .unwrap_or_else(|| format!("no part of this source's scheme has secret number {secret}")))
}

/// How far a request came: whether there was a signature, one that could be read, a right one.
pub(in crate::verify) fn reached(code: Code) -> u8 {
    match code {
        Code::SignatureMissing => 0,
        Code::SignatureMalformed | Code::TimestampMissing | Code::IdMissing => 1,
        Code::TimestampStale | Code::TimestampFuture => 3,
        // Our own fault: the sender must be asked to come again, whatever another way in says.
        Code::KeyUnavailable => 4,
        _ => 2,
    }
}

/// All proofs as one: the first secret that matched, the first signed id, the first token's claims, what
/// the first signature covers. Times are judged last: "stale" means that every member proved it.
pub(super) fn all(
    members: &[Scheme],
    verify: impl Fn(&Scheme) -> Result<Proof, Rejection>,
) -> Result<Proof, Rejection> {
    let mut secret = None;
    let mut signed_id = None;
    let mut claims = None;
    let mut covered = None;
    let mut timely = Ok(());
    for member in members {
        let proof = match verify(member) {
            Ok(proof) => proof,
            Err(rejection) if rejection.code.is_of_time() => {
                timely = timely.and(Err(rejection));
                continue;
            }
            Err(rejection) => return Err(rejection),
        };
        covered = covered.or(proof.covered());
        secret = secret.or(proof.secret);
        signed_id = signed_id.or(proof.signed_id);
        claims = claims.or(proof.claims);
    }
    if members.is_empty() {
        return Err(Rejection::new(Code::SignatureMissing, "the scheme accepts nothing"));
    }
    timely.map(|()| Proof::mint(secret, signed_id).claiming(claims).covering(covered))
}
