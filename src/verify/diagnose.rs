//! Why a request was refused, found by trying: each usual fault is undone and the request is verified
//! again with the source's own secrets. The first change that makes it fit names the cause.
//!
//! What comes out is text. No proof leaves this room, so nothing here can let a request in; what the
//! right signature would be is compared with, and never told. For the operator only: the sender is
//! answered without any of it.

use chrono::{DateTime, Utc};

use super::rejection::{Code, Rejection};
use super::scheme::{Scheme, reached};
use super::signed::SignedScheme;
use crate::received::Received;

mod address;
mod body;
mod budget;
mod cause;
mod charset;
mod content;
mod fresh;
mod head;
mod json;
mod jwt;
mod keys;
mod line;
mod search;
mod sign;
mod token;

pub(crate) use budget::Budget;
pub use budget::Effort;
pub use cause::{Cause, Diagnosis, Step};

use search::{Case, Found, Search};

/// What a diagnosis is made with, beside the request and the scheme.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// The registered public URL, when there is one.
    pub(crate) url: Option<&'a str>,
    /// The clock by which the request is judged.
    pub(crate) now: DateTime<Utc>,
    /// How much may still be tried, by whoever tries.
    pub(crate) budget: &'a Budget,
}

/// Why `scheme` refuses `received`; `None` when it doesn't.
///
/// Pure and bounded by the budget: some hundred MACs over the body at most.
pub(crate) fn diagnose(
    scheme: &Scheme,
    received: &Received,
    around: &Surroundings<'_>,
) -> Option<Diagnosis> {
    let rejection = scheme.verify(received, around.now).err()?;
    Some(match scheme {
        Scheme::Signed(signed) => {
            let case = Case { scheme: (**signed).clone(), received: received.clone() };
            signed_case(&case, &rejection, around)
        }
        Scheme::Token(token) => token::token(token, received, &rejection),
        Scheme::Basic(basic) => token::basic(basic, received, &rejection),
        Scheme::Jwt(token) => jwt::jwt(token, received, &rejection, around.now),
        Scheme::Unsigned => plain(&rejection),
        Scheme::All(members) => first_refusing(members, received, around, &rejection),
        Scheme::Any(members) => furthest(members, received, around, &rejection),
    })
}

/// The diagnosis of the first member that gives this refusal: one that only finds the request old says
/// nothing while another one doesn't find it authentic.
fn first_refusing(
    members: &[Scheme],
    received: &Received,
    around: &Surroundings<'_>,
    rejection: &Rejection,
) -> Diagnosis {
    members
        .iter()
        .filter(|member| member.verify(received, around.now).as_ref().err() == Some(rejection))
        .find_map(|member| diagnose(member, received, around))
        .unwrap_or_else(|| plain(rejection))
}

/// The diagnosis of the member that came furthest; one that was found by trying is further than any
/// other.
fn furthest(
    members: &[Scheme],
    received: &Received,
    around: &Surroundings<'_>,
    rejection: &Rejection,
) -> Diagnosis {
    if let Some(diagnosis) = exchanged(members, received, around) {
        return diagnosis;
    }
    // They share one budget: those that came further say more.
    let mut refusing: Vec<(u8, &Scheme)> = members
        .iter()
        .filter_map(|member| {
            let refused = member.verify(received, around.now).err()?;
            Some((reached(refused.code), member))
        })
        .collect();
    refusing.sort_by_key(|(far, _)| std::cmp::Reverse(*far));
    let mut first: Option<Diagnosis> = None;
    for (_, member) in refusing {
        let Some(diagnosis) = diagnose(member, received, around) else { continue };
        if diagnosis.proven {
            return diagnosis;
        }
        first = first.or(Some(diagnosis));
    }
    first.unwrap_or_else(|| plain(rejection))
}

/// Whether a member fits with the keys of another one: each takes its secret by position.
fn exchanged(
    members: &[Scheme],
    received: &Received,
    around: &Surroundings<'_>,
) -> Option<Diagnosis> {
    let signed = || {
        members.iter().filter_map(|member| match member {
            Scheme::Signed(signed) => Some(&**signed),
            _ => None,
        })
    };
    let fits = |scheme: &SignedScheme| {
        around.budget.spend(budget::cost_of_signed(scheme, received))
            && match scheme.verify(received, around.now) {
                Ok(_) => true,
                Err(rejection) => rejection.code.is_of_time(),
            }
    };
    let (member, other) = signed()
        .flat_map(|member| signed().map(move |other| (member, other)))
        .filter(|(member, other)| member.algorithm == other.algorithm)
        .filter(|(member, other)| position(member) != position(other))
        .find(|(member, other)| {
            fits(&SignedScheme { keys: other.keys.clone(), ..(*member).clone() })
        })?;
    let place = |scheme| position(scheme).map_or(0, |at| at + 1);
    let sentence = format!(
        "the signature in {} is made with secret {} of this source, where secret {} is expected: give the secrets in the order that the preset names",
        member.from,
        place(other),
        place(member),
    );
    Some(Diagnosis { proven: true, ..Diagnosis::new(Cause::SecretOrder, sentence) })
}

/// The position of the first secret that a scheme takes.
fn position(scheme: &SignedScheme) -> Option<usize> {
    scheme.keys.first().map(|key| key.position)
}

fn signed_case(case: &Case, rejection: &Rejection, around: &Surroundings<'_>) -> Diagnosis {
    match rejection.code {
        Code::TimestampStale | Code::TimestampFuture => fresh::judged(case, rejection, around.now),
        Code::KeyUnavailable => Diagnosis::new(
            Cause::KeyUnavailable,
            "the provider's public key is not here yet, so nothing could be checked: is its address reachable from this machine?",
        ),
        code => {
            let mut search = Search::new(around);
            match search.run(case) {
                Some(found) => proven(found),
                None => sign::unproven(case, rejection, code, &search),
            }
        }
    }
}

fn proven(found: Found) -> Diagnosis {
    Diagnosis { proven: true, also: found.also, ..Diagnosis::new(found.cause, found.sentence) }
}

/// A refusal that says all there is to say.
fn plain(rejection: &Rejection) -> Diagnosis {
    Diagnosis::new(Cause::of(rejection.code), rejection.detail.clone())
}
